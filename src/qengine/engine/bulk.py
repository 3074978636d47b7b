"""Acting on many jobs: requeue, cancel, delete, prune, in batches that can be watched and interrupted."""

from __future__ import annotations

import abc
import datetime as dt
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from qengine.backends.inspection import JobFilter
from qengine.engine.audit import audited
from qengine.engine.looking import Looking
from qengine.engine.selection import (
    BATCH,
    Ids,
    Progress,
    Statuses,
    checked_filter,
    checked_statuses,
    in_batches,
    only_job,
    refuse_everything,
    told,
)
from qengine.errors import ConfigurationError
from qengine.job import Status
from qengine.task import check_seconds

_AN_INSTANT = dt.timedelta(microseconds=1)


class Bulk(Looking):
    """The part of an engine that acts on jobs, however many. Every method needs the engine to be open.

    `by` is who acts, for the record (`audit_trail`); None: the user of this process, as `user@host`. Many jobs are dealt
    with in batches, and `progress` is called after each with the number of jobs so far. An interruption between two of
    them (a cancellation, an error in `progress`) leaves those before it done and the others untouched.
    """

    @abc.abstractmethod
    def _running_were_touched(self) -> None:
        """Told when running jobs may have been taken from their workers."""

    async def requeue(
        self,
        ids: Ids = None,
        *,
        status: Statuses = None,
        type: str | None = None,
        queue: str | None = None,
        error_group: str | None = None,
        text: str | None = None,
        created_before: dt.datetime | None = None,
        created_after: dt.datetime | None = None,
        rate: float | None = None,
        progress: Progress | None = None,
        by: str | None = None,
    ) -> int:
        """Put dead, cancelled or completed jobs back in line, their attempts at 0; how many.

        Give ids or conditions. Without a `status`, conditions mean dead jobs only: completed and cancelled ones are
        requeued by id, or when `status` names them. A job whose unique key a live job has by now is left alone, and so is
        one that ends after this has begun. With a `rate`, so many jobs a second come due, the first one now: the database
        holds their times, and nobody has to wait for it.
        """
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < math.inf):
            raise ConfigurationError(f"rate={rate!r}: give how many jobs a second, more than 0")
        which = checked_filter(
            ids,
            status=status,
            type=type,
            queue=queue,
            error_group=error_group,
            text=text,
            created_before=created_before,
            created_after=created_after,
        )
        refuse_everything("requeue", which)
        if ids is None and which.status is None:
            which = replace(which, status=(Status.DEAD,))
        detail = told(which) | ({} if rate is None else {"rate": rate})
        if ids is None:
            # Those that die again while this goes on would be met for ever.
            which = replace(which, ended_before=await self.backend.now() + _AN_INSTANT)
        spacing, began = (0.0 if rate is None else 1 / rate), time.monotonic()

        async def requeue(part: JobFilter, limit: int, so_far: int) -> list[int]:
            begin = max(0.0, so_far * spacing - (time.monotonic() - began))
            return await self.backend.requeue(part, limit, spacing=spacing, begin=begin)

        return await self._many("requeue", which, detail, requeue, progress, by)

    async def cancel(
        self,
        ids: Ids = None,
        *,
        status: Statuses = None,
        type: str | None = None,
        queue: str | None = None,
        error_group: str | None = None,
        text: str | None = None,
        created_before: dt.datetime | None = None,
        created_after: dt.datetime | None = None,
        progress: Progress | None = None,
        by: str | None = None,
    ) -> int:
        """Cancel jobs that wait or run; how many. With conditions, those that were there when this began.

        The handler of a running one is cancelled when its lease is renewed: at once by workers of this engine object,
        within a third of the lease by others.
        """
        which = checked_filter(
            ids,
            status=status,
            type=type,
            queue=queue,
            error_group=error_group,
            text=text,
            created_before=created_before,
            created_after=created_after,
        )
        return await self._take_from_line("cancel", lambda part, limit: self.backend.cancel(part, limit), which, progress, by)

    async def delete(
        self,
        ids: Ids = None,
        *,
        status: Statuses = None,
        type: str | None = None,
        queue: str | None = None,
        error_group: str | None = None,
        text: str | None = None,
        created_before: dt.datetime | None = None,
        created_after: dt.datetime | None = None,
        progress: Progress | None = None,
        by: str | None = None,
    ) -> int:
        """Delete jobs and their history, for good; how many. With conditions, those that were there when this began.

        A running one is lost to its worker.
        """
        which = checked_filter(
            ids,
            status=status,
            type=type,
            queue=queue,
            error_group=error_group,
            text=text,
            created_before=created_before,
            created_after=created_after,
        )
        return await self._take_from_line("delete", lambda part, limit: self.backend.delete(part, limit), which, progress, by)

    async def prune(
        self,
        older_than: float,
        status: Statuses = (Status.COMPLETED, Status.CANCELLED),
        *,
        progress: Progress | None = None,
        by: str | None = None,
    ) -> int:
        """Delete jobs, with their history, that ended more than `older_than` seconds ago; how many.

        Workers do the same by the engine's `retention`. `status`: completed, cancelled, dead, or several of these.
        """
        check_seconds("older_than", older_than)
        ended = checked_statuses(status) or ()
        if not ended or not set(ended) <= {Status.COMPLETED, Status.CANCELLED, Status.DEAD}:
            raise ConfigurationError(f"status={status!r}: jobs that have ended are completed, cancelled or dead")
        retention = dict.fromkeys(ended, float(older_than))
        detail = {"older_than": older_than, "status": [str(one) for one in ended]}
        async with audited(self.backend, by, "prune", detail) as count:
            while pruned := await self.backend.prune(retention, BATCH):
                count.jobs += pruned
                if progress is not None:
                    progress(count.jobs)
                if pruned < BATCH:
                    break
        return count.jobs

    async def _take_from_line(
        self,
        action: str,
        verb: Callable[[JobFilter, int], Awaitable[list[int]]],
        which: JobFilter,
        progress: Progress | None,
        by: str | None,
    ) -> int:
        """Apply `verb` to the jobs that are there now, those that run among them."""
        refuse_everything(action, which)

        async def act(part: JobFilter, limit: int, so_far: int) -> list[int]:
            return await verb(part, limit)

        try:
            return await self._many(action, await self._there_now(which), told(which), act, progress, by)
        finally:
            self._running_were_touched()

    async def _there_now(self, which: JobFilter) -> JobFilter:
        """The same, less what is enqueued from now on, so that acting on it comes to an end beside busy producers."""
        if which.ids is not None:
            return which
        now = await self.backend.now() + _AN_INSTANT
        return replace(which, created_before=now if which.created_before is None else min(now, which.created_before))

    async def _many(
        self,
        action: str,
        which: JobFilter,
        detail: Mapping[str, Any],
        act: Callable[[JobFilter, int, int], Awaitable[list[int]]],
        progress: Progress | None,
        by: str | None,
    ) -> int:
        async with audited(self.backend, by, action, detail, only_job(which)) as count:

            def done(so_far: int) -> None:
                count.jobs = so_far
                if progress is not None:
                    progress(so_far)

            await in_batches(act, which, BATCH, done)
        return count.jobs
