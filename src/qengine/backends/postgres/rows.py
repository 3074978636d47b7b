"""Between rows and values: jobs out of records, and lists of values into the arrays that the statements take."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from qengine.backends.postgres.connection import Record
from qengine.backends.protocol import Claim, JobFilter, Settlement
from qengine.job import Job, JobError, NewJob, Status

_FAR = 1e11
"""Seconds (three thousand years): longer durations are taken as this, as a year above 9999 cannot be read back."""

_CLAIM_WIDTH = len(Claim._fields)


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
    """A job from a whole row."""
    values = dict(row)
    values["status"] = Status(values["status"])
    for name in ("payload", "result", "progress", "checkpoint", "headers"):
        if values[name] is not None:
            values[name] = _decoded(values[name])
    return Job(**values)


def error_of(row: Record) -> JobError:
    """An entry of a job's history."""
    return JobError(**dict(row))


def claims_of(rows: Iterable[Record]) -> list[tuple[float, Claim]]:
    """Each claim with the rank it had, in the order of the line."""
    found = [(cast("float", row["rank"]), Claim._make(tuple(row)[:_CLAIM_WIDTH])) for row in rows]
    found.sort(key=_place)
    return found


def _place(ranked: tuple[float, Claim]) -> tuple[float, int]:
    return ranked[0], ranked[1].id


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# -- into the database


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


def completed_arrays(settled: Sequence[Settlement]) -> dict[str, list[Any]]:
    """The arrays of `settle_completed`."""
    return {"ids": [s.id for s in settled], "tokens": [s.token for s in settled], "results": [s.result for s in settled]}


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
        "ids": None if which.ids is None else list(which.ids),
        "statuses": None if which.status is None else [str(status) for status in which.status],
        "type": which.type,
        "queue": which.queue,
        "error_group": which.error_group,
        "created_before": which.created_before,
        "created_after": which.created_after,
    }
