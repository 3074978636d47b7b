"""Between rows and values: times, JSON, jobs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import Claim, FailureGroup, Lease, Pause, Schedule, Settlement, Stats, WorkerInfo
from qengine.errors import ConfigurationError
from qengine.job import Job, JobError, NewJob, Status

LARGEST_ID = 2**63 - 1
"""The largest id that there can be."""
LATEST = 253402214400.0
"""The last day of the year 9999, the end of what a datetime can hold: later due times are taken as this."""

_FIRST = dt.datetime(1, 1, 2, tzinfo=dt.UTC)
_LAST = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)

_NUL = "\\u0000"
"""How JSON writes a NUL; where it is not, there is none."""

_from_timestamp = dt.datetime.fromtimestamp
_encode = msgspec.json.encode
_decode = msgspec.json.decode


def moment(seconds: float) -> dt.datetime:
    """The aware datetime of a stored time; of one that no datetime holds, which only an edit by hand leaves, the nearest."""
    try:
        return _from_timestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return _FIRST if seconds < 0 else _LAST


def moment_or_none(seconds: float | None) -> dt.datetime | None:
    """The aware datetime of a stored time, if there is one."""
    return None if seconds is None else moment(seconds)


def seconds_or_none(when: dt.datetime | None) -> float | None:
    """What is stored for a time."""
    return None if when is None else when.timestamp()


def micros(seconds: float) -> int:
    """A time in whole microseconds, which a datetime keeps and which JSON passes exactly."""
    return round(seconds * 1e6)


def micros_or_none(seconds: float | None) -> int | None:
    """A time in whole microseconds, if there is one."""
    return None if seconds is None else round(seconds * 1e6)


def as_json(value: Any) -> str:
    """The JSON text of a parameter. Raises ConfigurationError for text that is no Unicode."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"a text with a lone surrogate cannot be stored: {error.object!r}") from error


def plain(text: str | None) -> str | None:
    """`text` in characters that a database can hold: no NUL, no lone surrogate."""
    if text is None or (text.isprintable() and text.isascii()):
        return text
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def value(text: str | None) -> Any:
    """The value of a JSON column; the text itself when it is no JSON."""
    if text is None:
        return None
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text


# -- enqueue


def due(job: NewJob, now: float) -> float:
    """When a new job is due."""
    if job.at is not None:
        return min(job.at.timestamp(), LATEST)
    return now if job.delay is None else min(now + job.delay, LATEST)


def expiry(job: NewJob, now: float) -> float | None:
    """The time after which no attempt of a new job starts."""
    if job.expires is None:
        return None
    return min(job.expires.timestamp() if isinstance(job.expires, dt.datetime) else now + job.expires, LATEST)


def refuse_nul(jobs: Iterable[NewJob]) -> None:
    """Raise ConfigurationError for a text with a NUL, which the JSON functions of SQLite would cut off."""
    for job in jobs:
        for text in (job.type, job.queue, job.payload, job.unique_key, job.partition_key, job.headers):
            if text is not None and "\0" in text:
                raise ConfigurationError(f"a text with a NUL character cannot be stored: {text!r}")


def leases(held: Iterable[Lease]) -> str:
    """A JSON object of ids and tokens; an id may be there twice."""
    return "{" + ",".join([f'"{job_id}":{token}' for job_id, token in held]) + "}"


def new_jobs(jobs: Sequence[NewJob], times: Sequence[float], now: float) -> str:
    """The rows of `enqueue.sql`."""
    encoded = as_json(
        [
            (
                job.queue,
                job.type,
                job.priority,
                job.payload,
                job.max_attempts,
                None if time == now else micros(time),
                job.unique_key,
                job.partition_key,
                job.timeout,
                micros_or_none(expiry(job, now)),
                job.headers,
            )
            for job, time in zip(jobs, times, strict=True)
        ]
    )
    if _NUL in encoded:
        refuse_nul(jobs)
    return encoded


def payloads(jobs: Sequence[NewJob]) -> str:
    """The payloads of jobs that are alike otherwise."""
    encoded = as_json([job.payload for job in jobs])
    refuse_nul(jobs if _NUL in encoded else jobs[:1])
    return encoded


def alike(jobs: Sequence[NewJob]) -> bool:
    """Whether the jobs differ in their payloads only, and none has a unique key."""
    first = jobs[0]
    if first.unique_key is not None:
        return False
    shape = _shape(first)
    return all(_shape(job) == shape for job in jobs) if len(jobs) > 1 else True


def _shape(job: NewJob) -> tuple[Any, ...]:
    return (
        job.type,
        job.queue,
        job.priority,
        job.delay,
        job.at,
        job.max_attempts,
        job.timeout,
        job.unique_key,
        job.partition_key,
        job.expires,
        job.headers,
    )


# -- claim and settle


def claim(row: tuple[Any, ...], now: float) -> Claim:
    """A row of `claimed.sql`."""
    (
        job_id,
        token,
        kind,
        queue,
        priority,
        payload,
        attempt,
        max_attempts,
        crashes,
        timeout,
        scheduled_for,
        created_at,
        expires_at,
        unique_key,
        partition_key,
        checkpoint,
        headers,
    ) = row
    created = moment(created_at)
    return Claim(
        job_id,
        token,
        kind,
        queue,
        priority,
        payload,
        attempt,
        max_attempts,
        crashes,
        timeout,
        created if scheduled_for == created_at else moment(scheduled_for),
        created,
        None if expires_at is None else moment(expires_at),
        expires_at is not None and expires_at <= now,
        unique_key,
        partition_key,
        checkpoint,
        headers,
    )


def is_plain_completion(done: Settlement) -> bool:
    """Whether `settle_completed.sql` says all there is to say about this run."""
    return done.status == Status.COMPLETED and done.spent and done.ended and done.error is None


def settlements(done: Iterable[Settlement]) -> str:
    """The rows of `settle.sql` and `settle_errors.sql`, by id."""
    return as_json(
        {
            one.id: (
                one.token,
                one.status,
                one.result,
                one.delay,
                one.spent,
                one.ended,
                one.dead_reason,
                plain(one.error),
                plain(one.error_group),
                one.logged,
                plain(one.traceback),
            )
            for one in done
        }
    )


# -- reading


def job(row: tuple[Any, ...]) -> Job[Any]:
    """A row of `get.sql` or `query.sql`."""
    return Job(
        id=row[0],
        type=row[1],
        queue=row[2],
        priority=row[3],
        payload=value(row[4]),
        status=Status(row[5]),
        attempts=row[6],
        max_attempts=row[7],
        crashes=row[8],
        last_error=row[9],
        dead_reason=row[10],
        scheduled_for=moment_or_none(row[11]),
        rank=row[12],
        locked_until=moment_or_none(row[13]),
        locked_by=row[14],
        lease_token=row[15],
        unique_key=row[16],
        partition_key=row[17],
        timeout=row[18],
        expires_at=moment_or_none(row[19]),
        result=value(row[20]),
        progress=value(row[21]),
        checkpoint=value(row[22]),
        headers=value(row[23]),
        created_at=moment_or_none(row[24]),
        updated_at=moment_or_none(row[25]),
        started_at=moment_or_none(row[26]),
        completed_at=moment_or_none(row[27]),
        error_group=row[28],
    )


def job_error(row: tuple[Any, ...]) -> JobError:
    """A row of `errors.sql`."""
    return JobError(
        job_id=row[0],
        attempt=row[1],
        worker=row[2],
        started_at=moment_or_none(row[3]),
        ended_at=moment(row[4]),
        error=row[5],
        traceback=row[6],
    )


def stats(groups: Sequence[tuple[Any, ...]], workers: Sequence[WorkerInfo], now: float) -> Stats:
    """What the rows of `stats.sql` come to."""
    by_status: dict[str, int] = dict.fromkeys(Status, 0)
    by_type: dict[str, dict[str, int]] = {}
    by_queue: dict[str, dict[str, int]] = {}
    ended: dict[str, list[int]] = {}
    unhandled: dict[str, int] = {}
    oldest: float | None = None
    for queue, kind, status, count, attempts, first_due in groups:
        by_status[status] += count
        for counts in (by_type.setdefault(kind, dict.fromkeys(Status, 0)), by_queue.setdefault(queue, dict.fromkeys(Status, 0))):
            counts[status] += count
        if status in (Status.COMPLETED, Status.DEAD):
            total = ended.setdefault(kind, [0, 0])
            total[0] += attempts
            total[1] += count
        elif status in (Status.PENDING, Status.FAILED):
            if first_due <= now and (oldest is None or now - first_due > oldest):
                oldest = now - first_due
            if not served(workers, queue, kind):
                unhandled[kind] = unhandled.get(kind, 0) + count
    return Stats(
        by_status=by_status,
        by_type=by_type,
        by_queue=by_queue,
        avg_attempts={kind: attempts / count for kind, (attempts, count) in ended.items()},
        oldest_pending=oldest,
        unhandled=unhandled,
        workers=len(workers),
    )


def served(workers: Iterable[WorkerInfo], queue: str, kind: str) -> bool:
    """Whether one of the workers takes jobs of this type from this queue."""
    return any(kind in worker.types for worker in workers if serves(worker, queue))


def serves(worker: WorkerInfo, queue: str) -> bool:
    """Whether the worker takes jobs from this queue."""
    return worker.queues is None or queue in worker.queues


def failure(row: tuple[Any, ...]) -> FailureGroup:
    """A row of `failures.sql`."""
    kind, error, count, dead, first, last, sample = row
    return FailureGroup(kind, error, count, dead, moment(first), moment(last), sample)


def pause(row: tuple[Any, ...]) -> Pause:
    """A row of `pauses.sql`."""
    kind, name, until = row
    return Pause(kind, name, moment_or_none(until))


def schedule(row: tuple[Any, ...]) -> Schedule:
    """A row of `schedules.sql`."""
    name, kind, cron, tz, catch_up, next_fire, last_fire, paused = row
    return Schedule(name, kind, cron, tz, catch_up, moment(next_fire), moment_or_none(last_fire), bool(paused))


def schedules(declared: Iterable[Schedule]) -> str:
    """The rows of `put_schedules.sql`."""
    return as_json(
        [
            (
                one.name,
                one.type,
                one.cron,
                one.tz,
                one.catch_up,
                micros(one.next_fire.timestamp()),
                micros_or_none(seconds_or_none(one.last_fire)),
            )
            for one in declared
        ]
    )


def worker(row: tuple[Any, ...]) -> WorkerInfo:
    """A row of `workers.sql`."""
    worker_id, host, pid, version, types, queues, concurrency, running, started_at, heartbeat, loop_lag = row
    return WorkerInfo(
        id=worker_id,
        host=host,
        pid=pid,
        version=version,
        types=tuple(value(types)),
        queues=None if queues is None else tuple(value(queues)),
        concurrency=concurrency,
        running=running,
        started_at=moment(started_at),
        heartbeat=moment(heartbeat),
        loop_lag=loop_lag,
    )


def announced(info: WorkerInfo) -> dict[str, Any]:
    """The parameters of `heartbeat.sql`."""
    return {
        "id": info.id,
        "host": info.host,
        "pid": info.pid,
        "version": info.version,
        "types": as_json(list(info.types)),
        "queues": None if info.queues is None else as_json(list(info.queues)),
        "concurrency": info.concurrency,
        "running": info.running,
        "loop_lag": info.loop_lag,
    }


def conditions(which: JobFilter) -> dict[str, Any]:
    """The parameters of a filter, which are the same in every statement that has one."""
    status = None if which.status is None else as_json(list(which.status))
    rare = which.status is not None and set(which.status) <= {Status.DEAD, Status.CANCELLED}
    return {
        "ids": None if which.ids is None else as_json(list(which.ids)),
        "status": status,
        "rare": status if rare else None,
        "type": which.type,
        "queue": which.queue,
        "error_group": which.error_group,
        "created_before": seconds_or_none(which.created_before),
        "created_after": seconds_or_none(which.created_after),
        "ended_before": seconds_or_none(which.ended_before),
        "text": which.text,
        "above": which.above,
    }
