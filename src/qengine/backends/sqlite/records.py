"""What is on record: what workers did in each slot of time, and what people did by hand."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from qengine.backends.inspection import Activity, AuditEntry
from qengine.backends.sqlite import rows
from qengine.backends.sqlite.core import Core
from qengine.backends.sqlite.statements import SQL

_ACTIVITY_KEPT = {60: 3 * 3_600.0, 900: 8 * 86_400.0}
"""Seconds for which the slots of each step are kept."""
_AUDIT_KEPT = 90 * 86_400.0


class Records(Core):
    """The verbs of activity and of the audit trail."""

    _forgotten = 0
    """The quarter of an hour in which old slots of activity were last looked for."""

    # -- activity

    async def record_activity(self, activity: Sequence[Activity]) -> None:
        """See `Inspection.record_activity`."""
        if not activity:
            return
        quarter = max(slot.start for slot in activity) // 900
        done = {"rows": rows.as_json([_slot_row(slot) for slot in activity])}
        old = {"kept": rows.as_json({str(step): seconds for step, seconds in _ACTIVITY_KEPT.items()}), "now": self._now()}

        def record(connection: sqlite3.Connection) -> None:
            connection.execute(SQL["record_activity"], done)
            if quarter != self._forgotten:
                connection.execute(SQL["forget_activity"], old)

        await self._write(record)
        self._forgotten = quarter

    async def activity(self, step: int, since: dt.datetime) -> list[Activity]:
        """See `Inspection.activity`."""
        return [_slot(step, row) for row in await self._read("activity", {"step": step, "since": since.timestamp()})]

    # -- audit

    async def audit(self, entry: AuditEntry) -> int:
        """See `Inspection.audit`."""
        values = {
            "now": self._now(),
            "actor": entry.actor,
            "action": entry.action,
            "detail": rows.as_json(entry.detail),
            "job_id": entry.job_id,
            "jobs": entry.jobs,
            "kept": _AUDIT_KEPT,
        }

        def audit(connection: sqlite3.Connection) -> int:
            connection.execute(SQL["forget_audit"], values)
            [(entry_id,)] = connection.execute(SQL["audit"], values).fetchall()
            return int(entry_id)

        return await self._write(audit)

    async def audit_done(self, entry_id: int, jobs: int) -> None:
        """See `Inspection.audit_done`."""
        await self._change("audit_done", {"id": entry_id, "jobs": jobs})

    async def audit_trail(self, limit: int, job_id: int | None = None, before: int | None = None) -> list[AuditEntry]:
        """See `Inspection.audit_trail`."""
        verb = "audit_trail" if job_id is None else "audit_trail_of_job"
        start = rows.LARGEST_ID if before is None else before
        return [_entry(row) for row in await self._read(verb, {"job_id": job_id, "before": start, "limit": limit})]


def _slot_row(slot: Activity) -> tuple[Any, ...]:
    counts = (slot.completed, slot.failed, slot.dead, slot.other)
    return (slot.step, slot.start, slot.worker, slot.type, *counts, rows.as_json(list(slot.waits)), rows.as_json(list(slot.runs)))


def _slot(step: int, row: tuple[Any, ...]) -> Activity:
    start, kind, completed, failed, dead, other, waits, runs = row
    return Activity(step, start, "", kind, completed, failed, dead, other, _summed(waits), _summed(runs))


def _summed(histograms: str) -> tuple[int, ...]:
    """The sum of several histograms, given as the JSON text of a list of them."""
    return tuple(map(sum, zip_longest(*rows.value(histograms), fillvalue=0)))


def _entry(row: tuple[Any, ...]) -> AuditEntry:
    entry_id, at, actor, action, detail, job_id, jobs = row
    return AuditEntry(actor, action, rows.value(detail), job_id, jobs, entry_id, rows.moment(at))
