"""Between rows and values: jobs out of records, and lists of values into the arrays that the statements take."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from qengine.backends.inspection import Activity, AuditEntry, JobFilter
from qengine.backends.postgres.connection import Record
from qengine.backends.postgres.lines import Line
from qengine.backends.protocol import Claim, FailureGroup, Fire, Pause, Schedule, Settlement, Stats, WorkerInfo
from qengine.job import STORED, Job, JobError, NewJob, Status

_FAR = 1e11
"""Seconds (three thousand years): longer durations are taken as this, as a year above 9999 cannot be read back."""

LARGEST_ID = 2**63 - 1

_CLAIM_WIDTH = len(Claim._fields)
_DUE, _CREATED = map(Claim._fields.index, ("scheduled_for", "created_at"))
_created_when_due = itemgetter(*(_DUE if index == _CREATED else index for index in range(_CLAIM_WIDTH)))
in_line = itemgetter("rank", "id")
"""The key by which claimed rows are sorted into the order of the line."""
_line = itemgetter("queue", "type")
_rank = itemgetter("rank")
_ERROR_COLUMNS = [column.name for column in dataclasses.fields(JobError)]


def capped(seconds: float | None) -> float | None:
    """A duration that stays within the times that can be stored."""
    return None if seconds is None else min(float(seconds), _FAR)


def storable(text: str | None) -> str | None:
    """A text without what PostgreSQL cannot hold (NUL, lone surrogates), so that one odd error message fails no batch."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


# -- out of the database


def job_of(row: Record) -> Job[Any]:
    """A job from a whole row, which may hold more."""
    values = {name: row[name] for name in STORED}
    values["status"] = Status(values["status"])
    for name in ("payload", "result", "progress", "checkpoint", "headers"):
        if values[name] is not None:
            values[name] = _decoded(values[name])
    return Job(**values)


def error_of(row: Record) -> JobError:
    """An entry of a job's history, from a row that may hold more."""
    return JobError(**{name: row[name] for name in _ERROR_COLUMNS})


def schedule_of(row: Record) -> Schedule:
    """A schedule."""
    return Schedule(**dict(row))


def worker_of(row: Record) -> WorkerInfo:
    """A worker."""
    return WorkerInfo(**dict(row))


def pause_of(row: Record) -> Pause:
    """A pause."""
    return Pause(**dict(row))


def activity_of(step: int, row: Record) -> Activity:
    """What was done in one slot with one type, on all workers."""
    return Activity(step=step, worker="", **dict(row))


def audit_of(row: Record) -> AuditEntry:
    """An entry of the audit trail."""
    values = dict(row)
    return AuditEntry(**{**values, "detail": _decoded(values["detail"])})


def failure_of(row: Record) -> FailureGroup:
    """A group of failures."""
    return FailureGroup(**dict(row))


def stats_of(counts: Sequence[Record], live: Sequence[Record]) -> Stats:
    """The figures from counts by queue, type and status, and the live workers."""
    by_status = dict.fromkeys(map(str, Status), 0)
    by_type: dict[str, dict[str, int]] = {}
    by_queue: dict[str, dict[str, int]] = {}
    unhandled: dict[str, int] = {}
    attempts: dict[str, list[int]] = {}
    for row in counts:
        queue, type, status, n = row["queue"], row["type"], row["status"], row["n"]
        by_status[status] += n
        by_type.setdefault(type, dict.fromkeys(by_status, 0))[status] += n
        by_queue.setdefault(queue, dict.fromkeys(by_status, 0))[status] += n
        if status in (Status.COMPLETED, Status.DEAD):
            total = attempts.setdefault(type, [0, 0])
            total[0] += row["attempts"]
            total[1] += n
        if status in (Status.PENDING, Status.FAILED) and not any(_serves(worker, queue, type) for worker in live):
            unhandled[type] = unhandled.get(type, 0) + n
    waits = [row["waited"] for row in counts if row["waited"] is not None and row["waited"] >= 0]
    return Stats(
        by_status=by_status,
        by_type=by_type,
        by_queue=by_queue,
        avg_attempts={type: spent / n for type, (spent, n) in attempts.items()},
        oldest_pending=max(waits, default=None),
        unhandled=unhandled,
        workers=len(live),
    )


def _serves(worker: Record, queue: str, type: str) -> bool:
    return type in worker["types"] and (worker["queues"] is None or queue in worker["queues"])


def claims_of(rows: Iterable[Record]) -> list[Claim]:
    """The claims, in the order of their rows, which begin with the columns of a claim."""
    return [Claim._make(_created_when_due(row) if row[_CREATED] is None else row[:_CLAIM_WIDTH]) for row in rows]


def last_ranks(rows: Sequence[Record]) -> dict[Line, float]:
    """The rank of the last row of each line."""
    return dict(zip(map(_line, rows), map(_rank, rows), strict=True))


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# -- into the database


def shared_values(job: NewJob) -> dict[str, Any]:
    """The parameters of `enqueue_alike`, without the payloads."""
    return {
        "queue": job.queue,
        "type": job.type,
        "priority": job.priority,
        "delay": capped(job.delay),
        "at": job.at,
        "max_attempts": job.max_attempts,
        "timeout": job.timeout,
        "partition_key": job.partition_key,
        "expiry": None if isinstance(job.expires, dt.datetime) else capped(job.expires),
        "expire_at": job.expires if isinstance(job.expires, dt.datetime) else None,
        "headers": job.headers,
    }


def new_jobs(jobs: Sequence[NewJob]) -> dict[str, list[Any]]:
    """The arrays of `enqueue`, in order."""
    return {
        "queues": [job.queue for job in jobs],
        "types": [job.type for job in jobs],
        "priorities": [job.priority for job in jobs],
        "payloads": [job.payload for job in jobs],
        "delays": [capped(job.delay) for job in jobs],
        "ats": [job.at for job in jobs],
        "max_attempts": [job.max_attempts for job in jobs],
        "timeouts": [job.timeout for job in jobs],
        "unique_keys": [job.unique_key for job in jobs],
        "partition_keys": [job.partition_key for job in jobs],
        "expiries": [None if isinstance(job.expires, dt.datetime) else capped(job.expires) for job in jobs],
        "expire_ats": [job.expires if isinstance(job.expires, dt.datetime) else None for job in jobs],
        "headers": [job.headers for job in jobs],
    }


def completion(settled: Sequence[Settlement]) -> tuple[str, dict[str, Any]]:
    """The statement that writes these completed runs, and its parameters."""
    ids, tokens, results = [s.id for s in settled], [s.token for s in settled], [s.result for s in settled]
    if tokens.count(tokens[0]) == len(tokens) and results.count(None) == len(results):
        return "settle_alike", {"ids": ids, "token": tokens[0]}
    return "settle_completed", {"ids": ids, "tokens": tokens, "results": results}


def settle_arrays(settled: Sequence[Settlement]) -> dict[str, list[Any]]:
    """The arrays of `settle`."""
    return {
        "ids": [s.id for s in settled],
        "tokens": [s.token for s in settled],
        "statuses": [str(s.status) for s in settled],
        "results": [s.result for s in settled],
        "delays": [capped(s.delay) for s in settled],
        "spent": [s.spent for s in settled],
        "ended": [s.ended for s in settled],
        "reasons": [s.dead_reason for s in settled],
        "errors": [storable(s.error) for s in settled],
        "tracebacks": [storable(s.traceback) for s in settled],
        "groups": [storable(s.error_group) for s in settled],
        "logged": [s.logged for s in settled],
    }


def filter_of(which: JobFilter) -> Mapping[str, Any]:
    """The parameters by which statements choose jobs; None: any."""
    return {
        "ids": None if which.ids is None else [id for id in which.ids if 0 < id <= LARGEST_ID],
        "statuses": None if which.status is None else [str(status) for status in which.status],
        "type": storable(which.type),
        "queue": storable(which.queue),
        "error_group": storable(which.error_group),
        "created_before": which.created_before,
        "created_after": which.created_after,
        "ended_before": which.ended_before,
        "text": storable(which.text),
        "above": which.above,
    }


def schedule_arrays(schedules: Sequence[Schedule]) -> dict[str, list[Any]]:
    """The arrays of `put_schedules`."""
    return {
        "names": [s.name for s in schedules],
        "types": [s.type for s in schedules],
        "crons": [s.cron for s in schedules],
        "tzs": [s.tz for s in schedules],
        "catch_ups": [s.catch_up for s in schedules],
        "next_fires": [s.next_fire for s in schedules],
        "last_fires": [s.last_fire for s in schedules],
    }


def fire_of(fire: Fire) -> dict[str, Any]:
    """The parameters of `fire`."""
    return {
        "schedule": fire.schedule,
        "seen": fire.seen,
        "next_fire": fire.next_fire,
        "times": list(fire.times),
        "last_fire": max(fire.times, default=None),
    }


def worker_values(worker: WorkerInfo) -> dict[str, Any]:
    """The parameters of `heartbeat`."""
    return {
        "id": worker.id,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "types": list(worker.types),
        "queues": None if worker.queues is None else list(worker.queues),
        "concurrency": worker.concurrency,
        "running": worker.running,
        "loop_lag": worker.loop_lag,
    }


def activity_arrays(rows: Sequence[Activity]) -> dict[str, list[Any]]:
    """The arrays of `record_activity`; of two rows for one slot, worker and type the later."""
    kept = list({(row.step, row.start, row.worker, row.type): row for row in rows}.values())
    return {
        "steps": [row.step for row in kept],
        "starts": [row.start for row in kept],
        "workers": [row.worker for row in kept],
        "types": [row.type for row in kept],
        "completed": [row.completed for row in kept],
        "failed": [row.failed for row in kept],
        "dead": [row.dead for row in kept],
        "other": [row.other for row in kept],
        "waits": [_listed(row.waits) for row in kept],
        "runs": [_listed(row.runs) for row in kept],
    }


def _listed(numbers: Sequence[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def audit_values(entry: AuditEntry) -> dict[str, Any]:
    """The parameters of `audit`."""
    return {
        "actor": storable(entry.actor),
        "action": entry.action,
        "detail": json.dumps(dict(entry.detail)),
        "job_id": entry.job_id,
        "jobs": entry.jobs,
    }
