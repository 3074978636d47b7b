"""A queue in memory: the oracle that both backends are compared with. As plain as it can be, and of no other use.

It keeps whole `Job` values and applies the rules of `qengine.backends.protocol` one row at a time. Its verbs take and give
what a backend's do, but are not async. Where the contract leaves an order open (which of many are cancelled first), it
goes by id, and is to be asked for all of them.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from msgspec.structs import replace as changed

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import (
    LIVE_WITHIN,
    SUSPECT_CRASHES,
    Claim,
    Demand,
    Enqueued,
    FailureGroup,
    Fire,
    Lease,
    Pause,
    Reclaimed,
    Schedule,
    Settlement,
    Stats,
    WorkerInfo,
)
from qengine.clock import Clock
from qengine.job import LIVE, Job, JobError, NewJob, Status
from qengine.schedule import next_fire

WAITING = (Status.PENDING, Status.FAILED)
ENDED = (Status.COMPLETED, Status.DEAD, Status.CANCELLED)


class Model:
    """All that a database of qengine holds."""

    def __init__(self, clock: Clock, ageing: float) -> None:
        self.clock, self.ageing = clock, ageing
        self.jobs: dict[int, Job[Any]] = {}
        self.texts: dict[int, NewJob] = {}
        self.history: dict[int, list[JobError]] = {}
        self.paused: dict[tuple[str, str], dt.datetime | None] = {}
        self.planned: dict[str, Schedule] = {}
        self.fired: set[tuple[str, dt.datetime]] = set()
        self.staff: dict[str, WorkerInfo] = {}
        self.ids = 0

    # -- small words

    @property
    def now(self) -> dt.datetime:
        return self.clock.now()

    def later(self, seconds: float) -> dt.datetime:
        return self.now + dt.timedelta(seconds=seconds)

    def place(self, job: Job[Any]) -> float:
        assert job.scheduled_for is not None
        return job.scheduled_for.timestamp() + job.priority * self.ageing

    def write(self, job: Job[Any], **changes: Any) -> Job[Any]:
        self.jobs[job.id] = changed(job, updated_at=self.now, **changes)
        return self.jobs[job.id]

    def held(self, lease: Lease) -> Job[Any] | None:
        job = self.jobs.get(lease.id)
        return job if job is not None and job.lease_token == lease.token else None

    def leave(self, job: Job[Any], status: Status, **changes: Any) -> Job[Any]:
        """Out of whatever it was in, out of line and out of its holder's hands."""
        ended = self.now if status in ENDED else None
        out = {"rank": None, "locked_by": None, "locked_until": None, "completed_at": ended, "lease_token": job.lease_token + 1}
        return self.write(job, status=status, **(out | changes))

    def log(self, job: Job[Any], worker: str | None, error: str, traceback: str | None = None) -> None:
        entry = JobError(job.id, job.attempts, worker, job.started_at, self.now, error, traceback)
        self.history.setdefault(job.id, []).append(entry)

    def live_twin(self, type: str, key: str | None) -> Job[Any] | None:
        twins = (job for job in self.jobs.values() if (job.type, job.unique_key) == (type, key) and job.status in LIVE)
        return None if key is None else next(twins, None)

    # -- the way of a job

    def enqueue(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        return [self._enqueue(job) for job in jobs]

    def _enqueue(self, new: NewJob) -> Enqueued:
        twin = self.live_twin(new.type, new.unique_key)
        if twin is not None:
            assert twin.created_at is not None
            assert twin.scheduled_for is not None
            return Enqueued(twin.id, True, twin.created_at, twin.scheduled_for)
        self.ids += 1
        due = new.at or self.later(new.delay or 0)
        job: Job[Any] = Job(
            id=self.ids,
            type=new.type,
            queue=new.queue,
            priority=new.priority,
            payload=json.loads(new.payload),
            max_attempts=new.max_attempts,
            scheduled_for=due,
            unique_key=new.unique_key,
            partition_key=new.partition_key,
            timeout=new.timeout,
            expires_at=self.later(new.expires) if isinstance(new.expires, (int, float)) else new.expires,
            headers=None if new.headers is None else json.loads(new.headers),
            created_at=self.now,
        )
        self.write(job, rank=self.place(job) if due <= self.now else None)
        self.texts[job.id] = new
        return Enqueued(job.id, False, self.now, due)

    def claim(self, demand: Demand) -> list[Claim]:
        room = dict(demand.types)
        taken: list[Claim] = []
        for job in sorted(self.jobs.values(), key=lambda job: (job.rank or 0, job.id)):
            if (
                len(taken) < demand.limit
                and job.rank is not None
                and room.get(job.type, 0) > 0
                and (demand.queues is None or job.queue in demand.queues)
                and (job.crashes >= SUSPECT_CRASHES) == demand.suspects
                and not self.is_paused("type", job.type)
                and not self.is_paused("queue", job.queue)
            ):
                room[job.type] -= 1
                taken.append(self._take(job, demand))
        return taken

    def _take(self, job: Job[Any], demand: Demand) -> Claim:
        job = self.write(
            job,
            status=Status.PROCESSING,
            rank=None,
            attempts=job.attempts + 1,
            lease_token=job.lease_token + 1,
            locked_by=demand.worker,
            locked_until=self.later(demand.lease),
            started_at=self.now,
        )
        assert job.scheduled_for is not None
        assert job.created_at is not None
        return Claim(
            id=job.id,
            token=job.lease_token,
            type=job.type,
            queue=job.queue,
            priority=job.priority,
            payload=self.texts[job.id].payload,
            attempt=job.attempts,
            max_attempts=job.max_attempts,
            crashes=job.crashes,
            timeout=job.timeout,
            scheduled_for=job.scheduled_for,
            created_at=job.created_at,
            expires_at=job.expires_at,
            expired=job.expires_at is not None and job.expires_at <= self.now,
            unique_key=job.unique_key,
            partition_key=job.partition_key,
            checkpoint=None if job.checkpoint is None else json.dumps(job.checkpoint),
            headers=self.texts[job.id].headers,
        )

    def settle(self, settlements: Sequence[Settlement], worker: str) -> list[Lease]:
        lost = []
        for end in settlements:
            job = self.held(Lease(end.id, end.token))
            if job is None:
                lost.append(Lease(end.id, end.token))
                continue
            if end.logged:
                self.log(job, worker, end.error or "", end.traceback)
            self._settle(job, end)
        return lost

    def _settle(self, job: Job[Any], end: Settlement) -> None:
        changes: dict[str, Any] = {"attempts": job.attempts - (not end.spent), "crashes": 0 if end.ended else job.crashes}
        if end.error is not None:
            changes |= {"last_error": end.error, "error_group": end.error_group}
        if end.status is Status.COMPLETED:
            changes["result"] = None if end.result is None else json.loads(end.result)
        if end.status is Status.DEAD:
            changes["dead_reason"] = end.dead_reason
        if end.status in WAITING:
            due = job.scheduled_for if end.delay is None else self.later(end.delay)
            in_line = end.delay is None or end.delay <= 0
            changes |= {
                "scheduled_for": due,
                "rank": self.place(changed(job, scheduled_for=due)) if in_line else None,
            }
        self.leave(job, end.status, **changes)

    def extend(self, leases: Sequence[Lease], seconds: float) -> list[Lease]:
        for lease in leases:
            if (job := self.held(lease)) is not None:
                self.jobs[job.id] = changed(job, locked_until=self.later(seconds))
        return [lease for lease in leases if self.held(lease) is None]

    def save(self, lease: Lease, *, progress: str | None = None, checkpoint: str | None = None) -> bool:
        job = self.held(lease)
        given = {"progress": progress, "checkpoint": checkpoint}
        if job is not None:
            self.write(job, **{name: json.loads(text) for name, text in given.items() if text is not None})
        return job is not None

    def transaction(self, lease: Lease) -> bool:
        """Whether an empty block would be committed."""
        return self.settle([Settlement(*lease, Status.COMPLETED)], "") == []

    def store_result(self, lease: Lease, result: str) -> bool:
        job = self.held(lease)
        if job is not None:
            self.write(job, result=json.loads(result))
        return job is not None

    def disown(self, worker: str, keep: Sequence[Lease]) -> int:
        strays = [job for job in self.jobs.values() if job.status is Status.PROCESSING and job.locked_by == worker]
        strays = [job for job in strays if Lease(job.id, job.lease_token) not in keep]
        for job in strays:
            self.leave(job, Status.PENDING, rank=self.place(job), attempts=job.attempts - 1)
        return len(strays)

    # -- upkeep

    def promote_due(self, limit: int) -> int:
        due = [job for job in self.jobs.values() if self._waits(job) and job.rank is None]
        due = sorted(due, key=lambda job: job.scheduled_for or self.now)[:limit]
        for job in due:
            self.jobs[job.id] = changed(job, rank=self.place(job))
        return len(due)

    def _waits(self, job: Job[Any]) -> bool:
        """Waiting, and due."""
        return job.status in WAITING and job.scheduled_for is not None and job.scheduled_for <= self.now

    def next_deadline(self) -> float | None:
        dues = [job.scheduled_for for job in self.jobs.values() if job.status in WAITING and job.rank is None]
        ends = [job.locked_until for job in self.jobs.values() if job.status is Status.PROCESSING]
        return min((max(0.0, (moment - self.now).total_seconds()) for moment in dues + ends if moment), default=None)

    def reclaim(self, limit: int, *, max_crashes: int, lease: float) -> list[Reclaimed]:
        lapsed = [job for job in self.jobs.values() if job.locked_until is not None and job.locked_until <= self.now]
        return [self._reclaim(job, max_crashes) for job in lapsed]

    def _reclaim(self, job: Job[Any], max_crashes: int) -> Reclaimed:
        error = f"crashed: the lease of worker {job.locked_by} ended"
        self.log(job, job.locked_by, error)
        crashes, dead = job.crashes + 1, job.crashes + 1 >= max_crashes
        told: dict[str, Any] = {"last_error": error, "error_group": "crashed: the lease of worker * ended"}
        told |= {"attempts": job.attempts - 1, "crashes": crashes}
        if dead:
            self.leave(job, Status.DEAD, dead_reason="crash_loop", **told)
        else:
            self.leave(job, Status.PENDING, rank=self.place(job), **told)
        return Reclaimed(job.id, job.type, crashes, dead, job.locked_by)

    def bury_expired(self, limit: int) -> int:
        late = [job for job in self.jobs.values() if job.status in WAITING and job.expires_at and job.expires_at <= self.now]
        return self._bury(late, "expired")

    def bury_unknown(self, after: float, limit: int) -> int:
        since = self.later(-after)

        def doomed(job: Job[Any]) -> bool:
            waits = job.rank is not None and job.scheduled_for is not None and job.scheduled_for <= since
            lasting = any(worker.started_at and worker.started_at <= since for worker in self._serving(job.queue))
            return waits and lasting and not self._served(job)

        return self._bury([job for job in self.jobs.values() if doomed(job)], "unknown_type")

    def _bury(self, jobs: list[Job[Any]], reason: str) -> int:
        for job in jobs:
            self.leave(job, Status.DEAD, dead_reason=reason)
        return len(jobs)

    def prune(self, retention: dict[Status, float], limit: int) -> int:
        def old(job: Job[Any]) -> bool:
            return job.status in retention and bool(job.completed_at and job.completed_at < self.later(-retention[job.status]))

        return len(self._remove([job for job in self.jobs.values() if old(job)]))

    def _remove(self, jobs: list[Job[Any]]) -> list[int]:
        for job in jobs:
            del self.jobs[job.id]
            self.history.pop(job.id, None)
        return [job.id for job in jobs]

    # -- reading

    def query(self, which: JobFilter) -> list[Job[Any]]:
        return [job for job in self.jobs.values() if _meets(job, which)]

    def errors(self, job_id: int) -> list[JobError]:
        return self.history.get(job_id, [])

    def stats(self) -> Stats:
        jobs = self.jobs.values()
        ended = [job for job in jobs if job.status in (Status.COMPLETED, Status.DEAD)]
        tries = {name: [job.attempts for job in ended if job.type == name] for name in {job.type for job in ended}}
        dues = [job.scheduled_for for job in jobs if self._waits(job) and job.scheduled_for]
        return Stats(
            by_status=_counts(jobs),
            by_type=_counts_by(jobs, lambda job: job.type),
            by_queue=_counts_by(jobs, lambda job: job.queue),
            avg_attempts={name: sum(counts) / len(counts) for name, counts in tries.items()},
            oldest_pending=(self.now - min(dues)).total_seconds() if dues else None,
            unhandled=dict(Counter(job.type for job in jobs if job.status in WAITING and not self._served(job))),
            workers=len(self._live()),
        )

    def unhandled(self) -> list[str]:
        return sorted({job.type for job in self.jobs.values() if job.rank is not None and not self._served(job)})

    def running(self, limit: int) -> list[Job[Any]]:
        running = [job for job in self.jobs.values() if job.locked_until]
        return sorted(running, key=lambda job: (job.locked_until, job.id))[:limit]

    def ended_since(self, since: dt.datetime, limit: int) -> list[Job[Any]]:
        ended = [job for job in self.jobs.values() if job.completed_at and job.completed_at >= since]
        return sorted(ended, key=lambda job: (job.completed_at, job.id))[:limit]

    def oldest_due(self) -> dict[str, dt.datetime]:
        oldest: dict[str, dt.datetime] = {}
        line = sorted((job.rank, job.id) for job in self.jobs.values() if job.rank is not None)
        heads: dict[tuple[str, str, bool], Job[Any]] = {}
        for _, job_id in line:
            job = self.jobs[job_id]
            heads.setdefault((job.queue, job.type, job.crashes >= SUSPECT_CRASHES), job)
        for job in heads.values():
            assert job.scheduled_for is not None
            oldest[job.type] = min(job.scheduled_for, oldest.get(job.type, job.scheduled_for))
        return oldest

    def failures(self) -> list[FailureGroup]:
        groups: dict[tuple[str, str], list[Job[Any]]] = {}
        for job in self.jobs.values():
            if job.status in (Status.DEAD, Status.FAILED):
                groups.setdefault((job.type, _group(job)), []).append(job)
        return [self._failure(*name, jobs) for name, jobs in groups.items()]

    def _failure(self, type: str, error: str, jobs: list[Job[Any]]) -> FailureGroup:
        ends = sorted((job.completed_at or job.updated_at or self.now, job.id) for job in jobs)
        dead = sum(job.status is Status.DEAD for job in jobs)
        return FailureGroup(type, error, len(jobs), dead, ends[0][0], ends[-1][0], ends[-1][1])

    # -- administration

    def requeue(self, which: JobFilter, limit: int, *, spacing: float = 0.0, begin: float = 0.0) -> list[int]:
        done: list[int] = []
        for job in self.query(which):
            if job.status in ENDED and self.live_twin(job.type, job.unique_key) is None:
                self._requeue(job, self.later(begin + len(done) * spacing))
                done.append(job.id)
        return done

    def _requeue(self, job: Job[Any], due: dt.datetime) -> None:
        kept = job.expires_at if job.expires_at and job.expires_at > self.now else None
        anew: dict[str, Any] = {"attempts": 0, "crashes": 0, "result": None, "dead_reason": None, "expires_at": kept}
        rank = self.place(changed(job, scheduled_for=due)) if due <= self.now else None
        self.leave(job, Status.PENDING, scheduled_for=due, rank=rank, **anew)

    def amend(
        self, job_id: int, *, payload: str | None = None, priority: int | None = None, due_now: bool = False
    ) -> Job[Any] | None:
        job = self.jobs.get(job_id)
        ended = job is not None and job.status in (Status.DEAD, Status.CANCELLED) and priority is None and not due_now
        if job is None or not (ended or job.status in WAITING):
            return None
        if payload is not None:
            self.texts[job_id] = changed(self.texts[job_id], payload=payload)
        assert job.scheduled_for is not None
        due = min(job.scheduled_for, self.now) if due_now else job.scheduled_for
        new = changed(job, payload=json.loads(self.texts[job_id].payload), priority=priority or job.priority, scheduled_for=due)
        rank = self.place(new) if due_now or job.rank is not None else None
        self.write(new, rank=rank, lease_token=job.lease_token + 1)
        return job

    def cancel(self, which: JobFilter, limit: int) -> list[int]:
        live = [job for job in self.query(which) if job.status in LIVE]
        return [self.leave(job, Status.CANCELLED).id for job in live]

    def delete(self, which: JobFilter, limit: int) -> list[int]:
        return self._remove(self.query(which))

    def pause(self, kind: str, name: str, until: float | None = None) -> None:
        ends = [self.paused[kind, name]] if self.is_paused(kind, name) else []
        ends.append(None if until is None else self.later(until))
        self.paused[kind, name] = None if None in ends else max(end for end in ends if end)

    def resume(self, kind: str, name: str) -> bool:
        was = self.is_paused(kind, name)
        self.paused.pop((kind, name), None)
        return was

    def is_paused(self, kind: str, name: str) -> bool:
        return (kind, name) in self.paused and ((until := self.paused[kind, name]) is None or until > self.now)

    def pauses(self) -> list[Pause]:
        return [Pause(kind, name, until) for (kind, name), until in self.paused.items() if self.is_paused(kind, name)]  # type: ignore[arg-type]

    # -- schedules

    def put_schedules(self, schedules: Sequence[Schedule]) -> None:
        for new in schedules:
            old = self.planned.get(new.name)
            if old is not None and (old.cron, old.tz) == (new.cron, new.tz):
                new = replace(new, next_fire=old.next_fire, last_fire=old.last_fire)
            self.planned[new.name] = replace(new, paused=old is not None and old.paused)

    def schedules(self) -> list[Schedule]:
        return [self.planned[name] for name in sorted(self.planned)]

    def fire(self, fire: Fire) -> list[int] | None:
        stands = self.planned.get(fire.schedule)
        if stands is None or stands.next_fire != fire.seen:
            return None
        if stands.paused:
            self.planned[fire.schedule] = replace(stands, next_fire=fire.next_fire)
            return []
        last = fire.times[-1] if fire.times else stands.last_fire
        self.planned[fire.schedule] = replace(stands, next_fire=fire.next_fire, last_fire=last)
        new = [job for job, time in zip(fire.jobs, fire.times, strict=True) if (fire.schedule, time) not in self.fired]
        self.fired |= {(fire.schedule, time) for time in fire.times}
        return [answer.id for answer in self.enqueue(new)]

    def pause_schedule(self, name: str, paused: bool) -> bool:
        stands = self.planned.get(name)
        if stands is None:
            return False
        if stands.paused and not paused and stands.next_fire <= self.now:
            stands = replace(stands, next_fire=next_fire(stands.cron, stands.tz, self.now))
        self.planned[name] = replace(stands, paused=paused)
        return True

    # -- workers

    def heartbeat(self, worker: WorkerInfo) -> None:
        known = self.staff.get(worker.id)
        started = self.now if known is None else known.started_at
        self.staff[worker.id] = replace(worker, started_at=started, heartbeat=self.now)

    def retire(self, worker_id: str) -> None:
        self.staff.pop(worker_id, None)

    def workers(self, within: float) -> list[WorkerInfo]:
        return [worker for worker in self.staff.values() if worker.heartbeat and worker.heartbeat >= self.later(-within)]

    def forget_workers(self, older: float) -> int:
        old = [worker.id for worker in self.staff.values() if worker.heartbeat and worker.heartbeat < self.later(-older)]
        for worker_id in old:
            del self.staff[worker_id]
        return len(old)

    def _live(self) -> list[WorkerInfo]:
        return self.workers(LIVE_WITHIN)

    def _serving(self, queue: str) -> list[WorkerInfo]:
        return [worker for worker in self._live() if worker.queues is None or queue in worker.queues]

    def _served(self, job: Job[Any]) -> bool:
        return any(job.type in worker.types for worker in self._serving(job.queue))


def _meets(job: Job[Any], which: JobFilter) -> bool:
    return (
        (which.ids is None or job.id in which.ids)
        and (which.above is None or job.id > which.above)
        and (which.status is None or job.status in which.status)
        and which.type in (None, job.type)
        and which.queue in (None, job.queue)
        and which.error_group in (None, _group(job))
        and (which.created_before is None or (job.created_at is not None and job.created_at < which.created_before))
        and (which.created_after is None or (job.created_at is not None and job.created_at > which.created_after))
        and (which.ended_before is None or (job.completed_at is not None and job.completed_at < which.ended_before))
        and (which.text is None or _holds(job, which.text))
    )


def _holds(job: Job[Any], text: str) -> bool:
    places = (json.dumps(job.payload, ensure_ascii=False), job.last_error or "")
    return any(text.lower() in place.lower() for place in places)


def _counts(jobs: Iterable[Job[Any]]) -> dict[str, int]:
    return dict.fromkeys((status.value for status in Status), 0) | Counter(job.status.value for job in jobs)


def _counts_by(jobs: Iterable[Job[Any]], name: Callable[[Job[Any]], str]) -> dict[str, dict[str, int]]:
    return {found: _counts(job for job in jobs if name(job) == found) for found in {name(job) for job in jobs}}


def _group(job: Job[Any]) -> str:
    """The failure that a job is counted under."""
    return next((text for text in (job.error_group, job.last_error, job.dead_reason) if text is not None), "")
