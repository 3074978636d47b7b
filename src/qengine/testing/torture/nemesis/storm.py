"""The nemesis at work: storms of faults, with lulls in which the cluster can catch its breath."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Sequence

from qengine.testing.torture.nemesis.fault import Fault, World

STORM, LULL = (20.0, 40.0), (10.0, 16.0)
"""Seconds from and to."""
AT_ONCE = 3
"""Faults that are at work at the same time, at the most."""


class Nemesis:
    """Lets faults strike until it is told to stop."""

    def __init__(self, world: World, faults: Sequence[type[Fault]], pace: float) -> None:
        self._world = world
        self._pace = pace
        self._random = world.random
        self._faults = [fault for fault in faults if fault.missing(world) is None]
        self.not_run = {fault.name: why for fault in faults if (why := fault.missing(world)) is not None}
        """Faults that this world does not allow, and why."""
        self._at_work: dict[asyncio.Task[None], Fault] = {}
        self.broken: list[str] = []
        """Faults that failed themselves."""

    async def at_random(self, seconds: float) -> None:
        """Strike at random for so long, then undo everything."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                await self._storm(min(end, time.monotonic() + self._random.uniform(*STORM)))
                await asyncio.sleep(max(0.0, min(end - time.monotonic(), self._random.uniform(*LULL))))
        finally:
            await self._undo()

    async def in_order(self, seconds: float) -> None:
        """Let each fault strike once, one after another, spread over so many seconds or what it takes."""
        began = time.monotonic()
        try:
            for place, fault in enumerate(self._faults):
                task = self._begin(fault)
                await asyncio.wait([task], timeout=2 * self._world.lease)
                await asyncio.sleep(max(0.3, began + seconds * (place + 1) / len(self._faults) - time.monotonic()))
        finally:
            await self._undo()

    async def _storm(self, end: float) -> None:
        weights = [fault.weight for fault in self._faults]
        while time.monotonic() < end:
            await asyncio.sleep(min(self._random.expovariate(1 / self._pace), 3 * self._pace))
            fault = self._random.choices(self._faults, weights)[0]
            same = any(isinstance(other, fault) for other in self._at_work.values())
            if len(self._at_work) < AT_ONCE and not same:
                self._begin(fault)

    def _begin(self, fault: type[Fault]) -> asyncio.Task[None]:
        made = fault(self._world)
        task = asyncio.create_task(self._strike(made), name=f"fault {fault.name}")
        self._at_work[task] = made
        task.add_done_callback(self._at_work.pop)
        return task

    async def _strike(self, fault: Fault) -> None:
        try:
            await fault.strike()
        except Exception:
            self.broken.append(f"the fault {fault.name!r} failed itself:\n{traceback.format_exc()}")

    async def _undo(self) -> None:
        tasks = list(self._at_work)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
