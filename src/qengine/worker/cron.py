"""Firing schedules: each fire time enqueues its job once in the whole cluster."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Container

from qengine.backends.protocol import Fire, QueueBackend, Schedule
from qengine.job import NewJob
from qengine.registry import Cron, Registry
from qengine.schedule import next_fire, plan

log = logging.getLogger("qengine.cron")

LOOK_AGAIN = 10.0
"""Seconds between looks at the schedules, at the most."""
CATCH_UP_BATCH = 1_000
"""Missed fires that are enqueued at once, at the most; more follow in the next round."""


class CronLoop:
    """Fires the schedules that this process declares; others in the database are left to those who know their tasks."""

    def __init__(self, backend: QueueBackend, registry: Registry, types: Container[str]) -> None:
        self._backend = backend
        self._registry = registry
        self._crons: dict[str, Cron] = {cron.name: cron for cron in registry.crons if cron.task in types}
        self._declared = False
        # As with due jobs: a round that is under way is waited for.
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Declare, then fire what is due, for ever."""
        while self._crons:
            soonest = await self.round()
            await asyncio.sleep(min(max(soonest, 0.05), LOOK_AGAIN))

    async def round(self) -> float:
        """Fire what is due; seconds until the next fire. Declares the schedules, the first time."""
        async with self._turn:
            return await self._round() if self._crons else LOOK_AGAIN

    async def _round(self) -> float:
        now = await self._backend.now()
        if not self._declared:
            await self._declare(now)
        soonest = LOOK_AGAIN
        for schedule in await self._backend.schedules():
            if schedule.name in self._crons:
                following = await self._fire(schedule, now) if schedule.next_fire <= now else schedule.next_fire
                soonest = min(soonest, (following - now).total_seconds())
        return soonest

    async def _declare(self, now: dt.datetime) -> None:
        await self._backend.put_schedules([cron.schedule(now) for cron in self._crons.values()])
        self._declared = True

    async def _fire(self, schedule: Schedule, now: dt.datetime) -> dt.datetime:
        times, following = plan(schedule, now, CATCH_UP_BATCH)
        if schedule.paused:  # what it misses is not caught up
            times, following = [], next_fire(schedule.cron, schedule.tz, now)
        defaults = self._registry.get(schedule.type).defaults
        jobs = [
            NewJob(schedule.type, queue=defaults.queue, priority=defaults.priority, at=time, max_attempts=defaults.max_attempts)
            for time in times
        ]
        fired = await self._backend.fire(Fire(schedule.name, schedule.next_fire, following, times, jobs))
        if fired:
            log.info("schedule %s fired for %s", schedule.name, ", ".join(time.isoformat() for time in times[:5]))
        return following
