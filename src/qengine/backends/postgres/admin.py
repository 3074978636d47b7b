"""Reading and administration."""

from __future__ import annotations

from typing import Any

from qengine.backends.postgres.rows import job_of
from qengine.backends.postgres.verbs import Verbs
from qengine.job import Job


class AdminVerbs(Verbs):
    """get."""

    async def get(self, job_id: int) -> Job[Any] | None:
        """See QueueBackend."""
        rows = await self._fetch("get", id=job_id)
        return job_of(rows[0]) if rows else None
