"""What keeps the line moving: due jobs, lost leases, retention; schedules and workers."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from qengine.backends.protocol import LIVE_WITHIN, Fire, Reclaimed, Schedule, WorkerInfo
from qengine.backends.sqlite import rows
from qengine.backends.sqlite.core import Core
from qengine.backends.sqlite.enqueue import run, storing
from qengine.backends.sqlite.statements import SQL
from qengine.job import Status


class Upkeep(Core):
    """The verbs of upkeep, schedules and workers."""

    # -- upkeep

    async def promote_due(self, limit: int) -> int:
        """See `QueueBackend.promote_due`."""
        promoted = await self._change("promote_due", {"now": self._now(), "limit": limit, "ageing": self.settings.ageing})
        if promoted:
            self._wakes.bump()
        return promoted

    async def next_deadline(self) -> float | None:
        """See `QueueBackend.next_deadline`."""
        [deadlines] = await self._read("next_deadline", {})
        known = [deadline for deadline in deadlines if deadline is not None]
        return max(0.0, min(known) - self._now()) if known else None

    async def reclaim(self, limit: int, *, max_crashes: int, lease: float) -> list[Reclaimed]:
        """See `QueueBackend.reclaim`. There is no database server here that could have been down."""
        now = self._now()

        def reclaim(connection: sqlite3.Connection) -> list[Reclaimed]:
            lapsed = connection.execute(SQL["reclaim_errors"], {"now": now, "limit": limit}).fetchall()
            if not lapsed:
                return []
            workers = dict(lapsed)
            values = {"ids": rows.as_json(list(workers)), "max_crashes": max_crashes, "now": now, "ageing": self.settings.ageing}
            taken = connection.execute(SQL["reclaim"], values).fetchall()
            return [
                Reclaimed(job_id, kind, crashes, bool(dead), workers[job_id]) for job_id, kind, crashes, dead in sorted(taken)
            ]

        reclaimed = await self._write(reclaim)
        if not all(job.dead for job in reclaimed):
            self._wakes.bump()
        return reclaimed

    async def bury_expired(self, limit: int) -> int:
        """See `QueueBackend.bury_expired`."""
        return await self._change("bury_expired", {"now": self._now(), "limit": limit})

    async def bury_unknown(self, after: float, limit: int) -> int:
        """See `QueueBackend.bury_unknown`."""
        now = self._now()

        def bury(connection: sqlite3.Connection) -> int:
            live = connection.execute(SQL["workers"], {"now": now, "within": LIVE_WITHIN}).fetchall()
            workers = [rows.worker(row) for row in live]
            lasting = [one for one in workers if one.started_at is not None and one.started_at.timestamp() <= now - after]
            buried = 0
            for lane in ("", "_suspects") if lasting else ():
                unknown = [
                    (queue, kind)
                    for queue, kind in connection.execute(SQL["lines" + lane]).fetchall()
                    if any(rows.serves(one, queue) for one in lasting) and not rows.served(workers, queue, kind)
                ]
                values = {"lines": rows.as_json(unknown), "after": after, "limit": limit - buried, "now": now}
                buried += connection.execute(SQL["bury_unknown" + lane], values).rowcount if unknown else 0
            return buried

        return await self._write(bury)

    async def prune(self, retention: Mapping[Status, float], limit: int) -> int:
        """See `QueueBackend.prune`."""
        if not retention:
            return 0
        return await self._change("prune", {"retention": rows.as_json(dict(retention)), "now": self._now(), "limit": limit})

    # -- schedules

    async def put_schedules(self, schedules: Sequence[Schedule]) -> None:
        """See `QueueBackend.put_schedules`."""
        if schedules:
            await self._change("put_schedules", {"schedules": rows.schedules(schedules)})

    async def schedules(self) -> list[Schedule]:
        """See `QueueBackend.schedules`."""
        return [rows.schedule(row) for row in await self._read("schedules", {})]

    async def fire(self, fire: Fire) -> list[int] | None:
        """See `QueueBackend.fire`."""
        now = self._now()
        times = [rows.micros(time.timestamp()) for time in fire.times]
        values = {
            "schedule": fire.schedule,
            "seen": fire.seen.timestamp(),
            "next_fire": fire.next_fire.timestamp(),
            "last_fire": max(times) / 1e6 if times else None,
            "times": rows.as_json(times),
        }

        def fire_once(connection: sqlite3.Connection) -> list[int] | None:
            moved = connection.execute(SQL["fire"], values).fetchall()
            if not moved:
                return None
            [(paused,)] = moved
            if paused:
                return []
            fresh = {time for (time,) in connection.execute(SQL["fire_times"], values).fetchall()}
            jobs = [job for time, job in zip(times, fire.jobs, strict=True) if time in fresh]
            if not jobs:
                return []
            return [one.id for one in run(connection, storing(jobs, now, self.settings.ageing)) if not one.existed]

        ids = await self._write(fire_once)
        if ids:
            self._wakes.bump()
        return ids

    # -- workers

    async def heartbeat(self, worker: WorkerInfo) -> None:
        """See `QueueBackend.heartbeat`."""
        await self._change("heartbeat", {**rows.announced(worker), "now": self._now()})

    async def retire(self, worker_id: str) -> None:
        """See `QueueBackend.retire`."""
        await self._change("retire", {"id": worker_id})

    async def workers(self, within: float) -> list[WorkerInfo]:
        """See `QueueBackend.workers`."""
        return [rows.worker(row) for row in await self._read("workers", {"now": self._now(), "within": within})]

    async def forget_workers(self, older: float) -> int:
        """See `QueueBackend.forget_workers`."""
        return await self._change("forget_workers", {"now": self._now(), "older": older})
