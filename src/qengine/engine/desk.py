"""Looking at jobs and acting on them: what an operator does, by hand or by program."""

from __future__ import annotations

import abc
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal

from qengine.backends.protocol import (
    LIVE_WITHIN,
    FailureGroup,
    JobFilter,
    Pause,
    QueueBackend,
    Schedule,
    Stats,
    WorkerInfo,
)
from qengine.errors import ConfigurationError, JobNotFound
from qengine.job import Job, JobError, Status

BATCH = 1_000
"""Jobs that one administrative statement touches, at the most; larger selections take several."""

Statuses = Status | str | Iterable[Status | str] | None


class Desk(abc.ABC):
    """The part of an engine that reads and administers. Every method needs the engine to be open."""

    @property
    @abc.abstractmethod
    def backend(self) -> QueueBackend:
        """The open backend. Raises ConfigurationError while the engine is not open."""

    @abc.abstractmethod
    def _seen_by_user(self, job: Job[Any]) -> Job[Any]:
        """The job, such that it can be waited for."""

    @abc.abstractmethod
    def _running_were_touched(self) -> None:
        """Told when running jobs may have been taken from their workers."""

    # -- looking

    async def job(self, id: int) -> Job[Any]:
        """The job with this id, as it stands. Raises JobNotFound."""
        job = await self.backend.get(_job_id(id))
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

        For the next page give the last id as `after`. `error_group` is the `error` of a group of `failures`.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ConfigurationError(f"limit={limit!r}: give a whole number, 1 or more")
        which = _filter(None, status, type, queue, error_group, created_before, created_after)
        found = await self.backend.query(which, limit=limit, after=after, newest_first=newest_first)
        return [self._seen_by_user(job) for job in found]

    async def errors(self, id: int) -> list[JobError]:
        """The failed attempts and crashes of a job, oldest first. Raises JobNotFound."""
        await self.job(id)
        return await self.backend.errors(id)

    async def stats(self) -> Stats:
        """Counts by status, type and queue, and what waits that no live worker serves."""
        return await self.backend.stats()

    async def failures(self, limit: int = 100) -> list[FailureGroup]:
        """Dead and failed jobs grouped by type and normalised error, the largest groups first."""
        return await self.backend.failures(limit)

    async def workers(self) -> list[WorkerInfo]:
        """The live workers: those heard of within the last 30 seconds."""
        return await self.backend.workers(LIVE_WITHIN)

    async def schedules(self) -> list[Schedule]:
        """The cron schedules that workers have declared, with their next and last fires."""
        return await self.backend.schedules()

    async def pauses(self) -> list[Pause]:
        """The pauses in force."""
        return await self.backend.pauses()

    # -- acting

    async def requeue(
        self,
        ids: int | Iterable[int] | None = None,
        *,
        status: Statuses = None,
        type: str | None = None,
        queue: str | None = None,
        error_group: str | None = None,
    ) -> int:
        """Put dead, cancelled or completed jobs back in line, their attempts at 0; how many.

        Give ids or conditions. Without a `status`, conditions mean dead jobs only: completed and cancelled ones are
        requeued by id, or when `status` names them. A job whose unique key a live job has by now is left alone.
        """
        which = _selection("requeue", ids, status, type, queue, error_group)
        if ids is None and which.status is None:
            which = JobFilter(None, (Status.DEAD,), type, queue, error_group)
        return await _in_batches(self.backend.requeue, which)

    async def cancel(
        self,
        ids: int | Iterable[int] | None = None,
        *,
        status: Statuses = None,
        type: str | None = None,
        queue: str | None = None,
    ) -> int:
        """Cancel jobs that wait or run; how many.

        The handler of a running one is cancelled when its lease is renewed: at once by workers of this engine object,
        within a third of the lease by others.
        """
        count = await _in_batches(self.backend.cancel, _selection("cancel", ids, status, type, queue, None))
        self._running_were_touched()
        return count

    async def delete(
        self,
        ids: int | Iterable[int] | None = None,
        *,
        status: Statuses = None,
        type: str | None = None,
        queue: str | None = None,
        error_group: str | None = None,
    ) -> int:
        """Delete jobs and their history, for good; how many. A running one is lost to its worker."""
        count = await _in_batches(self.backend.delete, _selection("delete", ids, status, type, queue, error_group))
        self._running_were_touched()
        return count

    async def pause(self, *, type: str | None = None, queue: str | None = None, until: float | dt.datetime | None = None) -> None:
        """Start no more jobs of a type, or of a queue, on any worker.

        `until` is seconds from now or an aware datetime; None: until `resume`. What runs already goes on.
        """
        if isinstance(until, dt.datetime) and until.tzinfo is None:
            raise ConfigurationError(f"until={until!r} has no time zone; give an aware datetime, or seconds")
        await self.backend.pause(*_lane(type, queue), until)

    async def resume(self, *, type: str | None = None, queue: str | None = None) -> bool:
        """End a pause; False when there was none."""
        return await self.backend.resume(*_lane(type, queue))


def _lane(type: str | None, queue: str | None) -> tuple[Literal["type", "queue"], str]:
    if (type is None) == (queue is None):
        raise ConfigurationError("give either type= or queue=")
    return ("type", type) if type is not None else ("queue", str(queue))


def _selection(
    act: str, ids: int | Iterable[int] | None, status: Statuses, type: str | None, queue: str | None, error_group: str | None
) -> JobFilter:
    which = _filter(ids, status, type, queue, error_group, None, None)
    if which == JobFilter():
        raise ConfigurationError(f"{act}() would touch every job; give ids, or a condition such as status= or type=")
    return which


def _filter(
    ids: int | Iterable[int] | None,
    status: Statuses,
    type: str | None,
    queue: str | None,
    error_group: str | None,
    created_before: dt.datetime | None,
    created_after: dt.datetime | None,
) -> JobFilter:
    for name, time in (("created_before", created_before), ("created_after", created_after)):
        if time is not None and time.tzinfo is None:
            raise ConfigurationError(f"{name}={time!r} has no time zone; give an aware datetime")
    chosen = None if ids is None else [_job_id(i) for i in ([ids] if isinstance(ids, (int, str)) else ids)]
    return JobFilter(chosen, _statuses(status), type, queue, error_group, created_before, created_after)


def _job_id(id: int) -> int:
    if isinstance(id, bool) or not isinstance(id, int):
        raise ConfigurationError(f"{id!r} is no job id; ids are whole numbers")
    return id


def _statuses(status: Statuses) -> tuple[Status, ...] | None:
    if status is None:
        return None
    given = [status] if isinstance(status, str) else list(status)
    try:
        return tuple(Status(one) for one in given)
    except ValueError:
        raise ConfigurationError(f"status={status!r}: the statuses are {', '.join(Status)}") from None


async def _in_batches(act: Callable[[JobFilter, int], Awaitable[list[int]]], which: JobFilter) -> int:
    """Apply `act` until nothing more is selected: by slices of the ids where these are given, else by the conditions."""
    if which.ids is not None:
        done = 0
        for start in range(0, len(which.ids), BATCH):
            part: Sequence[int] = which.ids[start : start + BATCH]
            chosen = JobFilter(part, which.status, which.type, which.queue, which.error_group)
            done += len(await act(chosen, BATCH))
        return done
    total = 0
    while touched := await act(which, BATCH):
        total += len(touched)
        if len(touched) < BATCH:
            break
    return total
