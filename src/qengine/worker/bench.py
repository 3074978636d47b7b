"""The slots of a worker and the small buffer before them: who runs what, and how much more may come.

Slots are coroutines that live as long as the worker and take one job after another; no task is made for a job. One in
whose context a handler has left something (a context variable set and not reset) is replaced by a clean one.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable

from qengine.backends.protocol import Lease
from qengine.worker.run import Run
from qengine.worker.settler import Settler

RUN_ON = 0.002
"""Seconds for which a slot may go from job to job before it lets the event loop turn."""
WINDOW = 0.1
"""The buffer holds at most what ended within so many seconds."""


class Bench:
    """Slots, buffer, and the counts from which the fetcher tells its demand."""

    def __init__(self, concurrency: int, prefetch: int | None, work: Callable[[Run], Awaitable[None]], settler: Settler) -> None:
        self._concurrency = concurrency
        self._prefetch_limit = prefetch
        self._work = work
        self._settler = settler
        self._buffer: deque[Run] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._slots: set[asyncio.Task[None]] = set()
        self._closed = False
        self._context = contextvars.Context()
        self._finished = 0
        self._finished_before = 0
        self._window_began = time.monotonic()
        self.in_hand: Counter[str] = Counter()
        """Jobs of each type that are buffered or running."""
        self.held = 0
        """Their sum."""
        self.running: dict[int, Run] = {}
        """By job id."""
        self.freed = asyncio.Event()
        """Set whenever a job has ended."""

    def start(self) -> None:
        """Start the slots. What the caller's context holds, each job sees."""
        self._context = contextvars.copy_context()
        for _ in range(self._concurrency):
            self._add_slot()

    def _add_slot(self) -> None:
        slot = asyncio.create_task(self._slot(), name="qengine-slot", context=self._context.copy())
        self._slots.add(slot)
        slot.add_done_callback(self._slots.discard)

    async def _slot(self) -> None:
        turned = time.monotonic()
        me = asyncio.current_task()
        while True:
            if not self._buffer:
                waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(waiting)
                await waiting
                if self._closed:
                    return
                turned = time.monotonic()
                if not self._buffer:
                    continue
                run = self._buffer.popleft()
                self._wake(2)
                run.started = turned
            else:
                run = self._buffer.popleft()
                run.started = time.monotonic()
                if run.started - turned > RUN_ON:
                    await asyncio.sleep(0)
                    turned = run.started = time.monotonic()
            run.slot = me
            self.running[run.claim.id] = run
            try:
                await self._work(run)
            finally:
                if not run.let_go:
                    self._leave(run)
            if run.let_go:
                return
            self._finished += 1
            if self._settler.full:
                await self._settler.room()
            if contextvars.copy_context() != self._context:
                if not self._closed:
                    self._add_slot()
                return

    def _leave(self, run: Run) -> None:
        if self.running.get(run.claim.id) is run:
            del self.running[run.claim.id]
        self._left(run)

    def give(self, runs: Iterable[Run]) -> None:
        """Hand over claimed jobs: idle slots take them, and what no slot is free for waits in the buffer."""
        for run in runs:
            self.in_hand[run.claim.type] += 1
            self.held += 1
            self._buffer.append(run)
        self._wake(1)

    def _wake(self, most: int) -> None:
        """Wake idle slots, if there is anything for them. Each that finds something wakes two more: all are at work within a
        few turns of the loop, and few are woken in vain where jobs end faster than that."""
        while most and self._idle and self._buffer:
            waiting = self._idle.popleft()
            if not waiting.done():
                waiting.set_result(None)
                most -= 1

    def let_go(self, run: Run) -> None:
        """Go on without a run whose handler ignores its cancellation: its slot is replaced."""
        run.let_go = True
        if not self._closed:
            self._add_slot()
        self._leave(run)

    def _left(self, run: Run) -> None:
        self.in_hand[run.claim.type] -= 1
        self.held -= 1
        self.freed.set()

    def take_back(self, older_than: float = 0.0) -> list[Run]:
        """Empty the buffer, if its first job has waited for longer than so many seconds, and return what was in it."""
        if not self._buffer or time.monotonic() - self._buffer[0].claimed < older_than:
            return []
        back = list(self._buffer)
        self._buffer.clear()
        for run in back:
            self._left(run)
        return back

    def take_out(self, lease: Lease) -> Run | None:
        """The job that is run under this lease, or that waits in the buffer and is taken out of it; None: neither."""
        run = self.running.get(lease.id)
        if run is not None and run.claim.token == lease.token:
            return run
        for run in self._buffer:
            if run.claim.id == lease.id and run.claim.token == lease.token:
                self._buffer.remove(run)
                self._left(run)
                return run
        return None

    def _prefetch(self) -> int:
        """How many jobs may wait in the buffer: as many as ended in the last 100 ms, within the option's limit."""
        now = time.monotonic()
        elapsed = now - self._window_began
        if elapsed >= WINDOW:
            self._finished_before = int(self._finished * WINDOW / elapsed)
            self._finished = 0
            self._window_began = now
        target = max(self._finished_before, self._finished)
        return target if self._prefetch_limit is None else min(target, self._prefetch_limit)

    @property
    def buffered(self) -> int:
        """Jobs that wait for a slot."""
        return len(self._buffer)

    def room(self) -> int:
        """How many more jobs may be claimed now."""
        return self._concurrency + self._prefetch() - self.held

    async def close(self, patience: float) -> None:
        """End the slots; those that are still in a handler after `patience` seconds are left behind."""
        self._closed = True
        while self._idle:
            waiting = self._idle.popleft()
            if not waiting.done():
                waiting.set_result(None)
        slots = set(self._slots)
        for slot in slots:
            slot.cancel()
        if slots:
            await asyncio.wait(slots, timeout=patience)
