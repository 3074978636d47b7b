"""Plans: a statement keeps its indexes, and does no more than it needs, whatever SQLite knows or believes of the table."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest

from qengine.backends.protocol import Lease, Settlement, WorkerInfo
from qengine.backends.sqlite import SQLiteBackend, rows
from qengine.backends.sqlite.connection import connect_ours
from qengine.backends.sqlite.statements import SQL
from qengine.job import NewJob, Status

pytestmark = pytest.mark.anyio

FULL = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
INSERT INTO qengine_jobs (queue, type, priority, payload, max_attempts, status, crashes, lease_token, scheduled_for, rank,
  locked_by, locked_until, started_at, completed_at, expires_at, unique_key, created_at, updated_at)
SELECT 'default', 't' || (n % :types), 5, '{}', 3,
  CASE :kind WHEN 'processing' THEN :kind WHEN 'finished' THEN 'completed' ELSE 'pending' END,
  CASE :kind WHEN 'suspect' THEN 2 ELSE 0 END,
  CASE :kind WHEN 'processing' THEN 1 ELSE 0 END,
  :now + CASE :kind WHEN 'later' THEN n - 200 ELSE -n END,
  CASE WHEN :kind IN ('waiting', 'suspect') THEN :now - n END,
  CASE :kind WHEN 'processing' THEN 'w' || (n % 100) END,
  CASE :kind WHEN 'processing' THEN :now + n - 200 END,
  CASE :kind WHEN 'processing' THEN :now END,
  CASE :kind WHEN 'finished' THEN :now - 1 END,
  CASE WHEN :kind = 'waiting' AND n % 5 = 1 THEN :now + n - 1000 END,
  CASE :kind WHEN 'waiting' THEN 'k' || n END,
  :now, :now
FROM numbers
"""
"""So many jobs of a kind, of so many types. Of each kind 200 are due, have lapsed or have expired."""

KINDS = {"waiting": 100_000, "suspect": 10_000, "later": 10_000, "processing": 10_000, "finished": 10_000}
LIMIT = 100
IDS = list(range(125_001, 125_001 + LIMIT))
"""Some of those that are processing: they come after the first three of KINDS."""
STEPS = 400
"""Of SQLite's machine, for each row that is answered or changed, and for ten more."""


def hot(types: int, now: float) -> dict[str, tuple[dict[str, Any], set[str]]]:
    """The statements that run all the time, with batches of 100: values, and the indexes of the table of jobs."""
    first = rows.as_json(list(range(1, LIMIT + 1)))
    tokens = dict.fromkeys(IDS, 1)
    held = {"leases": rows.as_json(tokens), "count": LIMIT}
    results = rows.as_json(dict.fromkeys(IDS, (1, "1")))
    names = [f"t{n}" for n in range(100)]
    lines = {"lines": rows.as_json([("default", name) for name in names])}
    heads = {"queues": rows.as_json(["default"]), "types": rows.as_json(names), "limit": LIMIT}
    ends = rows.settlements([Settlement(id, 1, Status.FAILED, delay=1.0, error="e", logged=True) for id in IDS])
    keyed = [NewJob("t0", unique_key=f"new{n}") for n in range(LIMIT)]
    taken = [("t0", f"k{types * n}") for n in range(1, LIMIT + 1)]
    worker = WorkerInfo("w", "host", 1, "1", ["t0"], None, 10)
    found = {
        "claim_heads": (heads, {"claim"}),
        "claim_heads_suspects": (heads, {"suspects"}),
        "claim_merge": ({"lines": f"[{first},[1,2]]", "limit": LIMIT}, {"pkey"}),
        "claim": ({"ids": first, "worker": "w", "lease": 60.0}, {"pkey"}),
        "claimed": ({"ids": first}, {"pkey"}),
        "line_queues": ({"least": ""}, {"claim"}),
        "line_queues_suspects": ({"least": ""}, {"suspects"}),
        "lines": ({}, {"claim"}),
        "lines_suspects": ({}, {"suspects"}),
        "oldest_due": (lines, {"claim"}),
        "oldest_due_suspects": (lines, {"suspects"}),
        "settle_completed": (held, {"pkey"}),
        "settle_completed_all": (held, {"pkey"}),
        "settle_results": ({**held, "done": results}, {"pkey"}),
        "settle_results_all": ({**held, "done": results}, {"pkey"}),
        "settle_errors": ({"done": ends, "worker": "w"}, {"pkey"}),
        "settle": ({"done": ends, "latest": rows.LATEST}, {"pkey"}),
        "extend": ({"leases": rows.leases([Lease(*lease) for lease in tokens.items()]), "seconds": 60.0}, {"pkey"}),
        "save": ({"id": IDS[0], "token": 1, "progress": None, "checkpoint": "1"}, {"pkey"}),
        "store_result": ({"id": IDS[0], "token": 1, "result": "1"}, {"pkey"}),
        "get": ({"id": IDS[0]}, {"pkey"}),
        "enqueue": ({"jobs": rows.new_jobs(keyed, [now] * LIMIT, now)}, set()),
        "enqueue_alike": ({**PLAIN, "payloads": rows.as_json(["{}"] * LIMIT), "scheduled_for": now}, set()),
        "enqueue_found": ({"keys": rows.as_json(taken)}, {"unique"}),
        "promote_due": ({"limit": LIMIT}, {"due", "pkey"}),
        "next_deadline": ({}, {"due", "lease"}),
        "reclaim_errors": ({"limit": LIMIT}, {"lease"}),
        "reclaim": ({"ids": rows.as_json(IDS), "max_crashes": 5}, {"pkey"}),
        "bury_expired": ({"limit": LIMIT}, {"expiry", "pkey"}),
        "bury_unknown": ({**lines, "after": 60.0, "limit": LIMIT}, {"claim", "pkey"}),
        "bury_unknown_suspects": ({**lines, "after": 60.0, "limit": LIMIT}, {"suspects", "pkey"}),
        "prune": ({"retention": json.dumps({"completed": 0}), "limit": LIMIT}, {"finished", "pkey"}),
        "running": ({"limit": LIMIT}, {"lease"}),
        "news": ({}, {"claim", "suspects"}),
        "heartbeat": (rows.announced(worker), set()),
    }
    return {verb: ({"now": now, "ageing": 600.0, **values}, indexes) for verb, (values, indexes) in found.items()}


PLAIN: dict[str, Any] = {
    "queue": "default",
    "type": "t0",
    "priority": 5,
    "max_attempts": 3,
    **dict.fromkeys(("partition_key", "timeout", "expires_at", "headers")),
}


def indexes_of(plan: list[str]) -> set[str]:
    """The indexes of the table of jobs, which some statements call `jobs`; `whole` for a scan without any."""
    found = set()
    for line in plan:
        if re.match(r"(SEARCH|SCAN) (qengine_)?jobs\b", line):
            key = "pkey" if "INTEGER PRIMARY KEY" in line else "whole"
            found.add(named[1] if (named := re.search(r"INDEX qengine_jobs_(\w+)", line)) else key)
    return found


@pytest.mark.parametrize("types", [1, 100])
@pytest.mark.parametrize("analyzed", ["at the end", "while nothing ran", "when it was almost empty", "never"])
async def test_a_full_table_is_never_walked(backend: SQLiteBackend, sql: sqlite3.Connection, analyzed: str, types: int) -> None:
    """Whatever ANALYZE has found: the same indexes, and a few steps for each row that is answered or changed."""
    now = time.time()
    for kind, count in {"first": 10, **KINDS}.items():
        if kind == "processing" and analyzed == "while nothing ran":
            sql.execute("ANALYZE")
        sql.execute(FULL, {"types": types, "count": count, "kind": kind, "now": now})
        if kind == "first":
            if analyzed == "when it was almost empty":
                sql.execute("ANALYZE")
            sql.execute("DELETE FROM qengine_jobs")
            sql.execute("DELETE FROM sqlite_sequence")
    if analyzed == "at the end":
        sql.execute("ANALYZE")
    with closing(connect_ours(backend.options)) as connection:
        for verb, (values, indexes) in hot(types, now).items():
            plan = [detail for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {SQL[verb]}", values)]
            assert indexes_of(plan) == indexes, (verb, plan)
            steps, answered = cost_of(connection, SQL[verb], values)
            assert steps <= STEPS * (10 + answered), (verb, plan)


def cost_of(connection: sqlite3.Connection, text: str, values: dict[str, Any]) -> tuple[int, int]:
    """Carries a statement out and undoes it: how many steps SQLite's machine made, and how many rows it answered or changed.

    An answer that is one JSON array counts for as many as are in it.
    """
    steps = 0

    def tick() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.execute("BEGIN")
    changes = connection.total_changes
    connection.set_progress_handler(tick, 1)
    try:
        answer = connection.execute(text, values).fetchall()
        found = len(json.loads(answer[0][0])) if len(answer) == 1 and str(answer[0][0]).startswith("[") else len(answer)
        return steps, max(found, connection.total_changes - changes)
    finally:
        connection.set_progress_handler(None, 1)
        connection.execute("ROLLBACK")
