"""Reading, and what people do to jobs by hand."""

from __future__ import annotations

from typing import Any

from qengine.backends.sqlite import rows
from qengine.backends.sqlite.core import Core
from qengine.job import Job

_LARGEST_ID = 2**63 - 1


class Admin(Core):
    """The verbs of reading and administration."""

    async def get(self, job_id: int) -> Job[Any] | None:
        """See `QueueBackend.get`."""
        if not 0 < job_id <= _LARGEST_ID:
            return None
        found = await self._read("get", {"id": job_id})
        return rows.job(found[0]) if found else None
