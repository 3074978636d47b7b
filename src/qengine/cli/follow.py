"""What happens in a queue, as it happens, from what is stored: enqueues, ends of jobs, failed attempts.

Each look asks for the rows past those seen before. Two transactions may commit in another order than they took their ids
or their times in, so that what is behind the newest is looked at again for a while.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from qengine import BackendUnavailable, Engine, Job, JobError, Status

T = TypeVar("T")

PAGE = 1_000
"""Rows that are read at once."""
LATE = 5.0
"""Seconds for which a row that was left out is still waited for."""
MOST_GAPS = 1_000
"""Left-out rows that are waited for, at the most: the latest."""
OVERLAP = dt.timedelta(seconds=1)
"""Ends of jobs that are looked at again, before the latest."""
PAUSES = (0.5, 10.0)
"""Seconds between tries while the database is away: at first, and at the most."""


class Kind(enum.StrEnum):
    """What has happened."""

    ENQUEUED = "enqueued"
    FAILED = "failed"
    """An attempt."""
    CRASHED = "crashed"
    """A lease ended: the worker died, or was cut off."""
    COMPLETED = "completed"
    DEAD = "dead"
    CANCELLED = "cancelled"


_ORDER = {kind: number for number, kind in enumerate(Kind)}
"""What happens to a job in one instant is told in this order."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job."""

    at: dt.datetime
    event: Kind
    id: int
    """The job's."""
    type: str
    attempt: int | None = None
    """The attempt that failed or crashed; of a job that ended: how many it took."""
    seconds: float | None = None
    """How long the attempt ran."""
    error: str | None = None
    reason: str | None = None
    """DEAD: why."""
    worker: str | None = None
    """FAILED, CRASHED: whose attempt it was."""


class ById(Generic[T]):
    """Rows in the order of their ids; `read(after, limit)` gives those above an id."""

    def __init__(self, read: Callable[[int, int], Awaitable[Sequence[tuple[int, T]]]], last: int) -> None:
        self._read = read
        self._last = last
        self._gaps: dict[int, float] = {}

    async def new(self) -> AsyncIterator[T]:
        """The rows not given before."""
        now = time.monotonic()
        self._gaps = {id: until for id, until in self._gaps.items() if until > now}
        after = min(self._gaps, default=self._last + 1) - 1
        while True:
            page = await self._read(after, PAGE)
            for id, row in page:
                if self._is_new(id, now):
                    yield row
            if len(page) < PAGE:
                return
            after = page[-1][0]

    def _is_new(self, id: int, now: float) -> bool:
        if id <= self._last:
            return self._gaps.pop(id, None) is not None
        for gap in range(max(self._last + 1, id - MOST_GAPS), id):
            self._gaps[gap] = now + LATE
        while len(self._gaps) > MOST_GAPS:
            del self._gaps[next(iter(self._gaps))]
        self._last = id
        return True


class Ended:
    """Jobs in the order of their ends."""

    def __init__(self, engine: Engine, since: dt.datetime) -> None:
        self._engine = engine
        self._since = since
        self._seen: set[tuple[dt.datetime, int]] = set()

    async def new(self) -> AsyncIterator[Job[Any]]:
        """The ends not given before."""
        since, limit, latest = self._since, PAGE, self._since
        while True:
            page = await self._engine.ended_since(since, limit)
            for job in page:
                assert job.completed_at is not None
                latest = max(latest, job.completed_at)
                if (key := (job.completed_at, job.id)) not in self._seen:
                    self._seen.add(key)
                    yield job
            if len(page) < limit:
                break
            # More may have ended in one instant than a page holds.
            since, limit = latest, PAGE if latest > since else 2 * limit
        self._since = max(self._since, latest - OVERLAP)
        self._seen = {key for key in self._seen if key[0] >= self._since}


async def follow(
    engine: Engine,
    emit: Callable[[Event], None],
    *,
    every: float,
    ready: Callable[[], None] = lambda: None,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Call `emit` with what happens from now on, in order of time, until cancelled; look every so many seconds.

    `ready` is called when nothing is missed any more; `tell` is told when the database is away and when it is back.
    """
    newest = await engine.jobs(limit=1, newest_first=True)
    enqueued = ById(_reader(engine), newest[0].id if newest else 0)
    failed = ById(_error_reader(engine), await engine.last_error_row())
    ended = Ended(engine, await engine.backend.now())
    ready()
    pause = 0.0
    while True:
        found: list[Event] = []
        try:
            # One by one: what was read before an outage is not read again. Ends first: who has ended by then is found enqueued.
            async for job in ended.new():
                found.append(_ended(job))  # noqa: PERF401
            async for type, error in failed.new():
                found.append(_failed(type, error))
            async for job in enqueued.new():
                found.append(_enqueued(job))  # noqa: PERF401
        except BackendUnavailable as error:
            if not pause:
                tell(f"the database is away, and is tried again: {error}")
            pause = min(PAUSES[1], 2 * pause or PAUSES[0])
        else:
            if pause:
                tell("the database is back")
            pause = 0.0
        for event in sorted(found, key=lambda event: (event.at, _ORDER[event.event])):
            emit(event)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0) or every)  # noqa: S311 - jitter


def _reader(engine: Engine) -> Callable[[int, int], Awaitable[list[tuple[int, Job[Any]]]]]:
    async def read(after: int, limit: int) -> list[tuple[int, Job[Any]]]:
        return [(job.id, job) for job in await engine.jobs(after=after, limit=limit)]

    return read


def _error_reader(engine: Engine) -> Callable[[int, int], Awaitable[list[tuple[int, tuple[str, JobError]]]]]:
    async def read(after: int, limit: int) -> list[tuple[int, tuple[str, JobError]]]:
        return [(row, (type, error)) for row, type, error in await engine.errors_since(after, limit)]

    return read


def _enqueued(job: Job[Any]) -> Event:
    assert job.created_at is not None
    return Event(job.created_at, Kind.ENQUEUED, job.id, job.type)


def _failed(type: str, error: JobError) -> Event:
    # A crash is the one entry of a history that no handler made; both backends write it so.
    kind = Kind.CRASHED if error.error.startswith("crashed: ") else Kind.FAILED
    seconds = None if error.started_at is None else (error.ended_at - error.started_at).total_seconds()
    return Event(error.ended_at, kind, error.job_id, type, error.attempt, seconds, error.error, worker=error.worker)


def _ended(job: Job[Any]) -> Event:
    assert job.completed_at is not None
    kind = Kind(job.status)
    ran = job.status is Status.COMPLETED and job.started_at is not None
    seconds = (job.completed_at - job.started_at).total_seconds() if ran and job.started_at else None
    error = job.last_error if job.status is Status.DEAD else None
    return Event(job.completed_at, kind, job.id, job.type, job.attempts, seconds, error, job.dead_reason)
