"""The claim beside a plain reading of its rule, and the plans of the statements that must never walk."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from qengine.backends.protocol import Demand
from qengine.backends.sqlfile import Statement
from qengine.backends.sqlite import SQLiteBackend, statements
from qengine.job import NewJob

pytestmark = pytest.mark.anyio


async def test_as_the_rule_says(backend: SQLiteBackend) -> None:
    """Many random demands: at most so many of each type, at most the limit, first in line by (rank, id); ranks often equal."""
    dice = random.Random(7)
    types, queues = ("a", "b", "c", "d"), ("default", "mail", "")
    line: list[tuple[float, int, str, str]] = []
    for _ in range(60):
        jobs = [
            NewJob(dice.choice(types), queue=dice.choice(queues), priority=dice.choice((4, 5, 5, 6)))
            for _ in range(dice.randrange(0, 30))
        ]
        answers = await backend.enqueue(jobs)
        for job, answer in zip(jobs, answers, strict=True):
            stored = await backend.get(answer.id)
            assert stored is not None
            assert stored.rank is not None
            line.append((stored.rank, answer.id, job.type, job.queue))
        line.sort()
        limit = dice.randrange(1, 15)
        free = {name: dice.choice((0, 1, 2, 5, limit, 100)) for name in dice.sample(types, dice.randrange(1, 5))}
        served = None if dice.random() < 0.5 else dice.sample(queues, dice.randrange(0, 4))
        expected, left = [], dict(free)
        for _, job_id, name, queue in line:
            if len(expected) < limit and left.get(name, 0) > 0 and (served is None or queue in served):
                expected.append(job_id)
                left[name] -= 1
        claims = await backend.claim(Demand("w", free, limit, 60, served))
        assert [claim.id for claim in claims] == expected
        line = [one for one in line if one[1] not in expected]


VALUES = {name: None for text in statements.SQL.values() for name in Statement(text).names} | {
    "queues": '["default"]',
    "types": '["mine"]',
    "ids": "[1]",
    "limit": 10,
    "now": 1e9,
    "least": "",
    "lines": '[["default", "x"]]',
}

WALKS = {"stats", "failures", "query", "query_newest", "requeue", "cancel", "delete"}
"""The verbs that may read the whole table, depending on what is asked of them."""


@pytest.mark.parametrize("analyzed", [False, True], ids=["fresh", "analyzed"])
async def test_plans(backend: SQLiteBackend, sql: sqlite3.Connection, analyzed: bool) -> None:
    """Whatever ANALYZE has found, no statement but those walks the table, builds an index of its own or sorts a line."""
    sql.execute("BEGIN")
    for status, rank in (("pending", 1.0), ("pending", None), ("completed", None), ("failed", 2.0)):
        sql.executemany(
            "INSERT INTO qengine_jobs (queue, type, priority, payload, max_attempts, scheduled_for, rank, status, completed_at,"
            " created_at, updated_at) VALUES ('default', ?, 5, '{}', 3, 5, ?, ?, ?, 5, 5)",
            [("mine" if n % 2 else "other", rank, status, 6 if status == "completed" else None) for n in range(2000)],
        )
    sql.execute("COMMIT")
    if analyzed:
        sql.execute("ANALYZE")
    sql.execute("PRAGMA automatic_index = OFF")
    for verb, text in statements.SQL.items():
        if verb in WALKS:
            continue
        plan = [detail for *_, detail in sql.execute(f"EXPLAIN QUERY PLAN {text}", VALUES)]
        for line in plan:
            assert "AUTOMATIC" not in line, (verb, plan)
            assert not (line.startswith(("SCAN qengine_jobs", "SCAN jobs")) and "USING" not in line), (verb, plan)
    for lane in ("", "_suspects"):
        index = "qengine_jobs" + (lane or "_claim")
        for verb, seek in (("claim_heads", "(queue=? AND type=? AND rank>?)"), ("line_queues", "(queue>?)")):
            plan = [detail for *_, detail in sql.execute(f"EXPLAIN QUERY PLAN {statements.SQL[verb + lane]}", VALUES)]
            assert any(f"INDEX {index} {seek}" in line for line in plan), plan


@pytest.mark.parametrize("analyzed", [False, True], ids=["fresh", "analyzed"])
async def test_the_work_does_not_grow_with_the_table(backend: SQLiteBackend, sql: sqlite3.Connection, analyzed: bool) -> None:
    """Steps of SQLite's machine, which do not depend on the machine below: as many with thirty times the rows."""

    async def steps() -> dict[str, int]:
        found = {}
        for demand in (
            Demand("w", {"mine": 10}, 10, 60),
            Demand("w", {"mine": 3, "other": 2, "none": 10}, 10, 60, ["default"]),
            Demand("w", {"none": 10}, 10, 60),
        ):
            count = 0

            def tick() -> int:
                nonlocal count
                count += 1
                return 0

            await backend._write(lambda c: c.set_progress_handler(tick, 1), single=True)
            await backend.claim(demand)
            await backend._write(lambda c: c.set_progress_handler(None, 1), single=True)
            found[str(demand.types)] = count
        return found

    async def more(n: int) -> None:
        for _ in range(n):
            await backend.enqueue([NewJob("mine")] * 500)
            await backend.enqueue([NewJob("other")] * 500)
            await backend.enqueue([NewJob("later", delay=1e6)] * 500)
        if analyzed:
            sql.execute("ANALYZE")
            await backend.close()
            await backend.open()

    await more(1)
    few = await steps()
    await more(30)
    many = await steps()
    assert all(many[name] <= few[name] * 1.2 + 50 for name in few), (few, many)


def test_every_statement_is_used_and_every_one_used_is_there() -> None:
    """A file without use, or a verb without its file."""
    folder = Path(statements.__file__).parent
    source = "".join(file.read_text() for file in folder.glob("*.py"))
    files = {file.stem for file in (folder / "sql").glob("*.sql")}
    assert {verb.removesuffix("_suspects").removesuffix("_all") for verb in statements.SQL} == files
    assert [verb for verb in sorted(files) if f'"{verb}"' not in source] == []
