"""A pinned transaction: claims before it, after some jobs have passed beside it, and after many, with the sizes then.

A transaction that stays open (a dump, a forgotten session) keeps every dead row and index entry of PostgreSQL alive, and lets
no checkpoint of SQLite reset its log. Of qengine only: it claims and settles by the backend's verbs.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from benchmarks.subject import Subject, announce_ready
from benchmarks.workloads.fill import fill_from_outside
from benchmarks.workloads.growth import LEASE, completed
from qengine.backends.protocol import Demand, QueueBackend

PORTIONS = 10
BATCH = 100
MB = 2**20


async def run(subject: Subject) -> dict[str, Any]:
    """Two portions pass freely, the others beside the open transaction. Rates are of jobs claimed a second of claiming."""
    order = subject.order
    backend: QueueBackend = subject.engine.backend  # type: ignore[attr-defined]
    portion = order.jobs // PORTIONS
    announce_ready()
    await _pass(backend, order.url, portion)
    before = await _pass(backend, order.url, portion)
    async with _pinned(order.url):
        await _pass(backend, order.url, portion)
        after = [await _pass(backend, order.url, portion) for _ in range(PORTIONS - 3)]
        sizes = await _sizes(order.url)
    return {"jobs": portion * PORTIONS, "before": before, "soon": after[0], "late": after[-1]} | sizes


async def _pass(backend: QueueBackend, url: str, jobs: int) -> float:
    await fill_from_outside(url, "waiting", jobs)
    claimed, spent = 0, 0.0
    while claimed < jobs:
        began = time.perf_counter()
        claims = await backend.claim(Demand("bench", {"job_000": BATCH}, BATCH, LEASE))
        spent += time.perf_counter() - began
        if not claims:
            raise RuntimeError(f"only {claimed} of {jobs} jobs could be claimed")
        await backend.settle(completed(claims), "bench")
        claimed += len(claims)
    return claimed / spent


@asynccontextmanager
async def _pinned(url: str) -> AsyncIterator[None]:
    """A transaction that has read, and stays open."""
    look = "SELECT count(*) FROM (SELECT 1 FROM qengine_jobs LIMIT 1) AS one"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(_path(url), isolation_level=None)) as connection:
            connection.execute("BEGIN")
            connection.execute(look).fetchall()
            yield
        return
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetchval(look)
            yield
    finally:
        await connection.close()


async def _sizes(url: str) -> dict[str, float]:
    """MB of the table with its indexes, and of what else grew."""
    if url.startswith("sqlite"):
        return {"file_mb": _file_mb(_path(url)), "log_mb": _file_mb(f"{_path(url)}-wal")}
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        table, indexes = await connection.fetchrow("SELECT pg_table_size('qengine_jobs'), pg_indexes_size('qengine_jobs')")
    finally:
        await connection.close()
    return {"table_mb": table / MB, "index_mb": indexes / MB}


def _file_mb(path: str) -> float:
    return Path(path).stat().st_size / MB


def _path(url: str) -> str:
    return url.removeprefix("sqlite:///")
