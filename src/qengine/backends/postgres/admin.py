"""Reading, and what people do to jobs by hand."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import Any, Literal

from asyncpg import UniqueViolationError  # type: ignore[import-untyped]

from qengine.backends.inspection import JobFilter
from qengine.backends.postgres.connection import Connection
from qengine.backends.postgres.core import Core
from qengine.backends.postgres.errors import CONFLICTS
from qengine.backends.postgres.rows import LARGEST_ID, capped, error_of, failure_of, filter_of, job_of, pause_of, stats_of
from qengine.backends.protocol import LIVE_WITHIN, FailureGroup, Pause, Stats
from qengine.job import Job, JobError


class Admin(Core):
    """The verbs of reading and administration."""

    # -- reading

    async def get(self, job_id: int) -> Job[Any] | None:
        """See QueueBackend."""
        if not 0 < job_id <= LARGEST_ID:
            return None
        rows = await self._fetch("get", id=job_id)
        return job_of(rows[0]) if rows else None

    async def query(
        self, which: JobFilter, *, limit: int, after: int | None = None, newest_first: bool = False
    ) -> list[Job[Any]]:
        """See QueueBackend."""
        start = (LARGEST_ID if newest_first else 0) if after is None else after
        verb = "query_newest" if newest_first else "query"
        return [job_of(row) for row in await self._desk(verb, **filter_of(which), limit=limit, after=start)]

    async def errors(self, job_id: int) -> list[JobError]:
        """See QueueBackend."""
        if not 0 < job_id <= LARGEST_ID:
            return []
        return [error_of(row) for row in await self._fetch("errors", id=job_id)]

    async def stats(self) -> Stats:
        """See QueueBackend."""
        counts = await self._desk("stats")
        return stats_of(counts, await self._fetch("workers", within=LIVE_WITHIN))

    async def unhandled(self) -> list[str]:
        """See QueueBackend."""
        return [row["type"] for row in await self._fetch("unhandled", live_within=LIVE_WITHIN)]

    async def failures(self, limit: int) -> list[FailureGroup]:
        """See QueueBackend."""
        return [failure_of(row) for row in await self._desk("failures", limit=limit)]

    # -- jobs by hand

    async def requeue(self, which: JobFilter, limit: int, *, spacing: float = 0.0, begin: float = 0.0) -> list[int]:
        """See QueueBackend."""
        # A job with the same unique key may come between: then that one is live, and this one is left alone.
        conflicts = (*CONFLICTS, UniqueViolationError)
        work = partial(self._requeue, which, limit, spacing, begin)
        ids = await self._pool.in_transaction(work, conflicts=conflicts)
        if ids:
            self._came_in_line()
        return ids

    async def _requeue(self, which: JobFilter, limit: int, spacing: float, begin: float, connection: Connection) -> list[int]:
        await self._plan_freely(connection)
        ids: list[int] = []
        while len(ids) < limit:
            values = {"limit": limit - len(ids), "spacing": spacing, "begin": begin + len(ids) * spacing}
            rows = await self._fetch_on(connection, "requeue", **filter_of(which), **values)
            ids += [row["id"] for row in rows]
            # Twins (ended jobs with one unique key) leave room: once more, for what comes after them.
            if not rows or len(rows) == rows[0]["looked"]:
                break
        return ids

    async def cancel(self, which: JobFilter, limit: int) -> list[int]:
        """See QueueBackend."""
        return sorted(row["id"] for row in await self._desk("cancel", **filter_of(which), limit=limit))

    async def delete(self, which: JobFilter, limit: int) -> list[int]:
        """See QueueBackend."""
        return sorted(row["id"] for row in await self._desk("delete", **filter_of(which), limit=limit))

    # -- pauses

    async def pause(self, kind: Literal["type", "queue"], name: str, until: float | dt.datetime | None = None) -> None:
        """See QueueBackend."""
        at, seconds = (until, None) if isinstance(until, dt.datetime) else (None, capped(until))
        await self._fetch("pause", kind=kind, name=name, at=at, seconds=seconds)

    async def resume(self, kind: Literal["type", "queue"], name: str) -> bool:
        """See QueueBackend."""
        rows = await self._fetch("resume", kind=kind, name=name)
        if rows:
            self._wakes.bump()
        return bool(rows) and rows[0]["in_force"]

    async def pauses(self) -> list[Pause]:
        """See QueueBackend."""
        return [pause_of(row) for row in await self._fetch("pauses")]
