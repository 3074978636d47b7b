"""Storing new jobs. The steps are written once, as a generator of statements, and run over any connection:
the writer's, in its thread, or the caller's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import aiosqlite

from qengine.backends.protocol import Enqueued
from qengine.backends.sqlite import rows
from qengine.backends.sqlite.connection import Mergeable
from qengine.backends.sqlite.statements import SQL
from qengine.job import NewJob

T = TypeVar("T")
_FEW = 20
_SHORT = 4096
"""An enqueue of at most so many jobs, with payloads of so many characters in all, is small."""

Steps: TypeAlias = Generator[tuple[str, Mapping[str, Any]], list[tuple[Any, ...]], T]
"""Yields a statement with its values, is sent its rows, and returns the result."""


def storing(jobs: Sequence[NewJob], now: float, ageing: float) -> Steps[list[Enqueued]]:
    """The steps of `enqueue`: one statement, or, with unique keys, one more for the jobs that exist."""
    if rows.alike(jobs):
        return (yield from _storing_alike(jobs, now, ageing))
    times = [rows.due(job, now) for job in jobs]
    answers: dict[int, Enqueued] = {}
    created = rows.moment(now)
    left = list(range(len(jobs)))
    while left:
        stored = yield (
            SQL["enqueue"],
            {
                "jobs": rows.new_jobs([jobs[i] for i in left], [times[i] for i in left], now),
                "now": now,
                "ageing": ageing,
            },
        )
        new = {(_text(kind), _text(key)): job_id for job_id, kind, key in stored if key is not None}
        unkeyed = iter(sorted(job_id for job_id, _, key in stored if key is None))
        for i in left:
            key = jobs[i].unique_key
            job_id = next(unkeyed) if key is None else new.pop((jobs[i].type, key), None)
            if job_id is not None:
                answers[i] = Enqueued(job_id, False, created, rows.moment(times[i]))
        left = [i for i in left if i not in answers]
        if left:
            holders = yield SQL["enqueue_found"], {"keys": rows.as_json([(jobs[i].type, jobs[i].unique_key) for i in left])}
            for place, job_id, created_at, scheduled_for in holders:
                answers[left[place]] = Enqueued(job_id, True, rows.moment(created_at), rows.moment(scheduled_for))
            # Outside a transaction a holder may end between the two statements; then its key is free, and it goes on.
            left = [i for i in left if i not in answers]
    return [answers[i] for i in range(len(jobs))]


def _storing_alike(jobs: Sequence[NewJob], now: float, ageing: float) -> Steps[list[Enqueued]]:
    first = jobs[0]
    time = rows.due(first, now)
    stored = yield (
        SQL["enqueue_alike"],
        {
            "payloads": rows.payloads(jobs),
            "queue": first.queue,
            "type": first.type,
            "priority": first.priority,
            "max_attempts": first.max_attempts,
            "scheduled_for": time,
            "partition_key": first.partition_key,
            "timeout": first.timeout,
            "expires_at": rows.expiry(first, now),
            "headers": first.headers,
            "now": now,
            "ageing": ageing,
        },
    )
    created, scheduled_for = rows.moment(now), rows.moment(time)
    return [Enqueued(job_id, False, created, scheduled_for) for (job_id,) in sorted(stored)]


class Storing(Mergeable):
    """A small enqueue; those of many callers at the same time share a statement."""

    def __init__(self, jobs: Sequence[NewJob], now: float, ageing: float) -> None:
        self.jobs, self.now, self.ageing = jobs, now, ageing

    def __call__(self, connection: sqlite3.Connection) -> list[Enqueued]:
        """Run it alone."""
        return run(connection, storing(self.jobs, self.now, self.ageing))

    def together(self, connection: sqlite3.Connection, operations: Sequence[Storing]) -> list[list[Enqueued]]:
        """Run them as one enqueue of all their jobs."""
        jobs = [job for one in operations for job in one.jobs]
        answers = iter(run(connection, storing(jobs, max(one.now for one in operations), self.ageing)))
        return [list(islice(answers, len(one.jobs))) for one in operations]


def is_small(jobs: Sequence[NewJob]) -> bool:
    """Whether many such enqueues together still make a statement of a reasonable size."""
    return len(jobs) <= _FEW and sum(len(job.payload) for job in jobs) <= _SHORT


def _text(value: str | bytes | None) -> str | None:
    """A text column of a connection whose `text_factory` may be the caller's."""
    return value.decode() if isinstance(value, bytes) else value


def run(connection: sqlite3.Connection, steps: Steps[T]) -> T:
    """Run the steps here and now."""
    try:
        text, values = next(steps)
        while True:
            text, values = steps.send(connection.execute(text, values).fetchall())
    except StopIteration as end:
        result: T = end.value
        return result


async def run_over(connection: aiosqlite.Connection, steps: Steps[T]) -> T:
    """Run the steps over a connection of the caller's, inside whatever transaction it has, and whatever its row factory."""
    try:
        text, values = next(steps)
        while True:
            async with connection.execute(text, values) as cursor:
                cursor.row_factory = None
                found = [tuple(row) for row in await cursor.fetchall()]
            text, values = steps.send(found)
    except StopIteration as end:
        result: T = end.value
        return result
