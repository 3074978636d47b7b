"""Plans: a statement keeps its indexes although it was planned when the table was empty and statistics are missing."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import asyncpg
import pytest

from qengine.backends.inspection import WAIT_BOUNDS, Activity, JobFilter
from qengine.backends.postgres import PostgresBackend
from qengine.backends.postgres.connection import TUNED
from qengine.backends.postgres.rows import filter_of, new_jobs, settle_arrays
from qengine.backends.protocol import Demand, Settlement
from qengine.job import NewJob, Status

pytestmark = pytest.mark.anyio

Open: TypeAlias = Callable[..., Coroutine[Any, Any, PostgresBackend]]

END = [Settlement(n, 1, Status.FAILED, delay=1.0, error="e", logged=True) for n in range(1, 4)]
LINES: dict[str, Any] = {"queues": ["default"] * 3, "types": ["a", "b", "c"], "rooms": [9] * 3, "marks": [float("-inf")] * 3}
TAKER: dict[str, Any] = {"worker": "w", "lease": 60.0, "limit": 10}
ONE: dict[str, Any] = {"queue": "default", "type": "a", "mark": float("-inf")}

ANY: dict[str, Any] = {**filter_of(JobFilter()), "limit": 10}
SINCE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

EXPECTED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "claim": ({**LINES, **TAKER, "sip": 8}, {"claim", "pkey"}),
    "claim_suspects": ({**LINES, **TAKER, "sip": 8}, {"suspects", "pkey"}),
    "claim_one_type": ({**ONE, **TAKER}, {"claim", "pkey"}),
    "claim_one_type_suspects": ({**ONE, **TAKER}, {"suspects", "pkey"}),
    "lines": ({}, {"claim"}),
    "lines_suspects": ({}, {"suspects"}),
    "settle_alike": ({"ids": [1, 2], "token": 1}, {"pkey"}),
    "settle_completed": ({"ids": [1, 2], "tokens": [1, 1], "results": ["1", None]}, {"pkey"}),
    "settle": ({**settle_arrays(END), "worker": "w"}, {"pkey"}),
    "extend": ({"ids": [1, 2], "tokens": [1, 1], "seconds": 60.0}, {"pkey"}),
    "disown": ({"worker": "w", "ids": [1], "tokens": [1]}, {"lease", "pkey"}),
    "save": ({"id": 1, "token": 1, "progress": None, "checkpoint": "1"}, {"pkey"}),
    "store_result": ({"id": 1, "token": 1, "result": "1"}, {"pkey"}),
    "get": ({"id": 1}, {"pkey"}),
    "enqueue": ({**new_jobs([NewJob("a")]), "lines": "default\ta", "lowest": None}, {"unique"}),
    "enqueue_found": ({"types": ["a"], "unique_keys": ["k"]}, {"unique"}),
    "promote_due": ({"limit": 10}, {"due", "pkey"}),
    "next_deadline": ({}, {"due", "lease"}),
    "reclaim": ({"limit": 10, "max_crashes": 5, "lease": 60.0}, {"lease", "pkey"}),
    "bury_expired": ({"limit": 10}, {"expiry", "pkey"}),
    "bury_unknown": ({"after": 60.0, "live_within": 30.0, "limit": 10}, {"claim", "suspects", "pkey"}),
    "unhandled": ({"live_within": 30.0}, {"claim", "suspects"}),
    "prune": ({"statuses": ["completed"], "seconds": [60.0], "limit": 10}, {"finished", "pkey"}),
    "search": ({**ANY, "after": 100, "window": 1000}, {"pkey"}),
    "search_few": ({"statuses": ["dead"], "few": 100}, {"finished", "lease", "due", "claim", "suspects"}),
    "running": ({"limit": 10}, {"lease"}),
    "ended_since": ({"since": SINCE, "limit": 10}, {"finished"}),
    "dead_by_day": ({"since": SINCE, "type": None, "error_group": None}, {"finished"}),
    "oldest_due": ({}, {"claim", "suspects"}),
    "errors_since": ({"after": 1, "limit": 10}, {"pkey"}),
    "last_error_row": ({}, set()),
    "amend": ({"id": 1, "payload": None, "priority": 1, "due_now": True}, {"pkey"}),
}


async def plan_of(sql: asyncpg.Connection, backend: PostgresBackend, verb: str, values: dict[str, Any]) -> str:
    """The plan of a statement, made without looking at its parameters."""
    statement = backend._sql[verb]
    prepared = await sql.prepare(statement.numbered)
    kinds = [kind.name[1:] + "[]" if kind.name.startswith("_") else kind.name for kind in prepared.get_parameters()]
    name = f"plan_of_{verb}"
    head = f"({', '.join(kinds)})" if kinds else ""
    await sql.execute(f"PREPARE {name} {head} AS {statement.numbered}")
    given = ", ".join(_literal(value) for value in backend._bound(statement, values))
    return "\n".join(line for (line,) in await sql.fetch(f"EXPLAIN EXECUTE {name} {f'({given})' if kinds else ''}"))


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "'{" + ",".join("NULL" if item is None else json.dumps(str(item)) for item in value) + "}'"
    return f"'{value}'"


@pytest.mark.parametrize("verb", EXPECTED)
async def test_a_plan_made_on_the_empty_table_walks_the_right_indexes(
    backend: PostgresBackend, sql: asyncpg.Connection, verb: str
) -> None:
    await sql.execute("VACUUM ANALYZE qengine_jobs")
    await sql.execute(f"{TUNED}; SET plan_cache_mode = force_generic_plan")
    values, indexes = EXPECTED[verb]
    plan = await plan_of(sql, backend, verb, values)
    used = set(re.findall(r"qengine_jobs_([a-z]\w+)", plan))
    # An INSERT names the index of its conflicts, and no index reads more than one line of it.
    assert used == indexes, plan
    assert not re.search(r"Seq Scan on qengine_(jobs|errors)\b", plan), plan
    assert not re.search(r"Index (Only )?Scan (Backward )?using qengine_jobs_pkey[^\n]*\n(?!\s+Index Cond)", plan), plan


@pytest.mark.parametrize(
    ("verb", "values"),
    [
        ("activity", {"step": 60, "since": SINCE}),
        ("forget_activity", {"steps": [60], "kept": [1.0]}),
        ("audit_trail", {"before": 9, "limit": 10}),
        ("audit_trail_of_job", {"job_id": 1, "before": 9, "limit": 10}),
    ],
)
async def test_records_are_found_by_their_keys(
    backend: PostgresBackend, sql: asyncpg.Connection, verb: str, values: dict[str, Any]
) -> None:
    await sql.execute(f"{TUNED}; SET plan_cache_mode = force_generic_plan")
    plan = await plan_of(sql, backend, verb, values)
    assert "Seq Scan" not in plan, plan
    conditions = re.findall(r"Index Cond: (.*)", plan)
    assert len(conditions) == 1, plan
    assert ("start" in conditions[0]) == ("activity" in verb), plan
    assert ("job_id" in conditions[0]) == ("job" in verb), plan


async def test_activity_sums_as_many_bins_as_there_are(backend: PostgresBackend) -> None:
    """The statement names each bin."""
    bins = len(WAIT_BOUNDS) + 1
    await backend.record_activity([Activity(60, 60, "w", "a", waits=range(bins), runs=range(bins + 1))])
    [found] = await backend.activity(60, dt.datetime.fromtimestamp(0, dt.UTC))
    assert (list(found.waits), list(found.runs)) == (list(range(bins)), list(range(bins)))


async def test_the_claim_reads_no_more_than_a_few_entries_of_each_line(backend: PostgresBackend, sql: asyncpg.Connection) -> None:
    types = [f"t{n}" for n in range(20)]
    await backend.enqueue([NewJob(name) for _ in range(100) for name in types])
    await sql.execute("VACUUM qengine_jobs")
    await sql.execute(TUNED)
    statement = backend._sql["claim"]
    demand: dict[str, Any] = {
        "queues": ["default"] * 20,
        "types": types,
        "rooms": [100] * 20,
        "marks": [float("-inf")] * 20,
        "limit": 100,
        "sip": 12,
    }
    values = backend._bound(statement, {**demand, "worker": "w", "lease": 60.0})
    plan = "\n".join(line for (line,) in await sql.fetch(f"EXPLAIN (ANALYZE) {statement.numbered}", *values))
    read = [
        float(rows) * int(loops)
        for rows, loops in re.findall(r"Scan using qengine_jobs_claim.*?actual time=\S+ rows=([\d.]+) loops=(\d+)", plan)
    ]
    assert len(read) == 3, plan
    assert sum(read) <= 20 * 12 + 2 * 110, plan


async def test_marks_do_not_hide_a_better_job(opened: Open) -> None:
    """A claim remembers how far it got; whatever comes in line before that is taken next all the same."""
    backend, other = await opened(), await opened()
    await backend.enqueue([NewJob("a") for _ in range(20)])

    async def claim(n: int) -> list[tuple[int, int]]:
        return [(c.id, c.priority) for c in await backend.claim(Demand("w", {"a": n}, n, 60.0))]

    assert len(await claim(5)) == 5
    assert backend._hints.marks([("default", "a")]) is not None
    [mine] = await backend.enqueue([NewJob("a", priority=1)])
    assert (await claim(1)) == [(mine.id, 1)]
    assert len(await claim(5)) == 5
    seen = backend.wakes
    [theirs] = await other.enqueue([NewJob("a", priority=1)])
    await backend.wake(seen)
    assert (await claim(1)) == [(theirs.id, 1)]
    assert len(await claim(20)) == 10
    assert backend._hints.marks([("default", "a")]) is None
