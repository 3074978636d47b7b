"""What a backend offers to those who look at a queue and tend it by hand: dashboards, the command line, monitoring.

`QueueBackend` holds what the queue itself needs; both are one protocol to who implements it, and the rules at the head
of `protocol.py` hold here too. Nothing here is on the way of a job.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from qengine.job import Job, JobError, Status

WAIT_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""Upper ends, in seconds, of the bins of `Activity.waits` and `Activity.runs`; one more bin is for what is longer."""
STEPS = (60, 900)
"""Lengths, in seconds, of the slots of `Activity`: minutes for the last hours, quarters of an hour for the last days."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs: all that meet every condition given."""

    ids: Sequence[int] | None = None
    status: Sequence[Status] | None = None
    type: str | None = None
    queue: str | None = None
    error_group: str | None = None
    """Jobs whose failure is of this group, as `failures` lists them."""
    created_before: dt.datetime | None = None
    created_after: dt.datetime | None = None
    ended_before: dt.datetime | None = None
    """Jobs that reached a final status (`completed_at`) before it; one that has not ended does not meet it."""
    text: str | None = None
    """Jobs in whose payload or last error this text is, as `search` looks for it."""
    above: int | None = None
    """Jobs with an id above this one. Verbs that take up to so many jobs take the lowest ids: whoever goes on in batches
    gives the last one, and what was looked through is not looked through again."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What one worker did with one type within one slot of time."""

    step: int
    """The slot's length, seconds: one of STEPS."""
    start: int
    """Its beginning, unix seconds, a multiple of `step`."""
    worker: str
    type: str
    completed: int = 0
    failed: int = 0
    """Attempts that failed and are tried again."""
    dead: int = 0
    """Jobs that this worker's run made dead."""
    other: int = 0
    """Runs that ended otherwise: snoozed, put back, cancelled."""
    waits: Sequence[int] = ()
    """How many runs waited how long between coming due and starting: one number for each of WAIT_BOUNDS and one more."""
    runs: Sequence[int] = ()
    """How many runs took how long; as `waits`."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One administrative action: who did what to how many jobs."""

    actor: str
    action: str
    """requeue, cancel, delete, pause, resume, amend, prune, fire, pause_schedule, resume_schedule."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen (ids, at most 100, or conditions) and what was changed; plain JSON values. An amended job's old
    payload and priority are under `before`."""
    job_id: int | None = None
    """The job, when the action was about a single one."""
    jobs: int | None = None
    """How many jobs it touched; None: it began, and its end was never recorded."""
    id: int = 0
    """Set by the backend."""
    at: dt.datetime | None = None
    """Set by the backend's clock, when the action began."""


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs that a search found, and where to go on."""

    jobs: Sequence[Job[Any]]
    after: int | None
    """Give it as `after` to go on from there, though nothing be found yet; None: all has been looked through."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `diagnose` looked at."""

    check: str
    """Its short name, the same on every run: `schema`, `wal_size`, `autovacuum`, `clock`, …"""
    level: Literal["ok", "warning", "problem"]
    text: str
    """What was found, with figures."""
    remedy: str = ""
    """What to do about it; empty when it is ok."""


class Inspection(Protocol):
    """Verbs for looking closely and for tending; part of `QueueBackend`."""

    async def search(self, which: JobFilter, *, limit: int, after: int | None = None, window: int = 20_000) -> Page:
        """Up to `limit` jobs that meet every condition, newest (highest id) first, with ids below `after`.

        `text` is looked for in payload and last error as it stands (no wildcards), in upper or lower case, at the least
        where its letters are ASCII. One call looks through `window` ids at the most, whatever it finds, so that its cost
        has a bound however many jobs there are; the caller goes on with `Page.after` while it likes. Never scans more,
        sorts the table, or counts.
        """
        ...

    async def running(self, limit: int) -> list[Job[Any]]:
        """Up to `limit` jobs that are processing, those whose lease ends first in front. Reads the lease index only."""
        ...

    async def dead_by_day(
        self, since: dt.datetime, type: str | None = None, error_group: str | None = None
    ) -> list[tuple[dt.date, int]]:
        """How many of the dead jobs died at or after `since`, for each day (UTC), by day; a day with none is not there.

        Reads the index of ended jobs.
        """
        ...

    async def ended_since(self, since: dt.datetime, limit: int) -> list[Job[Any]]:
        """Up to `limit` jobs that reached a final status at or after `since`, earliest first, ties by id."""
        ...

    async def errors_since(self, after: int, limit: int) -> list[tuple[int, str, JobError]]:
        """Up to `limit` rows of all histories with a row id above `after`, as (row id, job type, row), by row id."""
        ...

    async def last_error_row(self) -> int:
        """The highest row id of all histories, from which `errors_since` goes on; 0 when there is none."""
        ...

    async def oldest_due(self) -> Mapping[str, dt.datetime]:
        """For each type in line: when the job at the head of its line (of all queues, the earliest) came due.

        Reads the heads of the lines only, whatever their length.
        """
        ...

    async def amend(
        self, job_id: int, *, payload: str | None = None, priority: int | None = None, due_now: bool = False
    ) -> Job[Any] | None:
        """Change a waiting job (pending or failed), or the payload of a dead or cancelled one; the job as it was before.

        `due_now`: it comes due now and goes in line; one that was due already keeps its due time. The rank of a job in
        line follows a new priority or due time; one that is not in line yet stays out of it, but for `due_now`. None when
        it is missing, or not in a status in which this can be done (completed, processing; `priority` and `due_now` need
        pending or failed); nothing is changed then. The token grows. Wakes workers.
        """
        ...

    async def pause_schedule(self, name: str, paused: bool) -> bool:
        """Let a schedule fire no more, or again from the next fire time on; False when there is none of the name.

        What would have fired during a pause is not caught up: when a paused schedule is resumed whose `next_fire` has passed,
        it becomes the first fire time after now (`qengine.schedule.next_fire`).
        """
        ...

    async def record_activity(self, rows: Sequence[Activity]) -> None:
        """Store what a worker did; a row for the same (step, start, worker, type) is replaced.

        Rows with a step of 60 are kept for 3 hours at the least, those of 900 for 8 days, and deleted here, now and then.
        """
        ...

    async def activity(self, step: int, since: dt.datetime) -> list[Activity]:
        """What was done in the slots of this step that begin at `since` or later, by start and type.

        Summed over the workers (`worker` is ""). `waits` and `runs` are as long as the longest of those summed, at the least.
        """
        ...

    async def audit(self, entry: AuditEntry) -> int:
        """Store an entry (`id` and `at` are set); its id. Entries of more than 90 days are deleted here, now and then."""
        ...

    async def audit_done(self, entry_id: int, jobs: int) -> None:
        """Store how many jobs the action touched."""
        ...

    async def audit_trail(self, limit: int, job_id: int | None = None, before: int | None = None) -> list[AuditEntry]:
        """Up to `limit` entries, newest first, of one job if that is given, with ids below `before`."""
        ...

    async def diagnose(self) -> list[Finding]:
        """Look over the database for what slows or endangers the queue: schema, sizes, settings, clock, overdue leases.

        Cheap enough for a database at work: no full scan of a large table.
        """
        ...
