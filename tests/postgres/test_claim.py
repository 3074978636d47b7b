"""Claims beside other transactions that hold the head of a line."""

from __future__ import annotations

import asyncio
import datetime as dt

import asyncpg
import pytest

from qengine.backends.postgres import PostgresBackend
from qengine.backends.protocol import Demand
from qengine.job import NewJob

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("types", [("a",), ("a", "b")], ids=["one line", "two lines"])
async def test_what_another_is_taking_is_passed_over_and_not_waited_for(
    backend: PostgresBackend, sql: asyncpg.Connection, types: tuple[str, ...]
) -> None:
    ids = [stored.id for stored in await backend.enqueue([NewJob("a") for _ in range(5)])]
    if len(types) > 1:
        await backend.enqueue([NewJob("b", priority=10)])
    async with sql.transaction():
        await sql.execute("SELECT FROM qengine_jobs WHERE id = ANY($1) FOR UPDATE", ids[:2])
        async with asyncio.timeout(5):
            claims = await backend.claim(Demand("w", dict.fromkeys(types, 2), 2, lease=60.0))
    assert [claim.id for claim in claims] == ids[2:4]


async def test_a_claim_says_when_a_job_was_made_and_when_it_was_due(backend: PostgresBackend) -> None:
    past = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    stored = await backend.enqueue([NewJob("a", at=past), NewJob("a")])
    claims = await backend.claim(Demand("w", {"a": 2}, 2, lease=60.0))
    assert [(c.created_at, c.scheduled_for) for c in claims] == [(s.created_at, s.scheduled_for) for s in stored]
    assert [c.created_at == c.scheduled_for for c in claims] == [False, True]
