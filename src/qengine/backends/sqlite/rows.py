"""Between rows and values: times, JSON, jobs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from qengine.backends.protocol import Claim, JobFilter, Settlement
from qengine.job import Job, JobError, NewJob, Status

LATEST = 253402214400.0
"""The last day of the year 9999, the end of what a datetime can hold: later due times are taken as this."""

_from_timestamp = dt.datetime.fromtimestamp
_encode = msgspec.json.encode
_decode = msgspec.json.decode


def moment(seconds: float) -> dt.datetime:
    """The aware datetime of a stored time."""
    return _from_timestamp(seconds, dt.UTC)


def moment_or_none(seconds: float | None) -> dt.datetime | None:
    """The aware datetime of a stored time, if there is one."""
    return None if seconds is None else _from_timestamp(seconds, dt.UTC)


def seconds_or_none(when: dt.datetime | None) -> float | None:
    """What is stored for a time."""
    return None if when is None else when.timestamp()


def as_json(value: Any) -> str:
    """The JSON text of a parameter."""
    return _encode(value).decode()


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


def new_jobs(jobs: Iterable[NewJob], times: Iterable[float], now: float) -> str:
    """The rows of `enqueue.sql`."""
    return as_json(
        [
            (
                job.queue,
                job.type,
                job.priority,
                job.payload,
                job.max_attempts,
                time,
                job.unique_key,
                job.partition_key,
                job.timeout,
                expiry(job, now),
                job.headers,
            )
            for job, time in zip(jobs, times, strict=True)
        ]
    )


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
    """A row of `claim.sql`."""
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
        _from_timestamp(scheduled_for, dt.UTC),
        _from_timestamp(created_at, dt.UTC),
        None if expires_at is None else _from_timestamp(expires_at, dt.UTC),
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


def conditions(which: JobFilter) -> dict[str, Any]:
    """The parameters of a filter, which are the same in every statement that has one."""
    return {
        "ids": None if which.ids is None else as_json(list(which.ids)),
        "status": None if which.status is None else as_json(list(which.status)),
        "type": which.type,
        "queue": which.queue,
        "error_group": which.error_group,
        "created_before": seconds_or_none(which.created_before),
        "created_after": seconds_or_none(which.created_after),
    }
