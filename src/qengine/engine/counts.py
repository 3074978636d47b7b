"""Counts of what is stored, for those who look often: made in the background, never more often than they are worth.

A count of a large table takes the database seconds. Dashboards and scrapes ask for it all the time, so they get the last
one, at once, and the next one is begun behind their backs.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from qengine.backends.protocol import LIVE_WITHIN, FailureGroup, Pause, QueueBackend, Stats, WorkerInfo
from qengine.errors import BackendUnavailable

log = logging.getLogger("qengine.engine")

T = TypeVar("T")

SHARE = 20.0
"""A count is begun no sooner than so many times what the last one took: counting costs a twentieth of a core at the most."""
GROUPS = 200
"""Failure groups in one count, the largest."""
AFTER_A_FAILURE = 5.0
"""Seconds until the next try at the least, when a count has failed."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The last count of everything stored, however old."""

    stats: Stats | None = None
    """None until the first count is there."""
    failures: list[FailureGroup] | None = None
    """Dead and failed jobs by type and normalised error, the 200 largest groups; None until the first count is there."""
    at: dt.datetime | None = None
    """When it was begun, by the backend's clock."""
    cost: float = 0.0
    """Seconds that it took."""
    error: str | None = None
    """Why the latest try failed; None when it did not. The rest is then what the one before it found."""


@dataclass(frozen=True, slots=True)
class Glance:
    """The last look at what is cheap to read whatever the number of jobs: the heads of the lines, and who works."""

    waiting: Mapping[str, float] = field(default_factory=dict)
    """For each type in line: for how many seconds the job at the head of its line has been due."""
    workers: Sequence[WorkerInfo] = ()
    """The live workers of the whole database."""
    pauses: Sequence[Pause] = ()
    """The pauses in force."""
    at: dt.datetime | None = None
    """When, by the backend's clock; None until there was a first look."""
    cost: float = 0.0
    """Seconds that it took."""
    error: str | None = None
    """Why the latest try failed; None when it did not."""


async def count(backend: QueueBackend) -> Counts:
    """Count now. May read the whole table."""
    began, at = time.monotonic(), await backend.now()
    stats, failures = await backend.stats(), await backend.failures(GROUPS)
    return Counts(stats, failures, at, time.monotonic() - began)


async def glance(backend: QueueBackend) -> Glance:
    """Look now."""
    began, at = time.monotonic(), await backend.now()
    waiting = {name: max(0.0, (at - due).total_seconds()) for name, due in (await backend.oldest_due()).items()}
    return Glance(waiting, await backend.workers(LIVE_WITHIN), await backend.pauses(), at, time.monotonic() - began)


class Latest(Generic[T]):
    """The latest answer to a question that is costly to ask. At most one is being asked at a time.

    `look` may be called in any thread; asking is done in the event loop in which this was made.
    """

    def __init__(self, what: str, ask: Callable[[], Awaitable[T]], none: T, failed: Callable[[T, str], T]) -> None:
        self._what = what
        self._ask = ask
        self._answer = none
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._asked = -float("inf")
        self._tries = 0
        self._closed = False

    def look(self, max_age: float) -> T:
        """What was last answered, at once. When that is older than `max_age` seconds, and it may be, it is asked anew."""
        answer = self._answer  # now: in another thread, the loop may be done with asking before this returns
        if not self._closed and self._task is None and self._stale(max_age):
            try:
                self._loop.call_soon_threadsafe(self._begin, max_age)
            except RuntimeError:
                self._closed = True  # the loop has ended without closing the engine: what is known is all there will be
        return answer

    def _stale(self, max_age: float) -> bool:
        now = time.monotonic()
        return now >= self._not_before and now - self._asked >= max_age

    def _begin(self, max_age: float) -> None:
        # Others may have asked for it between the look and now.
        if not self._closed and self._task is None and self._stale(max_age):
            self._task = self._loop.create_task(self._refresh(), name=f"qengine-{self._what}")

    async def _refresh(self) -> None:
        began = time.monotonic()
        try:
            self._answer = await self._ask()
            self._tries = 0
            self._asked = began
            self._not_before = began + SHARE * (time.monotonic() - began)
        except Exception as error:
            self._tries += 1
            self._answer = self._failed(self._answer, f"{type(error).__name__}: {error}")
            self._not_before = time.monotonic() + max(AFTER_A_FAILURE, SHARE * (time.monotonic() - began))
            if self._tries == 1:
                trace = None if isinstance(error, BackendUnavailable) else error
                log.warning("%s failed and is tried again when next asked for: %s", self._what, error, exc_info=trace)
        finally:
            self._task = None

    async def close(self) -> None:
        """Ask no more; give up on an answer that is under way."""
        self._closed = True
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])
