"""What keeps the line moving: due jobs, lost leases, retention; schedules and workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from qengine.backends.postgres.connection import Connection
from qengine.backends.postgres.core import Core
from qengine.backends.postgres.enqueue import store
from qengine.backends.postgres.lines import Line
from qengine.backends.postgres.rows import capped, fire_of, schedule_arrays, schedule_of, worker_of, worker_values
from qengine.backends.protocol import LIVE_WITHIN, Fire, Reclaimed, Schedule, WorkerInfo
from qengine.job import Status


class Upkeep(Core):
    """The verbs of upkeep, schedules and workers."""

    async def promote_due(self, limit: int) -> int:
        """See QueueBackend."""
        [row] = await self._fetch("promote_due", limit=limit)
        promoted: int = row["n"]
        if promoted:
            self._came_in_line()
        return promoted

    async def next_deadline(self) -> float | None:
        """See QueueBackend."""
        [row] = await self._fetch("next_deadline")
        return None if row["seconds"] is None else max(0.0, row["seconds"])

    async def reclaim(self, limit: int, *, max_crashes: int, lease: float) -> list[Reclaimed]:
        """See QueueBackend."""
        rows = await self._fetch("reclaim", limit=limit, max_crashes=max_crashes, lease=capped(lease))
        reclaimed = [Reclaimed(row["id"], row["type"], row["crashes"], row["dead"], row["worker"]) for row in rows]
        if not all(job.dead for job in reclaimed):
            self._came_in_line()
        return reclaimed

    async def bury_expired(self, limit: int) -> int:
        """See QueueBackend."""
        return len(await self._fetch("bury_expired", limit=limit))

    async def bury_unknown(self, after: float, limit: int) -> int:
        """See QueueBackend."""
        return len(await self._fetch("bury_unknown", after=capped(after), live_within=LIVE_WITHIN, limit=limit))

    async def prune(self, retention: Mapping[Status, float], limit: int) -> int:
        """See QueueBackend."""
        if not retention:
            return 0
        seconds = [capped(kept) for kept in retention.values()]
        return len(await self._fetch("prune", statuses=[str(status) for status in retention], seconds=seconds, limit=limit))

    # -- schedules

    async def put_schedules(self, schedules: Sequence[Schedule]) -> None:
        """See QueueBackend."""
        if schedules:
            # In the order of names: two that declare the same wait for each other in one order.
            declared = {schedule.name: schedule for schedule in schedules}
            await self._fetch("put_schedules", **schedule_arrays([declared[name] for name in sorted(declared)]))

    async def schedules(self) -> list[Schedule]:
        """See QueueBackend."""
        return [schedule_of(row) for row in await self._fetch("schedules")]

    async def fire(self, fire: Fire) -> list[int] | None:
        """See QueueBackend."""
        fired = await self._pool.in_transaction(partial(self._fire, fire))
        if fired is None:
            return None
        ids, came = fired
        if ids:
            self._enqueued(came)
        return ids

    async def _fire(self, fire: Fire, connection: Connection) -> tuple[list[int], dict[Line, float]] | None:
        rows = await self._fetch_on(connection, "fire", **fire_of(fire))
        if not rows:
            return None
        fresh = set(rows[0]["times"])
        jobs = [job for time, job in zip(fire.times, fire.jobs, strict=True) if time in fresh]
        if not jobs:
            return [], {}
        answers, came = await store(partial(self._fetch_on, connection), jobs)
        return [answer.id for answer in answers if not answer.existed], came

    # -- workers

    async def heartbeat(self, worker: WorkerInfo) -> None:
        """See QueueBackend."""
        await self._fetch("heartbeat", **worker_values(worker))

    async def retire(self, worker_id: str) -> None:
        """See QueueBackend."""
        await self._fetch("retire", id=worker_id)

    async def workers(self, within: float) -> list[WorkerInfo]:
        """See QueueBackend."""
        return [worker_of(row) for row in await self._fetch("workers", within=capped(within))]

    async def forget_workers(self, older: float) -> int:
        """See QueueBackend."""
        return len(await self._fetch("forget_workers", older=capped(older)))
