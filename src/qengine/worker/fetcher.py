"""Claiming: as much as there is room for, of the types for which there is room, as soon as there may be something."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from qengine.backends.protocol import Claim, Demand, Lease, QueueBackend
from qengine.registry import AnyTask
from qengine.worker.bench import Bench
from qengine.worker.options import WorkerOptions
from qengine.worker.run import Run

log = logging.getLogger("qengine.worker")

BATCH = 500
"""Jobs in one claim, at the most; more brings no speed."""
SUSPECTS_EVERY = 1.0
"""Seconds between looks for suspects while the worker is busy with other jobs."""
LOOK_AGAIN = {True: 5.0, False: 0.5}
"""Seconds after which to look again although nobody woke us, by whether the database wakes us itself."""


class QuarantineLane:
    """The one place in this process where a suspect may run, whatever the number of workers in it."""

    def __init__(self) -> None:
        self._holder: Run | object | None = None

    @property
    def free(self) -> bool:
        """Whether no suspect runs or is being claimed."""
        return self._holder is None

    def take(self, holder: object) -> None:
        """Occupy it."""
        self._holder = holder

    def leave(self, holder: object) -> None:
        """Free it, if it is this one that occupies it."""
        if self._holder is holder:
            self._holder = None


LANE = QuarantineLane()


class Fetcher:
    """Claims jobs for one worker and hands them to the bench."""

    def __init__(
        self,
        backend: QueueBackend,
        tasks: Mapping[str, AnyTask],
        options: WorkerOptions,
        bench: Bench,
        *,
        worker: str,
        lease: float,
        claimed: Callable[[Sequence[Run]], None],
        held: Callable[[], Sequence[Lease]],
        quiet: Callable[[], bool],
        catch_up: Callable[[], Awaitable[int]],
    ) -> None:
        self._backend = backend
        self._tasks = tasks
        self._options = options
        self._bench = bench
        self._worker = worker
        self._lease = lease
        self._claimed = claimed
        self._held = held
        self._quiet = quiet
        self._catch_up = catch_up
        self._unanswered = False
        """Whether a claim failed of which the database may have kept the effect."""
        self._drained: set[str] = set()
        """Types of which the last claim took all there was; nothing is asked of them until we are woken."""
        self._seen = 0
        self._suspects_looked_at = 0.0
        self._stopped = False
        self.idle = asyncio.Event()
        """Set when there was nothing to claim while nothing ran (only looked at when the worker is to stop then)."""

    async def tidy(self) -> None:
        """Put back jobs that a claim may have taken of which no answer came."""
        if self._unanswered:
            if strays := await self._backend.disown(self._worker, self._held()):
                text = "%d jobs were claimed without our hearing of it and go back in line"
                log.info(text, strays, extra={"worker": self._worker})
            self._unanswered = False

    def stop(self) -> None:
        """Claim nothing more. A claim that is under way still brings its jobs."""
        self._stopped = True
        self._bench.freed.set()

    async def listen(self) -> None:
        """Turn the backend's wake-ups into new claims, for ever."""
        while True:
            self._seen = await self._backend.wake(self._seen)
            self._drained.clear()
            self._suspects_looked_at = 0.0
            self._bench.freed.set()

    async def run(self) -> None:
        """Claim until stopped."""
        await self.tidy()
        while not self._stopped:
            self._bench.freed.clear()
            demand = self._demand()
            took = 0
            if demand is not None:
                took = await self._claim(demand)
            if not self._stopped and self._suspects_are_due():
                took += await self._claim_suspect()
            if took or self._stopped:
                continue
            if self._options.until_idle and await self._nothing_left():
                self.idle.set()
                return
            await self._pause()

    def _demand(self) -> Demand | None:
        room = self._bench.room()
        # With jobs still in the buffer, wait until half of what may be there has gone: fewer, larger claims.
        if room <= 0 or self._bench.buffered > room:
            return None
        types = {}
        for name, task in self._tasks.items():
            if name not in self._drained:
                limit = task.settings.max_concurrency
                free = room if limit is None else limit - self._bench.in_hand[name]
                if free > 0:
                    types[name] = min(free, room)
        if not types:
            return None
        return Demand(self._worker, types, min(room, BATCH), self._lease, self._options.queues)

    async def _claim(self, demand: Demand) -> int:
        seen = self._backend.wakes
        asked = time.monotonic()
        claims = await self._answered(demand)
        self._accept(claims, asked)
        if len(claims) < demand.limit and seen == self._backend.wakes:
            got = Counter(claim.type for claim in claims)
            self._drained.update(name for name, asked in demand.types.items() if got[name] < asked)
        return len(claims)

    def _suspects_are_due(self) -> bool:
        return (
            LANE.free
            and self._bench.held < self._options.concurrency
            and time.monotonic() - self._suspects_looked_at >= SUSPECTS_EVERY
        )

    async def _claim_suspect(self) -> int:
        self._suspects_looked_at = time.monotonic()
        types = {
            name: 1
            for name, task in self._tasks.items()
            if task.settings.max_concurrency is None or self._bench.in_hand[name] < task.settings.max_concurrency
        }
        if not types:
            return 0
        LANE.take(self)
        asked = time.monotonic()
        claims: list[Claim] = []
        try:
            claims = await self._answered(Demand(self._worker, types, 1, self._lease, self._options.queues, suspects=True))
        finally:
            LANE.leave(self)
        for run in self._accept(claims, asked):
            LANE.take(run)
        return len(claims)

    async def _answered(self, demand: Demand) -> list[Claim]:
        self._unanswered = True
        claims = await self._backend.claim(demand)
        self._unanswered = False
        return claims

    def _accept(self, claims: Sequence[Claim], asked: float) -> list[Run]:
        if not claims:
            return []
        now = time.monotonic()
        runs = [Run(claim, self._tasks[claim.type], asked, now) for claim in claims]
        self._claimed(runs)
        self._bench.give(runs)
        return runs

    def ended(self, run: Run) -> None:
        """Told of each run that is over: a suspect leaves the lane, and the next may come."""
        if run.claim.crashes:
            LANE.leave(run)
            self._suspects_looked_at = 0.0

    def again(self) -> None:
        """Told when something may be in line again that no wake-up tells of."""
        self._drained.clear()
        self._bench.freed.set()

    async def _nothing_left(self) -> bool:
        """Whether nothing is due and nothing of ours is under way: then the worker may stop."""
        if not self._quiet() or self._bench.freed.is_set():
            return False
        if await self._catch_up():
            self.again()
            return False
        return set(self._tasks) <= self._drained and self._quiet() and not self._bench.freed.is_set()

    async def _pause(self) -> None:
        look_again = LOOK_AGAIN[self._backend.capabilities.push]
        if self._options.until_idle:
            look_again = 0.05
        try:
            async with asyncio.timeout(look_again):
                await self._bench.freed.wait()
        except TimeoutError:
            self._drained.clear()
