"""Storing jobs: in chunks, and around unique keys that live jobs have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import attrgetter
from typing import TypeAlias

from qengine.backends.postgres.connection import Record
from qengine.backends.postgres.core import line_names
from qengine.backends.postgres.lines import Line
from qengine.backends.postgres.rows import new_jobs, shared_values
from qengine.backends.protocol import Enqueued
from qengine.errors import BackendUnavailable
from qengine.job import NewJob

Fetch: TypeAlias = Callable[..., Awaitable[list[Record]]]
"""Runs a statement by its name."""

CHUNK = 1000
"""Rows an INSERT: the fastest of those measured."""
_TRIES = 50


_SHARED = attrgetter("type", "queue", "priority", "delay", "at", "max_attempts", "timeout", "partition_key", "expires", "headers")


async def store(fetch: Fetch, jobs: Sequence[NewJob]) -> tuple[list[Enqueued], dict[Line, float]]:
    """Store jobs: the answers in their order, and the lines that grew, each with its smallest new rank.

    When this takes several statements (`is_simple` says so), `fetch` must run them in one transaction.
    """
    if len(jobs) == 1 and _is_plain(jobs[0]):
        return await _store_now(fetch, jobs[0])
    if _are_alike(jobs):
        return await _store_alike(fetch, jobs)
    storing = _Storing(fetch, jobs)
    await storing.run()
    return [storing.answers[index] for index in range(len(jobs))], storing.came


def is_simple(jobs: Sequence[NewJob]) -> bool:
    """Whether storing these is one write, however many statements look for what exists."""
    return len(jobs) == 1 or (len(jobs) <= CHUNK and all(job.unique_key is None for job in jobs))


def _are_alike(jobs: Sequence[NewJob]) -> bool:
    """Whether they differ in nothing but their payloads, and have no unique keys."""
    shared = _SHARED(jobs[0])
    return all(job.unique_key is None and _SHARED(job) == shared for job in jobs)


def _is_plain(job: NewJob) -> bool:
    """Whether it is due now, and has neither a unique key nor an end."""
    return job.unique_key is None and job.delay is None and job.at is None and job.expires is None


async def _store_now(fetch: Fetch, job: NewJob) -> tuple[list[Enqueued], dict[Line, float]]:
    line = (job.queue, job.type)
    [row] = await fetch(
        "enqueue_now",
        queue=job.queue,
        type=job.type,
        priority=job.priority,
        payload=job.payload,
        max_attempts=job.max_attempts,
        timeout=job.timeout,
        partition_key=job.partition_key,
        headers=job.headers,
        lines=line_names([line]),
    )
    id, created_at, scheduled_for, rank, _ = row
    return [Enqueued(id, False, created_at, scheduled_for)], {line: rank}


async def _store_alike(fetch: Fetch, jobs: Sequence[NewJob]) -> tuple[list[Enqueued], dict[Line, float]]:
    values = shared_values(jobs[0])
    line = (jobs[0].queue, jobs[0].type)
    lines = line_names([line])
    answers: list[Enqueued] = []
    ranks: list[float] = []
    for start in range(0, len(jobs), CHUNK):
        chunk = jobs[start : start + CHUNK]
        is_last = start + CHUNK >= len(jobs)
        [row] = await fetch(
            "enqueue_alike",
            **values,
            payloads=[job.payload for job in chunk],
            lines=lines if is_last else None,
            lowest=min(ranks, default=None),
        )
        answers += [Enqueued(id, False, row["created_at"], row["scheduled_for"]) for id in row["ids"]]
        if row["rank"] is not None:
            ranks.append(row["rank"])
    return answers, {line: min(ranks)} if ranks else {}


class _Storing:
    """One call of `store`. Jobs are known by their index."""

    def __init__(self, fetch: Fetch, jobs: Sequence[NewJob]) -> None:
        self._fetch = fetch
        self._jobs = jobs
        self.answers: dict[int, Enqueued] = {}
        self.came: dict[Line, float] = {}

    async def run(self) -> None:
        owner: dict[tuple[str, str], int] = {}
        twins: dict[int, int] = {}
        for index, job in enumerate(self._jobs):
            if job.unique_key is not None:
                first = owner.setdefault((job.type, job.unique_key), index)
                if first != index:
                    twins[index] = first
        await self._insert([index for index in range(len(self._jobs)) if index not in twins], size=None if owner else CHUNK)
        missing = [index for index in owner.values() if index not in self.answers]
        for _ in range(_TRIES):
            if not missing:
                break
            # Taken by a live job: name it; or, if that has ended in between, the key is free again.
            await self._find(missing)
            missing = [index for index in missing if index not in self.answers]
            if missing:
                await self._insert(missing, size=None)
                missing = [index for index in missing if index not in self.answers]
        else:
            raise BackendUnavailable("unique keys changed hands too fast; nothing was stored")
        for index, first in twins.items():
            self.answers[index] = self.answers[first]._replace(existed=True)

    async def _insert(self, indexes: Sequence[int], size: int | None) -> None:
        # Jobs with keys go in one statement, which writes them in the order of the keys.
        size = size or max(len(indexes), 1)
        lines = line_names({(self._jobs[index].queue, self._jobs[index].type) for index in indexes})
        for start in range(0, len(indexes), size):
            chunk = indexes[start : start + size]
            is_last = start + size >= len(indexes)
            rows = await self._fetch(
                "enqueue",
                **new_jobs([self._jobs[index] for index in chunk]),
                lines=lines if is_last else None,
                lowest=min(self.came.values(), default=None),
            )
            self._stored(chunk, rows)

    def _stored(self, indexes: Sequence[int], rows: Sequence[Record]) -> None:
        """Match rows, in the order of their ids, with the jobs: those without a key in order, the others by key."""
        keyed = {(self._jobs[i].type, self._jobs[i].unique_key): i for i in indexes if self._jobs[i].unique_key is not None}
        keyless: Iterable[int] = indexes if not keyed else (i for i in indexes if self._jobs[i].unique_key is None)
        in_order = iter(keyless)
        for row in rows:
            index = next(in_order) if row["unique_key"] is None else keyed[row["type"], row["unique_key"]]
            self.answers[index] = Enqueued(row["id"], False, row["created_at"], row["scheduled_for"])
            rank = row["rank"]
            if rank is not None:
                line = (self._jobs[index].queue, self._jobs[index].type)
                self.came[line] = min(rank, self.came.get(line, rank))

    async def _find(self, indexes: Sequence[int]) -> None:
        wanted = {(self._jobs[index].type, self._jobs[index].unique_key): index for index in indexes}
        rows = await self._fetch("enqueue_found", types=[type for type, _ in wanted], unique_keys=[key for _, key in wanted])
        for row in rows:
            index = wanted[row["type"], row["unique_key"]]
            self.answers[index] = Enqueued(row["id"], True, row["created_at"], row["scheduled_for"])
