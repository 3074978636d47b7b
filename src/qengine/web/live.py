"""One look at the queue a second, shared by all browsers that watch; none while nobody does.

    live = Live(engine)
    async for view in live.watch():      # the latest view at once, then each new one
        ...

A reader task serves all who watch in this process. It begins with the first of them and ends after the last; it outlives
a database that is away, and `close` ends it and everybody's watching.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qengine.backends.protocol import Pause, Schedule, WorkerInfo
from qengine.engine import Engine
from qengine.engine.counts import Counts
from qengine.errors import BackendUnavailable, ConfigurationError
from qengine.job import Job
from qengine.web.series import DAY, HOUR, Series, beginning, series
from qengine.worker.supervisor import Backoff

log = logging.getLogger("qengine.web")

EVERY = 1.0
"""Seconds between looks, while somebody watches."""
SELDOM = 5.0
"""Seconds between looks at what changes slowly: activity, which workers record every ten seconds, and schedules."""
TIMEOUT = 10.0
"""Seconds in which the database has to answer."""
RUNNING = 100
"""Running jobs in a view, at the most."""


@dataclass(frozen=True, slots=True)
class Activities:
    """What the workers did, and what is to come."""

    hour: Series
    day: Series
    schedules: Sequence[Schedule]
    """All cron schedules, by name."""


@dataclass(frozen=True, slots=True)
class View:
    """The queue at a moment."""

    id: str = ""
    """Unlike that of any other view, of other processes too."""
    at: dt.datetime | None = None
    """When, by the backend's clock; None until the database has answered once."""
    counts: Counts = field(default_factory=Counts)
    due: Mapping[str, float] = field(default_factory=dict)
    """For each type in line: for how many seconds the first of its line has been due."""
    workers: Sequence[WorkerInfo] = ()
    running: Sequence[Job[Any]] = ()
    """Running jobs, 100 at the most."""
    pauses: Sequence[Pause] = ()
    unhandled: Sequence[str] = ()
    """Types in line that no live worker of their queue serves."""
    activities: Activities | None = None
    away: str | None = None
    """Why the database could not be read just now; the rest is then as it was seen last."""


class Live:
    """The views of one engine, for all who watch it. It belongs to the engine's event loop."""

    def __init__(self, engine: Engine, *, every: float = EVERY, seldom: float = SELDOM) -> None:
        self._engine = engine
        self._every = every
        self._seldom = seldom
        self._view = View()
        self._serial = 0
        self._start = uuid.uuid4().hex[:8]
        self._read_at = -float("inf")
        self._activities_at = -float("inf")
        self._reading = asyncio.Lock()
        self._news = asyncio.Condition()
        self._left = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._ends = 0
        self._drawn: tuple[tuple[str, str], dict[str, str]] | None = None
        self.watchers = 0
        """How many watch now."""

    @property
    def reading(self) -> bool:
        """Whether there is a reader now."""
        return self._reader is not None

    async def now(self) -> View:
        """A view that is no older than a reader's would be."""
        await self._read(self._every)
        return self._view

    async def watch(self, seen: str = "") -> AsyncGenerator[View, None]:
        """Each view, beginning with the present one unless its id is `seen`, until `close`.

        A view from before anybody watched is not shown: the next one is under way. Who is slow misses views, never the
        latest. Leave it with `aclose` (or let `contextlib.aclosing` do it), so that the reader knows.
        """
        self.watchers += 1
        ends = self._ends
        if time.monotonic() - self._read_at > 2 * self._every:
            seen = self._view.id
        try:
            if self._reader is None:
                self._reader = asyncio.create_task(self._read_on(), name="qengine-web-reader")
            while self._ends == ends:
                if self._view.id == seen:
                    await self._other_than(seen, ends)
                else:
                    seen = self._view.id
                    yield self._view
        finally:
            self.watchers -= 1
            self._left.set()

    def drawn(self, view: View, place: str, draw: Callable[[], dict[str, str]]) -> dict[str, str]:
        """What `draw` makes of a view for all who watch at one place: it is made once a view, not for each of them."""
        key = (view.id, place)
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = key, draw()
        return self._drawn[1]

    async def _other_than(self, seen: str, ends: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self._ends != ends or self._view.id != seen)

    async def close(self) -> None:
        """End the reader and all watching that has begun."""
        self._ends += 1
        if (reader := self._reader) is not None:
            reader.cancel()
            await asyncio.wait([reader])
        async with self._news:
            self._news.notify_all()

    # -- the reader

    async def _read_on(self) -> None:
        backoff = Backoff()
        try:
            while self.watchers:
                # A little sooner than it is due, or a timer's jitter would skip every second look.
                await self._read(self._every / 2)
                pause = self._every
                if self._view.away is None:
                    backoff.reset()
                else:
                    pause += backoff.next()
                self._left.clear()
                await self._pause(pause)
        finally:
            self._reader = None

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until nobody watches any more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.watchers:
                    await self._left.wait()
                    self._left.clear()

    async def _read(self, max_age: float) -> None:
        """Have a view that is at most so old."""
        async with self._reading:
            if time.monotonic() - self._read_at < max_age:
                return
            before, unforeseen = self._view, None
            try:
                async with asyncio.timeout(TIMEOUT):
                    view = await self._look()
            except TimeoutError:
                view = replace(before, away=f"it did not answer within {TIMEOUT:g} seconds")
            except (BackendUnavailable, ConfigurationError) as error:
                view = replace(before, away=str(error))
            except Exception as error:
                # Whatever it is, who watches is told, and the next look may fare better.
                view, unforeseen = replace(before, away=f"{type(error).__name__}: {error}"), error
            if view.away is not None and before.away is None:
                log.warning("the dashboard cannot read the queue and goes on trying: %s", view.away, exc_info=unforeseen)
            elif view.away is None and before.away is not None:
                log.info("the dashboard reads the queue again")
            self._serial += 1
            self._view = replace(view, id=f"{self._start}-{self._serial}")
            self._read_at = time.monotonic()
        async with self._news:
            self._news.notify_all()

    async def _look(self) -> View:
        engine = self._engine
        at = await engine.backend.now()
        due = await engine.oldest_due()
        view = View(
            at=at,
            counts=engine.counts(self._every),
            due={name: max(0.0, (at - since).total_seconds()) for name, since in due.items()},
            workers=await engine.workers(),
            running=await engine.running(RUNNING),
            pauses=await engine.pauses(),
            unhandled=await engine.backend.unhandled(),
            activities=self._view.activities,
        )
        if view.activities is None or time.monotonic() - self._activities_at >= self._seldom:
            view = replace(view, activities=await self._look_back(at.timestamp()))
            self._activities_at = time.monotonic()
        return view

    async def _look_back(self, now: float) -> Activities:
        hour, day = [
            series(await self._engine.activity(shape[0], _moment(beginning(now, shape))), now, shape) for shape in (HOUR, DAY)
        ]
        return Activities(hour, day, await self._engine.schedules())


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
