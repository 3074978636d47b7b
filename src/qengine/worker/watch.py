"""Watching the runs of a worker: deadlines, handlers that ignore their cancellation, jobs that wait too long in the buffer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from qengine.worker.bench import Bench
from qengine.worker.run import Run, Stop

PATIENCE = 5.0
"""Seconds that a cancelled handler has to end before the worker goes on without it."""
COARSE, FINE = 0.1, 0.005
"""Seconds between looks: at the most, and at the least when a deadline is near."""
STALE = 1.0
"""Seconds after which jobs that were claimed ahead are put back: their slots turned out to be busy for long."""


class Watch:
    """One loop for all deadlines, in place of a timer for each job."""

    def __init__(self, bench: Bench, *, ignored: Callable[[Run], None], stale: Callable[[Sequence[Run]], None]) -> None:
        self._bench = bench
        self._ignored = ignored
        self._stale = stale
        self._something_runs = asyncio.Event()

    def wake(self) -> None:
        """Told when jobs have been claimed."""
        self._something_runs.set()

    async def run(self) -> None:
        """Look as often as it takes, for ever; not at all while nothing runs."""
        while True:
            if not self._bench.held:
                self._something_runs.clear()
                await self._something_runs.wait()
            await asyncio.sleep(self._look())

    def _look(self) -> float:
        now = time.monotonic()
        nearest = now + COARSE
        for run in list(self._bench.running.values()):
            if run.stop is None and run.deadline <= now:
                run.cancel(Stop.TIMEOUT, now)
            elif run.stop is not None and now - run.stopped_at >= PATIENCE:
                self._ignored(run)
                continue
            nearest = min(nearest, run.deadline if run.stop is None else nearest)
        if back := self._bench.take_back(older_than=STALE):
            self._stale(back)
        return max(nearest - now, FINE)
