"""Growth: how fast claim, settle, enqueue, promote and stats are with so many other jobs in the table.

`kind` says what the others are: waiting, later (scheduled), finished, processing, unhandled (of a type nobody runs), suspects.
Of qengine only: it works on the backend's verbs.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from benchmarks import handlers
from benchmarks.subject import Subject, announce_ready

BATCH = 100
REPEATS = 15
COLUMNS = (
    "queue, type, priority, payload, max_attempts, status, scheduled_for, rank, crashes, locked_until, locked_by, lease_token,"
    " created_at, updated_at, completed_at"
)
HOUR = 3600
KINDS = {
    "waiting": ("job_000", "pending", 0, 3000, 0),
    "later": ("job_000", "pending", HOUR, None, 0),
    "finished": ("job_000", "completed", 0, None, 0),
    "processing": ("job_000", "processing", 0, None, 0),
    "unhandled": ("stranger", "pending", 0, 0, 0),
    "suspects": ("stranger", "pending", 0, 0, 2),
}
"""For each kind: type, status, seconds until it is due, what its rank adds to that (None: not in line), crashes."""


async def run(subject: Subject) -> dict[str, Any]:
    """Fill the table, then time each verb."""
    from qengine.backends.protocol import Demand, Settlement
    from qengine.job import NewJob, Status

    order = subject.order
    backend = subject.engine.backend  # type: ignore[attr-defined]
    await fill(order.url, order.kind, order.jobs)
    announce_ready()
    new = NewJob(type="job_001", payload="{}")
    times: dict[str, list[float]] = {name: [] for name in ("enqueue", "claim", "settle", "promote", "stats")}
    for _ in range(REPEATS):
        await backend.enqueue([new] * BATCH)
        with _timed(times["enqueue"]):
            await backend.enqueue([new])
        with _timed(times["claim"]):
            claims = await backend.claim(Demand("bench", {"job_000": BATCH, "job_001": BATCH}, BATCH, 60.0))
        with _timed(times["settle"]):
            await backend.settle([Settlement(claim.id, claim.token, Status.COMPLETED) for claim in claims], "bench")
        with _timed(times["promote"]):
            await backend.promote_due(BATCH)
    with _timed(times["stats"]):
        await backend.stats()
    return {"jobs": order.jobs} | {name: median(values) for name, values in times.items()}


class _timed:
    """Adds the seconds of a block to a list."""

    def __init__(self, times: list[float]) -> None:
        self._times = times

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._times.append(time.perf_counter() - self._began)


async def fill(url: str, kind: str, count: int) -> None:
    """Put so many jobs of a kind into qengine's table."""
    job_type, status, wait, rank, crashes = KINDS[kind]
    payload = f'{{"sent": 0.0, "pad": "{handlers.PAD}"}}'
    held = status == "processing"
    fields = [
        "'default'",
        f"'{job_type}'",
        "5",
        f"'{payload}'",
        "3",
        f"'{status}'",
        f"NOW + {wait}",
        "NULL" if rank is None else f"EPOCH + {wait + rank}",
        str(crashes),
        f"NOW + {HOUR}" if held else "NULL",
        "'other'" if held else "NULL",
        "1" if held else "0",
        "NOW",
        "NOW",
        "NOW" if status == "completed" else "NULL",
    ]
    values = ", ".join(fields)
    if url.startswith("sqlite"):
        _fill_sqlite(url, values, count)
    else:
        await _fill_postgres(url, values, count)


def _fill_sqlite(url: str, values: str, count: int) -> None:
    import sqlite3

    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=60)
    now = str(time.time())
    values = values.replace("EPOCH", now).replace("NOW", now)
    connection.execute(
        f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
        f"INSERT INTO qengine_jobs ({COLUMNS}) SELECT {values} FROM n"
    )
    connection.close()


async def _fill_postgres(url: str, values: str, count: int) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    values = (
        values.replace("EPOCH", "extract(epoch FROM now())")
        .replace("NOW + ", "now() + interval '1 s' * ")
        .replace("NOW", "now()")
    )
    await connection.execute(f"INSERT INTO qengine_jobs ({COLUMNS}) SELECT {values} FROM generate_series(1, {count})")
    await connection.close()
