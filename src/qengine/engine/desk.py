"""Acting on one job, on types and queues, and on schedules: what an operator does, by hand or by program."""

from __future__ import annotations

import abc
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from qengine import codec
from qengine.backends.inspection import JobFilter
from qengine.engine.audit import audited
from qengine.engine.bulk import Bulk
from qengine.engine.selection import check_aware
from qengine.errors import ConfigurationError
from qengine.job import Job, NewJob, Status
from qengine.registry import Registry
from qengine.task import check_priority


class Desk(Bulk):
    """The part of an engine that administers. Every method needs the engine to be open, and every action is on record:

    `by` is who acts (`audit_trail`); None: the user of this process, as `user@host`.
    """

    registry: Registry
    payload_limit: int

    @abc.abstractmethod
    async def submit(self, jobs: Sequence[NewJob], conn: Any = None) -> list[Job[Any]]:
        """Store requests that are checked already."""

    # -- one job

    async def amend(
        self,
        id: int,
        *,
        payload: Mapping[str, Any] | None = None,
        priority: int | None = None,
        due_now: bool = False,
        by: str | None = None,
    ) -> Job[Any]:
        """Change a job that waits (pending or failed), or the payload of a dead or cancelled one; the job as it is then.

        A payload is checked against the handler if its task is registered here (PayloadError), and replaces the old one,
        which the audit row keeps: `detail["before"]` of the job's `audit_trail`. `due_now`: it is run now, not at its
        time. Raises JobNotFound, and ConfigurationError when its status does not allow the change.
        """
        if payload is None and priority is None and not due_now:
            raise ConfigurationError("amend() changes nothing; give payload=, priority= or due_now=True")
        if priority is not None:
            check_priority(priority)
        job = await self.job(id)
        text = None if payload is None else self._encoded(job.type, payload)
        _refuse_status(job, priority is not None or due_now)
        changed = {name: value for name, value in (("priority", priority), ("due_now", due_now or None)) if value is not None}
        async with audited(self.backend, by, "amend", _before(job) | changed, job.id) as count:
            before = await self.backend.amend(job.id, payload=text, priority=priority, due_now=due_now)
            count.jobs = 0 if before is None else 1
        if before is None:
            _refuse_status(await self.job(id), priority is not None or due_now)
            raise ConfigurationError(f"job {id} was changed by others at this moment; look at it, and try again")
        if _before(before) != _before(job):
            # Others amended it between the look and the change: what was replaced is on record too.
            async with audited(self.backend, by, "amend", _before(before) | changed, job.id):
                pass
        return await self.job(id)

    def _encoded(self, type: str, payload: Mapping[str, Any]) -> str:
        arguments = dict(payload)
        if type in self.registry:
            return self.registry.get(type).codec.encode((), arguments, self.payload_limit, plain=True)
        return codec.encode(arguments, limit=self.payload_limit, what=f"the payload of {type}")

    # -- types and queues

    async def pause(
        self,
        *,
        type: str | None = None,
        queue: str | None = None,
        until: float | dt.datetime | None = None,
        by: str | None = None,
    ) -> None:
        """Start no more jobs of a type, or of a queue, on any worker.

        `until` is seconds from now or an aware datetime; None: until `resume`. What runs already goes on.
        """
        if isinstance(until, dt.datetime):
            check_aware("until", until)
        kind, name = _lane(type, queue)
        ends = {} if until is None else {"until": until.isoformat() if isinstance(until, dt.datetime) else until}
        async with audited(self.backend, by, "pause", {kind: name} | ends):
            await self.backend.pause(kind, name, until)

    async def resume(self, *, type: str | None = None, queue: str | None = None, by: str | None = None) -> bool:
        """End a pause; False when there was none."""
        kind, name = _lane(type, queue)
        async with audited(self.backend, by, "resume", {kind: name}):
            return await self.backend.resume(kind, name)

    # -- schedules

    async def pause_schedule(self, name: str, by: str | None = None) -> None:
        """Let a cron schedule fire no more until it is resumed. Raises ConfigurationError when there is none of the name."""
        await self._set_paused(name, True, by)

    async def resume_schedule(self, name: str, by: str | None = None) -> None:
        """Let a paused schedule fire again, from its next fire time on: nothing is caught up.

        Raises ConfigurationError when there is none of the name.
        """
        await self._set_paused(name, False, by)

    async def _set_paused(self, name: str, paused: bool, by: str | None) -> None:
        action = "pause_schedule" if paused else "resume_schedule"
        async with audited(self.backend, by, action, {"schedule": name}):
            if not await self.backend.pause_schedule(name, paused):
                raise _no_schedule(name)

    async def fire_now(self, name: str, by: str | None = None) -> Job[Any]:
        """Enqueue the job of a cron schedule now, besides its fires; the job. A paused schedule can be fired too.

        Its queue, priority and attempts are its task's where that is registered here, else those of the latest job of its
        type. Raises ConfigurationError when there is no schedule of the name.
        """
        schedule = next((one for one in await self.backend.schedules() if one.name == name), None)
        if schedule is None:
            raise _no_schedule(name)
        async with audited(self.backend, by, "fire", {"schedule": name, "type": schedule.type}) as count:
            [job] = await self.submit([await self._fired(schedule.type)])
            count.jobs = 1
        return job

    async def _fired(self, type: str) -> NewJob:
        if type in self.registry:
            defaults = self.registry.get(type).defaults
            return NewJob(type, queue=defaults.queue, priority=defaults.priority, max_attempts=defaults.max_attempts)
        latest = (await self.backend.search(JobFilter(type=type), limit=1)).jobs
        if not latest:
            return NewJob(type)
        return NewJob(type, queue=latest[0].queue, priority=latest[0].priority, max_attempts=latest[0].max_attempts)


def _lane(type: str | None, queue: str | None) -> tuple[Literal["type", "queue"], str]:
    if (type is None) == (queue is None):
        raise ConfigurationError("give either type= or queue=")
    return ("type", type) if type is not None else ("queue", str(queue))


def _no_schedule(name: str) -> ConfigurationError:
    return ConfigurationError(f"there is no schedule {name!r}; engine.schedules() lists those that workers have declared")


def _before(job: Job[Any]) -> dict[str, Any]:
    return {"before": {"payload": job.payload, "priority": job.priority}}


def _refuse_status(job: Job[Any], needs_waiting: bool) -> None:
    """Raise ConfigurationError unless a job in this status can be amended."""
    if job.status in (Status.PENDING, Status.FAILED):
        return
    if job.status in (Status.DEAD, Status.CANCELLED):
        if not needs_waiting:
            return
        raise ConfigurationError(f"job {job.id} is {job.status}; requeue it first: priority and due time are for jobs that wait")
    raise ConfigurationError(f"job {job.id} is {job.status}; only a job that waits, is dead or was cancelled can be amended")
