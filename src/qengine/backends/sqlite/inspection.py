"""Looking closely, and tending by hand: search, what runs and fails, one job changed, a schedule paused."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from qengine.backends.inspection import JobFilter, Page
from qengine.backends.sqlite import rows
from qengine.backends.sqlite.core import Core
from qengine.backends.sqlite.statements import SQL
from qengine.job import Job, JobError, Status
from qengine.schedule import next_fire

_FEW = 5_000
"""With no more jobs than these in the statuses asked for, a search goes to them and not through the ids."""


class Inspection(Core):
    """The verbs of `qengine.backends.inspection.Inspection`, but for its records and for `diagnose`."""

    # -- jobs

    async def search(self, which: JobFilter, *, limit: int, after: int | None = None, window: int = 20_000) -> Page:
        """See `Inspection.search`."""
        start = rows.LARGEST_ID if after is None else max(0, min(after, rows.LARGEST_ID))
        ids = None if which.status is None else await self._few(which.status, min(window, _FEW))
        if ids is not None:
            return await self._search_in(ids, which, limit, start)
        below = await self._read("search_floor", {"after": start, "window": window})
        floor = below[0][0] if below else 0
        values = {**rows.conditions(which), "after": start, "floor": floor, "limit": limit}
        jobs = [rows.job(row) for row in await self._read("search", values)]
        reached = jobs[-1].id if len(jobs) == limit else floor
        more = reached > 0 and bool(await self._read("search_floor", {"after": reached, "window": 1}))
        return Page(jobs, reached if more else None)

    async def _few(self, statuses: Sequence[Status], most: int) -> list[int] | None:
        """The ids of all jobs with these statuses; None where they are more than `most`, or completed ones are asked for."""
        if Status.COMPLETED in statuses:
            return None
        values = {
            "ended": rows.as_json([status for status in statuses if status in (Status.DEAD, Status.CANCELLED)]),
            "running": "[1]" if Status.PROCESSING in statuses else "[]",
            "waiting": "[1]" if Status.PENDING in statuses or Status.FAILED in statuses else "[]",
            "few": most,
        }
        found = [job_id for (job_id,) in await self._read("search_few", values)]
        return found if len(found) <= most else None

    async def _search_in(self, ids: Sequence[int], which: JobFilter, limit: int, start: int) -> Page:
        if which.ids is not None:
            ids = sorted(set(ids) & set(which.ids))
        values = {**rows.conditions(which), "ids": rows.as_json(ids), "limit": limit, "after": start}
        jobs = [rows.job(row) for row in await self._read("query_newest", values)]
        more = len(jobs) == limit and any(job_id < jobs[-1].id for job_id in ids)
        return Page(jobs, jobs[-1].id if more else None)

    async def running(self, limit: int) -> list[Job[Any]]:
        """See `Inspection.running`."""
        return [rows.job(row) for row in await self._read("running", {"limit": limit})]

    async def ended_since(self, since: dt.datetime, limit: int) -> list[Job[Any]]:
        """See `Inspection.ended_since`."""
        found = await self._read("ended_since", {"since": since.timestamp(), "limit": limit})
        return [rows.job(row) for row in found]

    async def oldest_due(self) -> Mapping[str, dt.datetime]:
        """See `Inspection.oldest_due`."""
        oldest: dict[str, float] = {}
        for lane in ("", "_suspects"):
            lines = await self._read("lines" + lane, {})
            for kind, due in await self._read("oldest_due" + lane, {"lines": rows.as_json(lines)}):
                oldest[kind] = min(due, oldest.get(kind, due))
        return {kind: rows.moment(due) for kind, due in oldest.items()}

    async def amend(
        self, job_id: int, *, payload: str | None = None, priority: int | None = None, due_now: bool = False
    ) -> Job[Any] | None:
        """See `Inspection.amend`."""
        if not 0 < job_id <= rows.LARGEST_ID:
            return None
        values = {
            "id": job_id,
            "payload": payload,
            "priority": priority,
            "due_now": due_now,
            "now": self._now(),
            "ageing": self.settings.ageing,
        }

        def amend(connection: sqlite3.Connection) -> Any:
            before = connection.execute(SQL["get"], values).fetchone()
            return before if connection.execute(SQL["amend"], values).rowcount else None

        before = await self._write(amend)
        if before is None:
            return None
        self._wakes.bump()
        return rows.job(before)

    # -- failures

    async def dead_by_day(
        self, since: dt.datetime, type: str | None = None, error_group: str | None = None
    ) -> list[tuple[dt.date, int]]:
        """See `Inspection.dead_by_day`."""
        values = {"since": since.timestamp(), "type": type, "error_group": error_group}
        found = await self._read("dead_by_day", values)
        return [(rows.moment(day * 86_400).date(), count) for day, count in found]

    async def errors_since(self, after: int, limit: int) -> list[tuple[int, str, JobError]]:
        """See `Inspection.errors_since`."""
        found = await self._read("errors_since", {"after": after, "limit": limit})
        return [(row_id, kind, rows.job_error(tuple(error))) for row_id, kind, *error in found]

    async def last_error_row(self) -> int:
        """See `Inspection.last_error_row`."""
        [(last,)] = await self._read("last_error_row", {})
        return int(last)

    # -- schedules

    async def pause_schedule(self, name: str, paused: bool) -> bool:
        """See `Inspection.pause_schedule`."""
        now = await self.now()

        def pause(connection: sqlite3.Connection) -> bool:
            standing = next((one for one in map(rows.schedule, connection.execute(SQL["schedules"])) if one.name == name), None)
            if standing is None:
                return False
            passed = standing.paused and not paused and standing.next_fire <= now
            going_on = next_fire(standing.cron, standing.tz, now).timestamp() if passed else None
            connection.execute(SQL["pause_schedule"], {"name": name, "paused": paused, "next_fire": going_on})
            return True

        return await self._write(pause)
