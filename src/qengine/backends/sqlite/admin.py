"""Reading, and what people do to jobs by hand."""

from __future__ import annotations

import datetime as dt
import sqlite3
from typing import Any, Literal

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import LIVE_WITHIN, FailureGroup, Pause, Stats
from qengine.backends.sqlite import rows
from qengine.backends.sqlite.core import Core
from qengine.backends.sqlite.statements import SQL
from qengine.job import Job, JobError


class Admin(Core):
    """The verbs of reading and administration."""

    # -- reading

    async def get(self, job_id: int) -> Job[Any] | None:
        """See `QueueBackend.get`."""
        if not 0 < job_id <= rows.LARGEST_ID:
            return None
        found = await self._read("get", {"id": job_id})
        return rows.job(found[0]) if found else None

    async def query(
        self, which: JobFilter, *, limit: int, after: int | None = None, newest_first: bool = False
    ) -> list[Job[Any]]:
        """See `QueueBackend.query`."""
        if limit <= 0:
            return []
        if after is None:
            after = rows.LARGEST_ID if newest_first else 0
        values = {**rows.conditions(which), "limit": limit, "after": max(0, min(after, rows.LARGEST_ID))}
        return [rows.job(row) for row in await self._read("query_newest" if newest_first else "query", values)]

    async def errors(self, job_id: int) -> list[JobError]:
        """See `QueueBackend.errors`."""
        if not 0 < job_id <= rows.LARGEST_ID:
            return []
        return [rows.job_error(row) for row in await self._read("errors", {"id": job_id})]

    async def stats(self) -> Stats:
        """See `QueueBackend.stats`."""
        now = self._now()
        live = await self._read("workers", {"now": now, "within": LIVE_WITHIN})
        return rows.stats(await self._read_at_length("stats", {}), [rows.worker(row) for row in live], now)

    async def unhandled(self) -> list[str]:
        """See `QueueBackend.unhandled`."""
        live = await self._read("workers", {"now": self._now(), "within": LIVE_WITHIN})
        workers = [rows.worker(row) for row in live]
        lines = [*await self._read("lines", {}), *await self._read("lines_suspects", {})]
        return sorted({kind for queue, kind in lines if not rows.served(workers, queue, kind)})

    async def failures(self, limit: int) -> list[FailureGroup]:
        """See `QueueBackend.failures`."""
        return [rows.failure(row) for row in await self._read_at_length("failures", {"limit": max(limit, 0)})]

    # -- administration

    async def requeue(self, which: JobFilter, limit: int, *, spacing: float = 0.0, begin: float = 0.0) -> list[int]:
        """See `QueueBackend.requeue`."""
        values = {**rows.conditions(which), "now": self._now(), "ageing": self.settings.ageing}
        spaced = {**values, "spacing": spacing, "begin": begin, "latest": rows.LATEST}
        text = SQL["requeue"]

        def requeue(connection: sqlite3.Connection) -> list[int]:
            # Of several with one unique key only the first goes, and the rest are no candidates in the next round.
            ids: list[int] = []
            while len(ids) < limit:
                found = connection.execute(text, {**values, "limit": limit - len(ids)}).fetchall()
                if not found:
                    break
                ids += [job_id for (job_id,) in found]
            ids.sort()
            if ids and (spacing or begin):
                connection.execute(SQL["requeue_spaced"], {**spaced, "ids": rows.as_json(ids)})
            return ids

        requeued = await self._write(requeue)
        if requeued:
            self._wakes.bump()
        return requeued

    async def cancel(self, which: JobFilter, limit: int) -> list[int]:
        """See `QueueBackend.cancel`."""
        return await self._chosen("cancel", which, limit)

    async def delete(self, which: JobFilter, limit: int) -> list[int]:
        """See `QueueBackend.delete`."""
        return await self._chosen("delete", which, limit)

    async def _chosen(self, verb: str, which: JobFilter, limit: int) -> list[int]:
        values = {**rows.conditions(which), "limit": max(limit, 0), "now": self._now()}
        return sorted(job_id for (job_id,) in await self._write_one(verb, values))

    async def pause(self, kind: Literal["type", "queue"], name: str, until: float | dt.datetime | None = None) -> None:
        """See `QueueBackend.pause`."""
        if until is not None:
            until = min(until.timestamp() if isinstance(until, dt.datetime) else self._now() + until, rows.LATEST)
        await self._change("pause", {"kind": kind, "name": name, "until": until})

    async def resume(self, kind: Literal["type", "queue"], name: str) -> bool:
        """See `QueueBackend.resume`."""
        now = self._now()
        ended = await self._write_one("resume", {"kind": kind, "name": name})
        in_force = any(until is None or until > now for (until,) in ended)
        if in_force:
            self._wakes.bump()
        return in_force

    async def pauses(self) -> list[Pause]:
        """See `QueueBackend.pauses`."""
        return [rows.pause(row) for row in await self._read("pauses", {"now": self._now()})]
