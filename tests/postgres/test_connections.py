"""Connections that break, hang, conflict, are borrowed by handlers, or may keep no session."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from qengine import BackendUnavailable, LeaseLost
from qengine.backends import open_backend
from qengine.backends.inspection import JobFilter
from qengine.backends.postgres import PostgresBackend
from qengine.backends.protocol import Claim, Demand, Enqueued, Settlement
from qengine.job import NewJob, Status

pytestmark = pytest.mark.anyio

Open: TypeAlias = Callable[..., Coroutine[Any, Any, PostgresBackend]]

OURS = "application_name = 'qengine' AND datname = current_database()"


def demand(*types: str, limit: int = 10, **more: Any) -> Demand:
    return Demand("worker", dict.fromkeys(types or ("a",), limit), limit, 60.0, **more)


async def start_one(backend: PostgresBackend, job: NewJob) -> Claim:
    await backend.enqueue([job])
    [claim] = await backend.claim(demand(job.type))
    return claim


async def cut(sql: asyncpg.Connection, which: str = "true") -> int:
    """Kill our connections on the server, as an administrator or a restart does; how many."""
    killed: int = await sql.fetchval(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {OURS} AND {which}")
    return killed


async def until(condition: Any) -> None:
    async with asyncio.timeout(15):
        while not await condition():
            await asyncio.sleep(0.02)


# -- broken


async def test_every_verb_goes_on_with_fresh_connections(backend: PostgresBackend, sql: asyncpg.Connection) -> None:
    await asyncio.gather(*(backend.enqueue([NewJob("a")]) for _ in range(20)))
    assert await cut(sql) >= 2
    await until(lambda: _all_noticed(backend))
    assert len(await backend.enqueue([NewJob("a")])) == 1
    assert len(await backend.claim(demand())) == 10


async def _all_noticed(backend: PostgresBackend) -> bool:
    return all(connection.is_closed() for connection in backend._pool._idle)


async def test_a_call_on_a_connection_that_dies_under_it_says_so(backend: PostgresBackend, sql: asyncpg.Connection) -> None:
    claim = await start_one(backend, NewJob("a"))
    async with sql.transaction():
        await sql.execute("SELECT FROM qengine_jobs FOR UPDATE")
        settling = asyncio.create_task(backend.settle([Settlement(claim.id, claim.token, Status.COMPLETED)], "worker"))
        await until(lambda: cut(sql, "wait_event_type = 'Lock'"))
        with pytest.raises(BackendUnavailable):
            await settling
    assert await backend.settle([Settlement(claim.id, claim.token, Status.COMPLETED)], "worker") == []


async def test_a_call_that_is_not_answered_ends(opened: Open, sql: asyncpg.Connection) -> None:
    backend = await opened(command_timeout=0.3, pool_size=1)
    claim = await start_one(backend, NewJob("a"))
    async with sql.transaction():
        await sql.execute("SELECT FROM qengine_jobs FOR UPDATE")
        async with asyncio.timeout(20):
            with pytest.raises(BackendUnavailable, match="no answer in time"):
                await backend.extend([claim.lease], 60.0)
    assert await backend.extend([claim.lease], 60.0) == []


async def test_a_call_that_is_cancelled_leaves_the_next_one_a_clean_connection(opened: Open, sql: asyncpg.Connection) -> None:
    backend = await opened(pool_size=1)
    claim = await start_one(backend, NewJob("a"))
    async with sql.transaction():
        await sql.execute("SELECT FROM qengine_jobs FOR UPDATE")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(backend.extend([claim.lease], 60.0), 0.2)
        job = await backend.get(claim.id)
        assert job is not None
        assert job.status == Status.PROCESSING


async def test_a_server_that_is_not_there(postgres_url: str) -> None:
    backend = open_backend("postgresql://app:s3cret@127.0.0.1:1/shop")
    with pytest.raises(BackendUnavailable) as failure:
        await backend.open()
    assert "s3cret" not in str(failure.value)
    with pytest.raises(BackendUnavailable, match="not open"):
        await backend.enqueue([NewJob("a")])
    await backend.close()


# -- listening


async def test_listening_comes_back_by_itself(
    backend: PostgresBackend, opened: Open, sql: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qengine.backends.postgres")
    other = await opened()
    assert backend._listener is not None
    assert backend._listener.pid is None, "nobody waits yet"
    seen = await backend.wake(backend.wakes)
    assert await cut(sql, f"pid = {backend._listener.pid}") == 1
    async with asyncio.timeout(15):
        # What was announced in between is not known: everyone looks.
        seen = await backend.wake(seen)
        await other.enqueue([NewJob("a")])
        await backend.wake(seen)
    told = [record.getMessage() for record in caplog.records]
    assert [message.split(" (")[0] for message in told] == ["not listening for new jobs", "listening for new jobs again"]


async def test_a_listener_that_finds_no_connection_stops_nothing(
    opened: Open, sql: asyncpg.Connection, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await opened()
    user = f"crowd_{sql.get_server_pid()}"
    await sql.execute(f"CREATE ROLE {user} LOGIN CONNECTION LIMIT 1; GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}")
    await sql.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {user}")
    parts = urlsplit(postgres_url)
    backend = open_backend(
        urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}")), options={"pool_size": 1}
    )
    try:
        await backend.open()
        await backend.enqueue([NewJob("a")])
        assert len(await backend.claim(demand())) == 1
        seen = backend.wakes
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await backend.wake(seen)
        assert [record.getMessage().split(" (")[0] for record in caplog.records] == ["not listening for new jobs"]
        await sql.execute(f"ALTER ROLE {user} CONNECTION LIMIT 5")
        async with asyncio.timeout(30):
            await backend.wake(seen)
    finally:
        await backend.close()
        await sql.execute(f"DROP OWNED BY {user}; DROP ROLE {user}")


async def test_without_listening_no_session_is_used(opened: Open, sql: asyncpg.Connection) -> None:
    backend = await opened(listen=False)
    assert (backend.capabilities.push, backend.capabilities.server_clock) == (False, True)
    claim = await start_one(backend, NewJob("a"))
    async with backend.transaction(claim.lease) as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''") == 0
    async with backend._pool.lend() as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''") == 0
        assert (
            await connection.fetchval("SELECT count(*) FROM pg_settings WHERE source = 'session' AND name LIKE 'enable_%'") == 0
        )
    assert await sql.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {OURS} AND query ILIKE 'LISTEN%'") == 0


async def test_without_listening_this_process_still_wakes_itself(opened: Open) -> None:
    backend, other = await opened(listen=False), await opened()
    seen, others = backend.wakes, other.wakes
    waiting = asyncio.create_task(backend.wake(seen))
    await backend.enqueue([NewJob("a")])
    async with asyncio.timeout(10):
        assert await waiting > seen
        await other.wake(others)


async def test_a_sibling_is_quiet(backend: PostgresBackend) -> None:
    sibling = backend.sibling()
    assert not sibling.capabilities.push
    await sibling.open()
    try:
        seen = sibling.wakes
        await backend.enqueue([NewJob("a")])
        assert len(await backend.claim(demand())) == 1
        assert sibling.wakes == seen
    finally:
        await sibling.close()


async def test_durability(opened: Open, sql: asyncpg.Connection) -> None:
    name = await sql.fetchval("SELECT current_database()")
    await sql.execute(f"ALTER DATABASE {name} SET synchronous_commit = on")
    for option, setting in (("full", "on"), ("relaxed", "off")):
        backend = await opened(durability=option)
        for _ in range(2):
            async with backend._pool.lend() as connection:
                assert await connection.fetchval("SHOW synchronous_commit") == setting
            async with backend._handlers.lend(reset=True) as connection:
                assert await connection.fetchval("SHOW synchronous_commit") == setting


# -- conflicts


@pytest.mark.parametrize("verb", ["extend", "cancel"])
async def test_a_deadlock_is_done_again(backend: PostgresBackend, sql: asyncpg.Connection, verb: str) -> None:
    claims = [await start_one(backend, NewJob("a")) for _ in range(2)]
    first, second = [claim.id for claim in claims]
    transaction = sql.transaction()
    await transaction.start()
    await sql.execute("SET LOCAL deadlock_timeout = '60s'")
    await sql.execute("SELECT FROM qengine_jobs WHERE id = $1 FOR UPDATE", second)
    acts = {
        "extend": lambda: backend.extend([claim.lease for claim in claims], 60.0),
        "cancel": lambda: backend.cancel(JobFilter(ids=[first, second]), 10),
    }
    acting = asyncio.create_task(acts[verb]())
    await asyncio.sleep(0.1)
    # The backend holds the first and waits for the second; now we wait for it, and it is given up.
    await sql.execute("SELECT FROM qengine_jobs WHERE id = $1 FOR UPDATE", first)
    await transaction.commit()
    assert await acting == {"extend": [], "cancel": [first, second]}[verb]


async def test_a_requeue_that_meets_the_same_key_leaves_its_job_alone(backend: PostgresBackend, sql: asyncpg.Connection) -> None:
    claim = await start_one(backend, NewJob("a", unique_key="k"))
    await backend.settle([Settlement(claim.id, claim.token, Status.DEAD)], "worker")
    async with sql.transaction():
        [live] = await backend.enqueue([NewJob("a", unique_key="k")], conn=sql)
        requeueing = asyncio.create_task(backend.requeue(JobFilter(status=[Status.DEAD]), 10))
        await asyncio.sleep(0.1)
        assert not requeueing.done()
    assert await requeueing == []
    assert not live.existed


async def test_keys_are_written_in_one_order(backend: PostgresBackend, sql: asyncpg.Connection, postgres_url: str) -> None:
    """Two callers whose batches share keys in different orders wait for each other, and not in a circle."""
    other = await asyncpg.connect(postgres_url)
    try:
        async with sql.transaction():
            await backend.enqueue([NewJob("a", unique_key="1")], conn=sql)
            waiting = asyncio.create_task(_in_transaction(backend, other, [NewJob("a", unique_key=key) for key in ("2", "1")]))
            await asyncio.sleep(0.1)
            await backend.enqueue([NewJob("a", unique_key="2")], conn=sql)
        assert [answer.existed for answer in await waiting] == [True, True]
    finally:
        await other.close()


async def _in_transaction(backend: PostgresBackend, connection: asyncpg.Connection, jobs: list[NewJob]) -> list[Enqueued]:
    async with connection.transaction():
        return await backend.enqueue(jobs, conn=connection)


# -- the server's own clock


async def test_nothing_is_reclaimed_from_a_server_that_has_just_started(
    backend: PostgresBackend, sql: asyncpg.Connection
) -> None:
    claim = await start_one(backend, NewJob("a"))
    await sql.execute("UPDATE qengine_jobs SET locked_until = now() - interval '1 hour'")
    up: float = await sql.fetchval("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8")
    assert await backend.reclaim(10, max_crashes=5, lease=up + 3600.0) == []
    assert [job.id for job in await backend.reclaim(10, max_crashes=5, lease=up / 2)] == [claim.id]


# -- borrowed by handlers


async def test_handlers_that_hold_every_transaction_do_not_lock_the_engine_out(opened: Open) -> None:
    backend = await opened(pool_size=1)
    claim = await start_one(backend, NewJob("a"))
    async with backend.transaction(claim.lease):
        async with asyncio.timeout(10):
            assert len(await backend.enqueue([NewJob("b")])) == 1
            assert await backend.extend([claim.lease], 60.0) == []


async def test_what_a_handler_does_to_its_session_ends_with_its_transaction(opened: Open) -> None:
    backend = await opened(pool_size=1)
    for _ in range(2):
        claim = await start_one(backend, NewJob("a"))
        async with backend.transaction(claim.lease) as connection:
            assert await connection.fetchval("SHOW search_path") == '"$user", public'
            assert await connection.fetchval("SHOW enable_seqscan") == "on"
            assert await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
            await connection.execute("SET search_path = elsewhere; SELECT pg_advisory_lock(1)")


async def test_a_handlers_own_database_error_reaches_it_unchanged(backend: PostgresBackend) -> None:
    claim = await start_one(backend, NewJob("a"))
    with pytest.raises(asyncpg.UndefinedTableError):
        async with backend.transaction(claim.lease) as connection:
            await connection.execute("SELECT FROM no_such_table")
    async with backend.transaction(claim.lease):
        pass
    with pytest.raises(LeaseLost):
        async with backend.transaction(claim.lease):
            pass


# -- the caller's connection


async def test_a_callers_json_codec_does_not_get_in_the_way(backend: PostgresBackend, sql: asyncpg.Connection) -> None:
    for name in ("json", "jsonb"):
        await sql.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    jobs = [NewJob("a", payload='{"n":1}', headers='{"h":"1"}'), NewJob("a", payload='{"n":2}', unique_key="k")]
    async with sql.transaction():
        alike = await backend.enqueue(jobs[:1], conn=sql)
        mixed = await backend.enqueue(jobs, conn=sql)
    for answer, n in zip([*alike, *mixed], (1, 1, 2), strict=True):
        job = await backend.get(answer.id)
        assert job is not None
        assert (job.payload, job.headers) == ({"n": n}, {"h": "1"} if n == 1 else None)


async def test_a_connection_of_the_callers_pool(backend: PostgresBackend, postgres_url: str) -> None:
    async with asyncpg.create_pool(postgres_url, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        [answer] = await backend.enqueue([NewJob("a")], conn=connection)
    assert await backend.get(answer.id) is not None


async def test_what_postgres_cannot_hold_fails_no_batch(backend: PostgresBackend) -> None:
    claims = [await start_one(backend, NewJob("a")) for _ in range(2)]
    odd = "NUL \0, half a pair \ud800"
    ends = [
        Settlement(c.id, c.token, Status.FAILED, delay=1.0, error=odd, traceback=odd, error_group=odd, logged=True)
        for c in claims
    ]
    assert await backend.settle(ends, "worker") == []
    [entry] = await backend.errors(claims[0].id)
    assert entry.error == "NUL \\x00, half a pair \\ud800"
