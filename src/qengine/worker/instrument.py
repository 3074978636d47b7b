"""Where a library that traces or measures gets between: around storing jobs, and around running one.

Nothing of it is on a job's way while no instrument is set.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from qengine.backends.protocol import Claim, Settlement
from qengine.job import Job, NewJob
from qengine.worker.run import Run
from qengine.worker.tally import Ended, how_it_ended

ToldStored = Callable[[Sequence[Job[Any]]], None]
"""Takes the jobs that were stored."""
ToldEnded = Callable[[Ended, str | None, str | None], None]
"""Takes how a run ended, as it is about to be written down, with its error's line and traceback."""


class Instrument(Protocol):
    """What `engine.instrument` takes. It must not raise: an error of its own would be the application's, or a job's."""

    def storing(self, jobs: Sequence[NewJob]) -> AbstractContextManager[tuple[Sequence[NewJob], ToldStored]]:
        """Entered around one statement that stores jobs; gives the jobs to store, which may have other headers."""
        ...

    def running(self, claim: Claim, worker: str) -> AbstractContextManager[ToldEnded]:
        """Entered around one run, in the task that awaits the handler: context variables that it sets reach the handler."""
        ...


def observed(
    instrument: Instrument, worker: str, run_job: Callable[[Run], Awaitable[Settlement | None]]
) -> Callable[[Run], Awaitable[Settlement | None]]:
    """`run_job` inside `instrument.running`."""

    async def run_observed(run: Run) -> Settlement | None:
        with instrument.running(run.claim, worker) as told:
            settlement = await run_job(run)
            if settlement is None:
                told("completed" if run.completed else "lease_lost", None, None)
            else:
                told(how_it_ended(settlement, ()), settlement.error, settlement.traceback)
        return settlement

    return run_observed
