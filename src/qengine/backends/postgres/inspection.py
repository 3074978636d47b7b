"""Looking closely, and tending by hand: search, what runs and fails, activity, the audit trail."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from qengine.backends.inspection import Activity, AuditEntry, JobFilter, Page
from qengine.backends.postgres.core import Core
from qengine.backends.postgres.rows import (
    LARGEST_ID,
    activity_arrays,
    activity_of,
    audit_of,
    audit_values,
    error_of,
    filter_of,
    job_of,
    storable,
)
from qengine.job import Job, JobError, Status
from qengine.schedule import next_fire

_FEW = 5_000
"""With no more jobs than these in the statuses asked for, a search goes to them and not through the ids."""
_AUDIT_KEPT = 90 * 86_400.0
_KEPT = {60: 3 * 3_600.0, 900: 8 * 86_400.0}
"""Seconds for which the slots of each step are kept."""


class Inspection(Core):
    """The verbs of `qengine.backends.inspection.Inspection`, but for `diagnose`."""

    _forgotten = 0
    """The quarter of an hour in which old slots of activity were last looked for."""

    # -- jobs

    async def search(self, which: JobFilter, *, limit: int, after: int | None = None, window: int = 20_000) -> Page:
        """See Inspection."""
        start = _below(after)
        ids = None if which.status is None else await self._few(which.status, min(window, _FEW))
        if ids is not None:
            return await self._search_in(ids, which, limit, start)
        rows = await self._fetch("search", **filter_of(which), limit=limit, after=start, window=window)
        jobs = [job_of(row) for row in rows if row["id"] is not None]
        return Page(jobs, rows[0]["reached"] if rows[0]["more"] else None)

    async def _few(self, statuses: Sequence[Status], most: int) -> list[int] | None:
        """The ids of all jobs with these statuses; None where they are more than `most`, or completed ones are asked for."""
        if Status.COMPLETED in statuses:
            return None
        rows = await self._fetch("search_few", statuses=[str(status) for status in statuses], few=most)
        ids = [row["id"] for row in rows]
        return None if None in ids else ids

    async def _search_in(self, ids: Sequence[int], which: JobFilter, limit: int, start: int) -> Page:
        if which.ids is not None:
            ids = sorted(set(ids) & set(which.ids))
        values = {**filter_of(which), "ids": ids}
        jobs = [job_of(row) for row in await self._desk("query_newest", **values, limit=limit, after=start)]
        more = len(jobs) == limit and any(id < jobs[-1].id for id in ids)
        return Page(jobs, jobs[-1].id if more else None)

    async def running(self, limit: int) -> list[Job[Any]]:
        """See Inspection."""
        return [job_of(row) for row in await self._fetch("running", limit=limit)]

    async def ended_since(self, since: dt.datetime, limit: int) -> list[Job[Any]]:
        """See Inspection."""
        return [job_of(row) for row in await self._fetch("ended_since", since=since, limit=limit)]

    async def oldest_due(self) -> Mapping[str, dt.datetime]:
        """See Inspection."""
        return {row["type"]: row["due"] for row in await self._fetch("oldest_due")}

    async def amend(
        self, job_id: int, *, payload: str | None = None, priority: int | None = None, due_now: bool = False
    ) -> Job[Any] | None:
        """See Inspection."""
        if not 0 < job_id <= LARGEST_ID:
            return None
        rows = await self._fetch("amend", id=job_id, payload=payload, priority=priority, due_now=due_now)
        if not rows:
            return None
        self._came_in_line()
        return job_of(rows[0])

    # -- failures

    async def dead_by_day(
        self, since: dt.datetime, type: str | None = None, error_group: str | None = None
    ) -> list[tuple[dt.date, int]]:
        """See Inspection."""
        rows = await self._fetch("dead_by_day", since=since, type=storable(type), error_group=storable(error_group))
        return [(row["day"], row["n"]) for row in rows]

    async def errors_since(self, after: int, limit: int) -> list[tuple[int, str, JobError]]:
        """See Inspection."""
        rows = await self._fetch("errors_since", after=max(0, min(after, LARGEST_ID)), limit=limit)
        return [(row["id"], row["type"], error_of(row)) for row in rows]

    async def last_error_row(self) -> int:
        """See Inspection."""
        [row] = await self._fetch("last_error_row")
        last: int = row["id"]
        return last

    # -- schedules

    async def pause_schedule(self, name: str, paused: bool) -> bool:
        """See Inspection."""
        standing = next((row for row in await self._fetch("schedules") if row["name"] == name), None)
        if standing is None:
            return False
        going_on = None
        if not paused:
            [clock] = await self._fetch("now")
            going_on = next_fire(standing["cron"], standing["tz"], clock["now"])
        seen = standing["next_fire"]
        return bool(await self._fetch("pause_schedule", name=name, paused=paused, seen=seen, next_fire=going_on))

    # -- activity

    async def record_activity(self, rows: Sequence[Activity]) -> None:
        """See Inspection."""
        if not rows:
            return
        await self._fetch("record_activity", **activity_arrays(rows))
        quarter = max(row.start for row in rows) // 900
        if quarter != self._forgotten:
            await self._fetch("forget_activity", steps=list(_KEPT), kept=list(_KEPT.values()))
            self._forgotten = quarter

    async def activity(self, step: int, since: dt.datetime) -> list[Activity]:
        """See Inspection."""
        rows = await self._fetch("activity", step=step, since=since)
        return [activity_of(step, row) for row in rows]

    # -- audit

    async def audit(self, entry: AuditEntry) -> int:
        """See Inspection."""
        [row] = await self._fetch("audit", **audit_values(entry), kept=_AUDIT_KEPT)
        entry_id: int = row["id"]
        return entry_id

    async def audit_done(self, entry_id: int, jobs: int) -> None:
        """See Inspection."""
        await self._fetch("audit_done", id=entry_id, jobs=jobs)

    async def audit_trail(self, limit: int, job_id: int | None = None, before: int | None = None) -> list[AuditEntry]:
        """See Inspection."""
        if job_id is None:
            rows = await self._fetch("audit_trail", before=_below(before), limit=limit)
        elif not 0 < job_id <= LARGEST_ID:
            return []
        else:
            rows = await self._fetch("audit_trail_of_job", job_id=job_id, before=_below(before), limit=limit)
        return [audit_of(row) for row in rows]


def _below(id: int | None) -> int:
    """The id below which to look, within what can be asked for."""
    return LARGEST_ID if id is None else max(0, min(id, LARGEST_ID))
