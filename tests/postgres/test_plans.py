"""Plans: a statement keeps its indexes, and reads no more than it needs, whatever the planner knows or believes of the table."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeAlias

import asyncpg
import pytest

from qengine.backends.inspection import WAIT_BOUNDS, Activity, JobFilter
from qengine.backends.postgres import PostgresBackend
from qengine.backends.postgres.connection import TUNED
from qengine.backends.postgres.rows import filter_of, new_jobs, settle_arrays, shared_values, worker_values
from qengine.backends.protocol import Demand, Settlement, WorkerInfo
from qengine.job import NewJob, Status

pytestmark = pytest.mark.anyio

Open: TypeAlias = Callable[..., Coroutine[Any, Any, PostgresBackend]]

END = [Settlement(n, 1, Status.FAILED, delay=1.0, error="e", logged=True) for n in range(1, 4)]
LINES: dict[str, Any] = {"queues": ["default"] * 3, "types": ["a", "b", "c"], "rooms": [9] * 3, "marks": [float("-inf")] * 3}
TAKER: dict[str, Any] = {"worker": "w", "lease": 60.0, "limit": 10}
ONE: dict[str, Any] = {"queue": "default", "type": "a", "mark": float("-inf")}

PLAIN: dict[str, Any] = {"type": "a", "priority": 5, "max_attempts": 3, "timeout": None, "partition_key": None, "headers": None}

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
    "enqueue_alike": ({**shared_values(NewJob("a")), "payloads": ["{}"], "lines": "default\ta", "lowest": None}, set()),
    "enqueue_now": ({**PLAIN, "queue": "default", "payload": "{}", "lines": "default\ta"}, set()),
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
    "heartbeat": (worker_values(WorkerInfo("w", "host", 1, "1", ["a"], None, 10)), set()),
    "amend": ({"id": 1, "payload": None, "priority": 1, "due_now": True}, {"pkey"}),
}
"""For each statement: values, and the indexes of the table of jobs that it reads, or in which an INSERT looks for conflicts."""


class Plan:
    """What EXPLAIN says of a statement, as JSON."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.nodes = list(_nodes(json.loads(text)[0]["Plan"]))
        self.reads = [node for node in self.nodes if "Index Name" in node or node["Node Type"] == "Seq Scan"]

    @property
    def indexes(self) -> set[str]:
        """The indexes of the table of jobs."""
        named = {node["Index Name"] for node in self.reads if "Index Name" in node}
        arbiters = {name for node in self.nodes for name in node.get("Conflict Arbiter Indexes", ())}
        return {name.removeprefix("qengine_jobs_") for name in named | arbiters if name.startswith("qengine_jobs_")}

    @property
    def whole(self) -> set[str]:
        """What is read from one end to the other: tables that grow, and primary keys without a condition."""
        unbounded = {node.get("Index Name", node.get("Relation Name")) for node in self.reads if "Index Cond" not in node}
        return unbounded & {"qengine_jobs", "qengine_errors", "qengine_jobs_pkey"}

    @property
    def rows(self) -> float:
        """How many rows were read, or looked at and passed over."""
        return sum(_looked_at(node) * node["Actual Loops"] for node in self.reads)

    @property
    def blocks(self) -> int:
        """How many blocks that took."""
        return sum(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in self.reads)

    @property
    def times(self) -> float:
        """How often it went down an index."""
        return sum(node["Actual Loops"] for node in self.reads)

    @property
    def sorted(self) -> float:
        """How many rows went into the largest sort."""
        sorts = [node["Plans"][0] for node in self.nodes if node["Node Type"] in ("Sort", "Incremental Sort")]
        return max((below["Actual Rows"] * below["Actual Loops"] for below in sorts), default=0)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _looked_at(node: dict[str, Any]) -> float:
    passed_over = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    return float(node["Actual Rows"]) + sum(float(node.get(name, 0)) for name in passed_over)


async def prepare(sql: asyncpg.Connection, backend: PostgresBackend, verb: str) -> None:
    """Make a prepared statement of it, as the driver does."""
    statement = backend._sql[verb]
    prepared = await sql.prepare(statement.numbered)
    kinds = [kind.name[1:] + "[]" if kind.name.startswith("_") else kind.name for kind in prepared.get_parameters()]
    head = f"({', '.join(kinds)})" if kinds else ""
    await sql.execute(f"PREPARE {verb}_ {head} AS {statement.numbered}")


async def plan_of(
    sql: asyncpg.Connection, backend: PostgresBackend, verb: str, values: dict[str, Any], *, run: bool = False
) -> Plan:
    """The plan of a prepared statement; with `run` it is carried out, and undone."""
    given = ", ".join(_literal(value) for value in backend._bound(backend._sql[verb], values))
    how = "FORMAT JSON, ANALYZE, BUFFERS, TIMING OFF" if run else "FORMAT JSON"
    transaction = sql.transaction()
    await transaction.start()
    try:
        return Plan(await sql.fetchval(f"EXPLAIN ({how}) EXECUTE {verb}_ {f'({given})' if given else ''}"))
    finally:
        await transaction.rollback()


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
    await prepare(sql, backend, verb)
    plan = await plan_of(sql, backend, verb, values)
    assert plan.indexes == indexes, plan.text
    assert plan.whole == set(), plan.text


# -- a full table

FULL = """
INSERT INTO qengine_jobs (queue, type, priority, payload, max_attempts, status, crashes, lease_token, scheduled_for, rank,
  locked_by, locked_until, started_at, completed_at, expires_at, unique_key, created_at, updated_at)
SELECT 'default', 't' || n % $1, 5, '{}', 3,
  CASE kind WHEN 'processing' THEN kind WHEN 'finished' THEN 'completed' ELSE 'pending' END,
  CASE kind WHEN 'suspect' THEN 2 ELSE 0 END,
  CASE kind WHEN 'processing' THEN 1 ELSE 0 END,
  now() + interval '1 s' * CASE kind WHEN 'later' THEN n - 200 ELSE -n END,
  CASE WHEN kind IN ('waiting', 'suspect') THEN extract(epoch FROM now()) - n END,
  CASE kind WHEN 'processing' THEN 'w' || n % 100 END,
  CASE kind WHEN 'processing' THEN now() + interval '1 s' * (n - 200) END,
  CASE kind WHEN 'processing' THEN now() END,
  CASE kind WHEN 'finished' THEN now() END,
  CASE WHEN kind = 'waiting' AND n % 5 = 1 THEN now() + interval '1 s' * (n - 1000) END,
  CASE kind WHEN 'waiting' THEN 'k' || n END,
  now(), now()
FROM generate_series(1, $2) AS n, (SELECT $3::text AS kind) AS kinds
"""
"""So many jobs of a kind, of so many types. Of each kind 200 are due, have lapsed or have expired."""

KINDS = {"waiting": 100_000, "suspect": 10_000, "later": 10_000, "processing": 10_000, "finished": 10_000}
LIMIT = 100
IDS = list(range(125_001, 125_001 + LIMIT))
"""Some of those that are processing: they come after the first three of KINDS."""


def hot(types: int) -> dict[str, dict[str, Any]]:
    """The statements that run all the time, with batches of 100."""
    n = 100
    lines: dict[str, Any] = {"queues": ["default"] * n, "types": [f"t{i}" for i in range(n)], "marks": [float("-inf")] * n}
    taker = {"worker": "w", "lease": 60.0, "limit": LIMIT}
    lines |= {**taker, "rooms": [LIMIT] * n, "sip": 2 * LIMIT // n + 2}
    line = {**taker, "queue": "default", "type": "t0", "mark": float("-inf")}
    fence = {"ids": IDS, "tokens": [1] * LIMIT}
    one = {"id": IDS[0], "token": 1}
    ends = [Settlement(id, 1, Status.FAILED, delay=1.0, error="e", logged=True) for id in IDS]
    keyed = [NewJob("t0", unique_key=f"new{i}") for i in range(LIMIT)]
    return {
        "claim": lines,
        "claim_suspects": lines,
        "claim_one_type": line,
        "claim_one_type_suspects": line,
        "lines": {},
        "lines_suspects": {},
        "settle_alike": {"ids": IDS, "token": 1},
        "settle_completed": {**fence, "results": [None] * LIMIT},
        "settle": {**settle_arrays(ends), "worker": "w"},
        "extend": {**fence, "seconds": 60.0},
        "save": {**one, "progress": None, "checkpoint": "1"},
        "store_result": {**one, "result": "1"},
        "get": {"id": IDS[0]},
        "enqueue": {**new_jobs(keyed), "lines": "", "lowest": None},
        "enqueue_alike": {**shared_values(NewJob("t0")), "payloads": ["{}"] * LIMIT, "lines": "", "lowest": None},
        "enqueue_now": EXPECTED["enqueue_now"][0],
        "enqueue_found": {"types": ["t0"] * LIMIT, "unique_keys": [f"k{types * i}" for i in range(1, LIMIT + 1)]},
        "promote_due": {"limit": LIMIT},
        "next_deadline": {},
        "reclaim": {"limit": LIMIT, "max_crashes": 5, "lease": 0.0},
        "bury_expired": {"limit": LIMIT},
        "bury_unknown": {"after": 60.0, "live_within": 30.0, "limit": LIMIT},
        "unhandled": {"live_within": 30.0},
        "oldest_due": {},
        "running": {"limit": LIMIT},
        "heartbeat": EXPECTED["heartbeat"][0],
    }


PLANNING = {
    "planned when the table was empty": f"{TUNED}; SET plan_cache_mode = force_generic_plan",
    "planned for any values": f"{TUNED}; SET plan_cache_mode = force_generic_plan",
    "planned for these values": f"{TUNED}; SET plan_cache_mode = force_custom_plan",
    "planned in a session without our settings": "SET plan_cache_mode = force_custom_plan",
}


@pytest.mark.parametrize("types", [1, 100])
@pytest.mark.parametrize("analyzed", ["at the end", "while nothing ran", "when it was empty", "never"])
async def test_a_full_table_is_never_walked(
    backend: PostgresBackend, sql: asyncpg.Connection, postgres_url: str, analyzed: str, types: int
) -> None:
    """Whatever the planner knows: it reads a few rows for each that it answers with or changes, and sorts no line."""
    await sql.execute("ALTER TABLE qengine_jobs SET (autovacuum_enabled = off)")
    if analyzed == "when it was empty":
        await sql.execute("ANALYZE qengine_jobs")
    statements = hot(types)
    sessions = {}
    try:
        for planning, settings in PLANNING.items():
            sessions[planning] = session = await asyncpg.connect(postgres_url)
            await session.execute(settings)
            for verb in statements:
                await prepare(session, backend, verb)
                if planning == "planned when the table was empty":
                    await plan_of(session, backend, verb, statements[verb])
        for kind, count in KINDS.items():
            if kind == "processing" and analyzed == "while nothing ran":
                await sql.execute("ANALYZE qengine_jobs")
            await sql.execute(FULL, types, count, kind)
        if analyzed == "at the end":
            await sql.execute("VACUUM ANALYZE qengine_jobs")
        for planning, session in sessions.items():
            for verb, values in statements.items():
                plan = await plan_of(session, backend, verb, values, run=True)
                case = f"{verb}, {planning}: {plan.text}"
                assert plan.indexes == EXPECTED[verb][1], case
                assert plan.whole == set(), case
                assert plan.sorted <= 5 * LIMIT, case
                assert plan.rows <= 10 * LIMIT, case
                assert plan.blocks <= 10 * (plan.rows + plan.times), case
    finally:
        for session in sessions.values():
            await session.close()


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
    await prepare(sql, backend, verb)
    plan = await plan_of(sql, backend, verb, values)
    [read] = plan.reads
    assert ("start" in read["Index Cond"]) == ("activity" in verb), plan.text
    assert ("job_id" in read["Index Cond"]) == ("job" in verb), plan.text


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
