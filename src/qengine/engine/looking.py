"""Looking at jobs and at those who run them: what an operator sees."""

from __future__ import annotations

import abc
import datetime as dt
import time
from collections.abc import Mapping
from typing import Any

from qengine.backends.inspection import STEPS, Activity, AuditEntry, Finding, Page
from qengine.backends.protocol import LIVE_WITHIN, FailureGroup, Pause, Schedule, Stats, WorkerInfo
from qengine.engine.part import Part
from qengine.engine.selection import Statuses, check_aware, check_limit, checked_filter, checked_id
from qengine.errors import ConfigurationError, JobNotFound
from qengine.job import Job, JobError

SEARCH_TIME = 0.1
"""Seconds after which a search hands over what it has found so far."""
WINDOW, TEXT_WINDOW = 20_000, 2_000
"""Jobs that a search looks through at once, at first; fewer for a text, as payloads may be large."""
LARGEST_WINDOW = 200_000


class Looking(Part):
    """The part of an engine that reads. Every method needs the engine to be open."""

    @abc.abstractmethod
    def _seen_by_user(self, job: Job[Any]) -> Job[Any]:
        """The job, such that it can be waited for."""

    # -- jobs

    async def job(self, id: int) -> Job[Any]:
        """The job with this id, as it stands. Raises JobNotFound."""
        job = await self.backend.get(checked_id(id))
        if job is None:
            raise JobNotFound(f"there is no job {id}: it never existed, or was deleted")
        return self._seen_by_user(job)

    async def jobs(
        self,
        *,
        status: Statuses = None,
        type: str | None = None,
        queue: str | None = None,
        error_group: str | None = None,
        created_before: dt.datetime | None = None,
        created_after: dt.datetime | None = None,
        limit: int = 100,
        after: int | None = None,
        newest_first: bool = False,
    ) -> list[Job[Any]]:
        """Up to `limit` jobs that meet every condition given, by id.

        For the next page give the last id as `after`. `error_group` is the `error` of a group of `failures`. It looks as
        far as it must to find `limit` jobs; `search` takes a bounded time.
        """
        check_limit(limit)
        which = checked_filter(
            status=status,
            type=type,
            queue=queue,
            error_group=error_group,
            created_before=created_before,
            created_after=created_after,
        )
        found = await self.backend.query(which, limit=limit, after=after, newest_first=newest_first)
        return [self._seen_by_user(job) for job in found]

    async def search(
        self,
        *,
        status: Statuses = None,
        type: str | None = None,
        queue: str | None = None,
        error_group: str | None = None,
        text: str | None = None,
        created_after: dt.datetime | None = None,
        created_before: dt.datetime | None = None,
        limit: int = 50,
        after: int | None = None,
    ) -> Page:
        """Up to `limit` jobs that meet every condition given, the newest first, and where to go on.

        `text` is looked for in payload and last error, in any case, as it stands. Stops after about 0.1 seconds with what
        it has found, be it nothing: go on with `after=page.after` until that is None.
        """
        check_limit(limit)
        which = checked_filter(
            status=status,
            type=type,
            queue=queue,
            error_group=error_group,
            text=text,
            created_before=created_before,
            created_after=created_after,
        )
        found: list[Job[Any]] = []
        deadline = time.monotonic() + SEARCH_TIME
        window = WINDOW if which.text is None else TEXT_WINDOW
        while True:
            began = time.monotonic()
            page = await self.backend.search(which, limit=limit - len(found), after=after, window=window)
            found += [self._seen_by_user(job) for job in page.jobs]
            after = page.after
            now = time.monotonic()
            if after is None or len(found) >= limit or now >= deadline:
                return Page(found, after)
            if now - began < (deadline - now) / 8:
                window = min(window * 4, LARGEST_WINDOW)

    async def running(self, limit: int = 100) -> list[Job[Any]]:
        """Up to `limit` jobs that run now, with their progress; those whose lease ends first in front."""
        check_limit(limit)
        return [self._seen_by_user(job) for job in await self.backend.running(limit)]

    async def ended_since(self, since: dt.datetime, limit: int = 100) -> list[Job[Any]]:
        """Up to `limit` jobs that were completed, cancelled or died at or after `since`, earliest first."""
        check_aware("since", since)
        check_limit(limit)
        return [self._seen_by_user(job) for job in await self.backend.ended_since(since, limit)]

    # -- what fails

    async def errors(self, id: int) -> list[JobError]:
        """The failed attempts and crashes of a job, oldest first. Raises JobNotFound."""
        await self.job(id)
        return await self.backend.errors(id)

    async def errors_since(self, after: int, limit: int = 100) -> list[tuple[int, str, JobError]]:
        """Up to `limit` failed attempts and crashes of all jobs, as (row id, job type, row), with row ids above `after`.

        Begin with `last_error_row()`, and go on with the last row id.
        """
        check_limit(limit)
        return await self.backend.errors_since(after, limit)

    async def last_error_row(self) -> int:
        """The highest row id of all failed attempts and crashes; 0 when there is none."""
        return await self.backend.last_error_row()

    async def failures(self, limit: int = 100) -> list[FailureGroup]:
        """Dead and failed jobs grouped by type and normalised error, the largest groups first."""
        return await self.backend.failures(limit)

    async def dead_by_day(
        self, since: dt.datetime, type: str | None = None, error_group: str | None = None
    ) -> list[tuple[dt.date, int]]:
        """How many of the dead jobs died at or after `since`, for each day (UTC); a day with none is not there."""
        check_aware("since", since)
        return await self.backend.dead_by_day(since, type, error_group)

    # -- the queue as a whole

    async def stats(self) -> Stats:
        """Counts by status, type and queue, and what waits that no live worker serves. It may read the whole table."""
        return await self.backend.stats()

    async def oldest_due(self) -> Mapping[str, dt.datetime]:
        """For each type that waits in line: when the first job in line came due. Cheap, however long the lines are."""
        return await self.backend.oldest_due()

    async def activity(self, step: int, since: dt.datetime) -> list[Activity]:
        """What all workers did with each type, in slots of `step` seconds (60 or 900) that begin at `since` or later.

        Slots of 60 seconds are kept for some hours, those of 900 for some days.
        """
        if step not in STEPS:
            raise ConfigurationError(f"step={step!r}: activity is kept in slots of {' or '.join(map(str, STEPS))} seconds")
        check_aware("since", since)
        return await self.backend.activity(step, since)

    async def workers(self) -> list[WorkerInfo]:
        """The live workers: those heard of within the last 30 seconds."""
        return await self.backend.workers(LIVE_WITHIN)

    async def schedules(self) -> list[Schedule]:
        """The cron schedules that workers have declared, with their next and last fires."""
        return await self.backend.schedules()

    async def pauses(self) -> list[Pause]:
        """The pauses in force."""
        return await self.backend.pauses()

    async def audit_trail(self, limit: int = 100, job_id: int | None = None, before: int | None = None) -> list[AuditEntry]:
        """Up to `limit` administrative actions, the newest first: all, or those on one job alone.

        For the next page give the last `id` as `before`. What was done to a job as one of many is not among its own.
        """
        check_limit(limit)
        return await self.backend.audit_trail(limit, None if job_id is None else checked_id(job_id), before)

    async def diagnose(self) -> list[Finding]:
        """What the database has to say about itself: what slows or endangers the queue, and what to do about it."""
        return await self.backend.diagnose()
