"""Filling qengine's table in one statement, faster than by enqueueing.

`python -m benchmarks.workloads.fill URL KIND COUNT TYPES` does it in a process of its own, which leaves no trace in the memory
of the one that is measured.
"""

from __future__ import annotations

import asyncio
import sys
import time

from benchmarks import handlers

COLUMNS = (
    "queue, type, priority, payload, max_attempts, status, scheduled_for, rank, crashes, locked_until, locked_by, lease_token,"
    " created_at, updated_at, completed_at"
)
HOUR = 3600
STEP = "0.00001"
"""Seconds by which each job stands behind the one before it."""
KINDS = {
    "waiting": ("job", "pending", 0, 3000, 0),
    "later": ("job", "pending", HOUR, None, 0),
    "finished": ("job", "completed", 0, None, 0),
    "processing": ("job", "processing", 0, None, 0),
    "unhandled": ("stranger", "pending", 0, 0, 0),
    "suspects": ("stranger", "pending", 0, 0, 2),
}
"""For each kind: type, status, seconds until it is due, what its rank adds to that (None: not in line), crashes."""


async def fill(url: str, kind: str, count: int, types: int = 1) -> None:
    """Put so many jobs of a kind into qengine's table, in turns of each of `types` types."""
    job_type, status, wait, rank, crashes = KINDS[kind]
    payload = f'{{"sent": 0.0, "pad": "{handlers.PAD}"}}'
    held = status == "processing"
    fields = [
        "'default'",
        "TYPE" if job_type == "job" else f"'{job_type}'",
        "5",
        f"'{payload}'",
        "3",
        f"'{status}'",
        f"NOW + ({wait} + i * {STEP})",
        "NULL" if rank is None else f"EPOCH + {wait + rank} + i * {STEP}",
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
        _fill_sqlite(url, values.replace("TYPE", f"printf('job_%03d', i % {types})"), count)
    else:
        await _fill_postgres(url, values.replace("TYPE", f"'job_' || lpad((i % {types})::text, 3, '0')"), count)


async def fill_from_outside(url: str, kind: str, count: int, types: int = 1) -> None:
    """The same, by another process."""
    arguments = (url, kind, str(count), str(types))
    filling = await asyncio.create_subprocess_exec(sys.executable, "-m", "benchmarks.workloads.fill", *arguments)
    if await filling.wait():
        raise RuntimeError("the table could not be filled")


def _fill_sqlite(url: str, values: str, count: int) -> None:
    import sqlite3

    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=60)
    now = str(time.time())
    values = values.replace("EPOCH", now).replace("NOW", now)
    connection.execute(
        f"WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1}) "
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
    series = f"generate_series(0, {count - 1}) AS n (i)"
    await connection.execute(f"INSERT INTO qengine_jobs ({COLUMNS}) SELECT {values} FROM {series}")
    await connection.close()


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
