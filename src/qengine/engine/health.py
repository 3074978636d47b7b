"""Whether this process and its queue are well, for probes; and the counts that dashboards and metrics show."""

from __future__ import annotations

import abc
import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from qengine.backends.protocol import LIVE_WITHIN, QueueBackend
from qengine.engine.counts import Counts, Glance, Latest, count, glance
from qengine.engine.part import NOT_OPEN, Part
from qengine.errors import BackendUnavailable, ConfigurationError
from qengine.worker import Worker
from qengine.worker.tally import Tally

T = TypeVar("T")

MAX_DUE = 3600.0
"""Seconds that a due job may wait before it is a problem, unless `health` is told otherwise."""
TOTALS_WITHIN = 1.0
"""Seconds that the event loop has to add up what its workers did."""
MAX_LAG = 5.0
"""Seconds for which the event loop may not answer before that is a problem."""


@dataclass(frozen=True, slots=True)
class Health:
    """How this process is doing, and the queue as it sees it."""

    ok: bool
    """Every loop of every worker here is alive. False: restart the process. A database that is away does not make it
    false: workers wait for it, and a restart would not bring it back."""
    ready: bool
    """It is ok, the database answers, the event loop turns, the workers here are known to the database and not about to
    stop, and no due job waits for too long."""
    problems: tuple[str, ...] = ()
    """What is wrong, each in a sentence."""
    database: bool = False
    """Whether the database answered in time."""
    latency: float | None = None
    """Seconds that it took to answer; None when it did not."""
    workers: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    """For each worker that runs in this process, by id: its loops, and whether each is alive."""
    oldest_due: Mapping[str, float] = field(default_factory=dict)
    """For each type with due jobs that is not paused (and that the workers here serve, if there are any): for how many
    seconds the first in line has been due."""
    loop_lag: float = 0.0
    """Seconds that one turn of the event loop took."""

    def as_dict(self) -> dict[str, Any]:
        """The same in plain JSON values."""
        return asdict(self) | {"problems": list(self.problems)}


class Vitals(Part):
    """The part of an engine that tells how it is doing. Every method needs the engine to be open."""

    _loop: asyncio.AbstractEventLoop | None = None
    _counts: Latest[Counts] | None = None
    _glance: Latest[Glance] | None = None

    @abc.abstractmethod
    def tallies(self) -> list[Tally]:
        """What the workers of this engine have done in this process."""

    def totals(self) -> Tally:
        """What all workers of this engine object have done in this process, in one. May be called in any thread.

        Its `loop_lag` is the worst of them.
        """
        loop = self._loop
        if loop is None or loop is _running_loop():
            return _sum(self.tallies())
        answer: Future[Tally] = Future()
        try:
            loop.call_soon_threadsafe(lambda: answer.set_result(_sum(self.tallies())))
            return answer.result(TOTALS_WITHIN)
        except (RuntimeError, TimeoutError):
            return _sum(self.tallies())  # the loop has ended, or a handler blocks it: nothing changes meanwhile

    def counts(self, max_age: float = 5.0) -> Counts:
        """The last count of everything stored, at once; all None at first. May be called in any thread.

        When it is older than `max_age` seconds, and than 20 times what it took, a new one is begun in the background:
        look again later. This is what dashboards and metrics show; `stats` and `failures` count now.
        """
        return _open(self._counts).look(max_age)

    def glance(self, max_age: float = 5.0) -> Glance:
        """The last look at the heads of the lines, the workers and the pauses, at once; like `counts`, and always cheap."""
        return _open(self._glance).look(max_age)

    def _ready_to_count(self, backend: QueueBackend) -> None:
        """To be called when the backend has been opened."""
        self._loop = asyncio.get_running_loop()
        self._counts = Latest("counting", lambda: count(backend), Counts(), _failed_count)
        self._glance = Latest("looking", lambda: glance(backend), Glance(), _failed_glance)

    async def _stop_counting(self) -> None:
        """To be called before the backend is closed."""
        await _open(self._counts).close()
        await _open(self._glance).close()
        self._counts = self._glance = self._loop = None

    async def health(self, *, max_due: float | None = MAX_DUE, timeout: float = 5.0) -> Health:
        """Whether this process is alive and the queue served. It asks the database a few cheap questions.

        - `max_due` (3600 s): a due job that waits for longer is a problem; None: however long. Not judged while a whole
          queue is paused.
        - `timeout` (5 s): in which the database has to answer.
        """
        backend, workers = self.backend, list(self.running_workers)
        loops = {worker.id: dict(worker.loops) for worker in workers}
        lag = await _one_turn()
        dead = [f"worker {id}: {name} has stopped" for id, alive in loops.items() for name, lives in alive.items() if not lives]
        health = Health(not dead, False, workers=loops, loop_lag=lag)
        problems = dead + [f"worker {worker.id} is stopping" for worker in workers if worker.stopping]
        if lag > MAX_LAG:
            problems.append(f"the event loop was blocked for {lag:.1f} s")
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                await backend.now()
                health = replace(health, database=True, latency=time.monotonic() - began)
                due, found = await _queue(backend, workers, max_due)
        except TimeoutError:
            problems.append(f"the database did not answer within {timeout:g} s")
        except BackendUnavailable as error:
            problems.append(f"the database cannot be reached: {error}")
        else:
            health, problems = replace(health, oldest_due=due), problems + found
        return replace(health, ready=not problems, problems=tuple(problems))


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.merge(tally)
        if tally.loop_lag is not None:
            total.loop_lag = max(tally.loop_lag, total.loop_lag or 0.0)
    return total


async def _queue(backend: QueueBackend, workers: Collection[Worker], max_due: float | None) -> tuple[dict[str, float], list[str]]:
    """Since when what waits, and what is wrong with that and with what is known of our workers."""
    at, pauses = await backend.now(), await backend.pauses()
    paused = {pause.name for pause in pauses if pause.kind == "type"}
    served = {name for worker in workers for name in worker.types}
    due = {
        name: max(0.0, (at - since).total_seconds())
        for name, since in (await backend.oldest_due()).items()
        if name not in paused and (not workers or name in served)
    }
    known = {info.id for info in await backend.workers(LIVE_WITHIN)} if workers else set()
    problems = [
        f"worker {worker.id} has not announced itself for {LIVE_WITHIN:g} s" for worker in workers if worker.id not in known
    ]
    if max_due is not None and not any(pause.kind == "queue" for pause in pauses):
        problems += [
            f"a job of type {name} has been due for {waits:.0f} s (more than {max_due:g} s)"
            for name, waits in _longest_first(due)
            if waits > max_due
        ]
    return due, problems


def _open(latest: Latest[T] | None) -> Latest[T]:
    if latest is None:
        raise ConfigurationError(NOT_OPEN)
    return latest


def _longest_first(due: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    return sorted(due.items(), key=lambda item: -item[1])


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _one_turn() -> float:
    began = time.monotonic()
    await asyncio.sleep(0)
    return time.monotonic() - began


def _failed_count(before: Counts, error: str) -> Counts:
    return replace(before, error=error)


def _failed_glance(before: Glance, error: str) -> Glance:
    return replace(before, error=error)
