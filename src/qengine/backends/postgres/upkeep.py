"""Upkeep, which any worker does: jobs that come due, leases that end, what expires, what nobody serves, what is old."""

from __future__ import annotations

from collections.abc import Mapping

from qengine.backends.postgres.rows import capped
from qengine.backends.postgres.verbs import Verbs
from qengine.backends.protocol import LIVE_WITHIN, Reclaimed
from qengine.job import Status


class UpkeepVerbs(Verbs):
    """promote_due, next_deadline, reclaim, bury_expired, bury_unknown, prune."""

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
