"""Looking: how long it takes to read what a dashboard's overview shows, beside a table that is full.

    python -m benchmarks.inspection [--jobs 1000000] [--on sqlite] [--out FILE]

Each look is one call of the engine, as the dashboard, the command line and /metrics make it; the bound is 50 ms. What may
read the whole table is shown too, without a bound: it is done in the background (`engine.counts`).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.places import PostgresPlace, SQLitePlace, machine
from qengine import Activity, AuditEntry, Engine, Schedule, WorkerInfo
from qengine.backends.inspection import WAIT_BOUNDS, JobFilter

BOUND = 0.05
"""Seconds that a look of the overview may take."""
REPEATS = 15
TYPES, GROUPS, WORKERS = 20, 50, 4
PAD = "x" * 160
GROUP = "ValueError: no * in 20"
"""A group of failures that one job in a thousand belongs to, all of them of `type_10`."""
Look = Callable[[], Awaitable[Any]]

SHARES = (
    (600, "completed"),
    (850, "pending"),
    (950, "later"),
    (980, "dead"),
    (990, "failed"),
    (999, "cancelled"),
    (1000, "processing"),
)
"""Of each thousand jobs, up to which one is what."""


async def fill(url: str, jobs: int) -> None:
    """A table as it is after a busy week: jobs in every status, of many types, with histories, and who worked on them."""
    lite = url.startswith("sqlite")

    def after(seconds: str) -> str:
        return f"({time.time()} + ({seconds}))" if lite else f"(now() + interval '1 s' * ({seconds}))"

    kind = "CASE " + " ".join(f"WHEN i % 1000 < {upto} THEN '{name}'" for upto, name in SHARES) + " END"
    up_to = f"SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {jobs - 1}"
    series = f"WITH RECURSIVE n (i) AS ({up_to})" if lite else f"WITH n AS (SELECT generate_series(0, {jobs - 1}) AS i)"
    numbers = f"{series}, k AS (SELECT i, {kind} AS kind FROM n)"
    ended = f"CASE WHEN kind IN ('completed', 'dead', 'cancelled') THEN {after(f'(i - {jobs}) * 0.6 + 1')} END"
    rank = f"CASE WHEN kind = 'pending' THEN {time.time()} + (i - {jobs}) * 0.6 + 3000 END"
    failed = "kind IN ('dead', 'failed')"
    due = f"CASE WHEN kind IN ('later', 'failed') THEN {after('3600 + i % 1000')} ELSE {after(f'(i - {jobs}) * 0.6')} END"
    payload = f'\'{{"to": "user\' || i || \'@example.com", "pad": "{PAD}"}}\''
    await _execute(
        url,
        f"{numbers} INSERT INTO qengine_jobs (queue, type, priority, payload, max_attempts, status, attempts, last_error,"
        " error_group, dead_reason, scheduled_for, rank, locked_until, locked_by, lease_token, created_at, updated_at,"
        " completed_at)"
        f" SELECT 'default', 'type_' || (i % {TYPES}), 5, {payload if lite else f'({payload})::json'}, 3,"
        " CASE WHEN kind = 'later' THEN 'pending' ELSE kind END, CASE WHEN kind IN ('pending', 'later') THEN 0 ELSE 1 END,"
        f" CASE WHEN {failed} THEN 'ValueError: no ' || i || ' in ' || (i % {GROUPS}) END,"
        f" CASE WHEN {failed} THEN 'ValueError: no * in ' || (i % {GROUPS}) END,"
        f" CASE WHEN kind = 'dead' THEN 'exhausted' END, {due}, {rank},"
        f" CASE WHEN kind = 'processing' THEN {after('60 + i % 60')} END, CASE WHEN kind = 'processing' THEN 'w-1' END, 2,"
        f" {after(f'(i - {jobs}) * 0.6')}, {after(f'(i - {jobs}) * 0.6')}, {ended} FROM k",
        "INSERT INTO qengine_errors (job_id, attempt, worker, started_at, ended_at, error, traceback)"
        " SELECT id, 1, 'w-1', created_at, updated_at, last_error, 'Traceback' FROM qengine_jobs"
        " WHERE status IN ('dead', 'failed')",
    )


async def _execute(url: str, *statements: str) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=60)) as connection:
            for statement in statements:
                connection.execute(statement)
        return
    import asyncpg

    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def employ(engine: Engine) -> None:
    """Workers, what they did in the last day, schedules, pauses, and what was done by hand."""
    backend, now = engine.backend, int(time.time())
    types = [f"type_{n}" for n in range(TYPES)]
    bins = list(range(len(WAIT_BOUNDS) + 1))
    for n in range(WORKERS):
        await backend.heartbeat(WorkerInfo(f"w-{n}", "host", n, "1", types[1:], None, 20, 7))
        for step, slots in ((60, 60), (900, 96)):
            for back in range(slots):
                start = (now // step - back) * step
                await backend.record_activity([Activity(step, start, f"w-{n}", t, 100, 5, 1, 2, bins, bins) for t in types])
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    await backend.put_schedules([Schedule(f"s{n}", types[n], "0 6 * * *", "UTC", "one", soon) for n in range(TYPES)])
    for name in types[:3]:
        await backend.pause("type", name)
    for n in range(1_000):
        await backend.audit_done(await backend.audit(AuditEntry("me", "cancel", {"type": "a"}, n % 50 + 1)), 1)


def looks(engine: Engine, jobs: int) -> dict[str, Look]:
    """What the pages show, by what shows it."""
    backend = engine.backend

    def ago(**back: float) -> dt.datetime:
        return dt.datetime.now(dt.UTC) - dt.timedelta(**back)

    return {
        "oldest_due": engine.oldest_due,
        "running": lambda: engine.running(100),
        "workers": engine.workers,
        "schedules": engine.schedules,
        "pauses": engine.pauses,
        "unhandled": backend.unhandled,
        "activity, minutes of an hour": lambda: engine.activity(60, ago(hours=1)),
        "activity, quarters of a day": lambda: engine.activity(900, ago(days=1)),
        "ended_since": lambda: engine.ended_since(ago(minutes=10), 100),
        "dead_by_day, of 14 days": lambda: engine.dead_by_day(ago(days=14)),
        "dead_by_day, of a group": lambda: engine.dead_by_day(ago(days=14), "type_10", GROUP),
        "errors_since": lambda: engine.errors_since(0, 100),
        "last_error_row": engine.last_error_row,
        "audit_trail": lambda: engine.audit_trail(100),
        "audit_trail of a job": lambda: engine.audit_trail(100, job_id=7),
        "search, first page": engine.search,
        "search, a page in the middle": lambda: engine.search(after=jobs // 2),
        "search, dead": lambda: engine.search(status="dead"),
        "search, running": lambda: engine.search(status="processing"),
        "search, a type's failures": lambda: engine.search(type="type_10", status=["dead", "failed"]),
        "search, a group": lambda: engine.search(type="type_10", error_group=GROUP),
        "search, a text that is everywhere": lambda: engine.search(text="@EXAMPLE.com"),
        "search, one window for a text that is nowhere": lambda: backend.search(
            JobFilter(text="nowhere"), limit=50, window=2_000
        ),
        "job": lambda: engine.job(jobs // 2),
        "diagnose": engine.diagnose,
    }


def counts(engine: Engine) -> dict[str, Look]:
    """What is done in the background."""
    return {"stats": engine.stats, "failures": engine.failures}


async def measure(url: str, jobs: int, settle_down: Callable[[str], None], repeats: int = REPEATS) -> dict[str, list[float]]:
    """The seconds that each look took, so many times, after one that is not counted."""
    await Engine(url).migrate()
    await fill(url, jobs)
    async with Engine(url) as engine:
        await employ(engine)
        await asyncio.to_thread(settle_down, url)
        times: dict[str, list[float]] = {}
        for name, look in looks(engine, jobs).items():
            await look()
            times[name] = [await _timed(look) for _ in range(repeats)]
        for name, look in counts(engine).items():
            times[name] = [await _timed(look) for _ in range(min(repeats, 3))]
    return times


async def _timed(look: Look) -> float:
    began = time.perf_counter()
    await look()
    return time.perf_counter() - began


def judged(times: dict[str, list[float]]) -> dict[str, bool | None]:
    """Whether the median of each look is within the bound; None where there is none."""
    return {name: None if name in ("stats", "failures") else median(taken) <= BOUND for name, taken in times.items()}


def main(
    jobs: Annotated[int, typer.Option(min=1_000, help="Jobs in the table.")] = 1_000_000,
    place: Annotated[str | None, typer.Option("--on", help="sqlite or postgres; both by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the figures go, as JSON.")] = None,
) -> None:
    """Measure the looks on SQLite and on an embedded PostgreSQL; the exit status is 1 when one takes too long."""
    console, found = Console(width=110), {}
    with ExitStack() as stack:
        places = [] if place == "postgres" else [SQLitePlace()]
        places += [] if place == "sqlite" else [stack.enter_context(PostgresPlace())]  # type: ignore[list-item]
        for one in places:
            with one.database() as url:
                found[one.name] = asyncio.run(measure(url, jobs, one.settle_down))
            _show(console, one.name, jobs, found[one.name])
    if out is not None:
        out.write_text(json.dumps({"jobs": jobs, "machine": machine(), "seconds": found}, indent=1) + "\n")
    if any(met is False for times in found.values() for met in judged(times).values()):
        raise SystemExit(1)


def _show(console: Console, name: str, jobs: int, times: dict[str, list[float]]) -> None:
    table = Table(
        "look", "fastest, ms", "median, ms", "slowest, ms", f"within {BOUND * 1e3:.0f} ms", title=f"{name}, {jobs:,} jobs"
    )
    for look, met in judged(times).items():
        answer = {True: "yes", False: "no", None: "in the background"}[met]
        table.add_row(look, *[f"{of(times[look]) * 1e3:.1f}" for of in (min, median, max)], answer)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
