"""What an engine's workers tell those who watch them: their tallies."""

from __future__ import annotations

import abc
from collections.abc import Collection

from qengine.worker import Worker
from qengine.worker.tally import Tally


class Hooks(abc.ABC):
    """The part of an engine that tells what its workers do."""

    _past: Tally | None = None

    @property
    @abc.abstractmethod
    def running_workers(self) -> Collection[Worker]:
        """The workers of this engine that run in this process."""

    def tallies(self) -> list[Tally]:
        """What the workers of this engine object have done in this process: one for each that runs, and one, whose
        `worker` is empty, for the sum of all that have ended. So the sum of them never falls."""
        past = [] if self._past is None else [self._past]
        return past + [worker.tally for worker in self.running_workers]

    def _worker_ended(self, tally: Tally) -> None:
        if self._past is None:
            self._past = Tally()
        self._past.merge(tally)
