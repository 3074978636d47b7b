"""Where the tables live and who may make them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from qengine import ConfigurationError, SchemaError
from qengine.backends import open_backend, postgres
from qengine.backends.inspection import JobFilter
from qengine.backends.postgres import PostgresBackend
from qengine.job import NewJob

pytestmark = pytest.mark.anyio

Open: TypeAlias = Callable[..., Coroutine[Any, Any, PostgresBackend]]


def test_every_statement_is_used() -> None:
    """No file without use."""
    folder = Path(postgres.__file__).parent
    source = "".join(file.read_text() for file in folder.glob("*.py"))
    names = sorted(file.stem for file in (folder / "sql").glob("*.sql"))
    assert len(names) > 40
    assert [name for name in names if f'"{name}"' not in source and f'f"{name}' not in source] == []


async def test_two_schemas_in_one_database_do_not_meet(opened: Open) -> None:
    one, two, plain = await opened(schema="one"), await opened(schema="select"), await opened()
    await one.enqueue([NewJob("a")])
    await two.enqueue([NewJob("b"), NewJob("c")])
    seen, mine = plain.wakes, one.wakes
    assert [job.type for job in await one.query(JobFilter(), limit=9)] == ["a"]
    assert [job.type for job in await two.query(JobFilter(), limit=9)] == ["b", "c"]
    assert await plain.query(JobFilter(), limit=9) == []
    again = await opened(schema="one")
    await again.enqueue([NewJob("d")])
    async with asyncio.timeout(10):
        await one.wake(mine)
    assert plain.wakes == seen


async def test_concurrent_migrators_all_succeed(opened: Open) -> None:
    backends = [await opened(migrate=False, schema="shared") for _ in range(5)]
    applied = await asyncio.gather(*(backend.migrate() for backend in backends))
    assert sorted(map(len, applied)) == [0, 0, 0, 0, len(backends[0]._migrations)]


async def test_a_user_who_may_create_nothing_works_on_a_schema_that_is_there(
    opened: Open, sql: asyncpg.Connection, postgres_url: str
) -> None:
    await opened(schema="jobs")
    user = f"clerk_{sql.get_server_pid()}"
    await sql.execute(
        f"CREATE ROLE {user} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA jobs TO {user}; "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA jobs TO {user}; "
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA jobs TO {user}"
    )
    parts = urlsplit(postgres_url)
    url = urlunsplit(parts._replace(netloc=f"{user}:x@{parts.netloc.rpartition('@')[2]}"))
    try:
        backend = open_backend(url, options={"schema": "jobs"})
        try:
            await backend.open()
            assert await backend.migrate() == []
            await backend.check_schema()
            [stored] = await backend.enqueue([NewJob("a")])
            assert (await backend.get(stored.id)) is not None
        finally:
            await backend.close()
        elsewhere = open_backend(url, options={"schema": "elsewhere"})
        try:
            await elsewhere.open()
            with pytest.raises(ConfigurationError, match="permission denied"):
                await elsewhere.migrate()
        finally:
            await elsewhere.close()
    finally:
        await sql.execute(f"DROP OWNED BY {user}; DROP ROLE {user}")


async def test_something_else_in_its_place_is_a_schema_error(opened: Open, sql: asyncpg.Connection) -> None:
    await sql.execute("CREATE TABLE qengine_jobs (n int)")
    backend = await opened(migrate=False)
    with pytest.raises(SchemaError, match="is missing or is another"):
        await backend.migrate()
    with pytest.raises(SchemaError, match="qengine migrate"):
        await backend.check_schema()
    with pytest.raises(SchemaError):
        await backend.enqueue([NewJob("a")])
    assert await sql.fetchval("SELECT to_regclass('qengine_meta')") is None


async def test_no_such_database(postgres_url: str) -> None:
    backend = open_backend(urlunsplit(urlsplit(postgres_url)._replace(path="/nowhere")))
    with pytest.raises(SchemaError, match='"nowhere" does not exist'):
        await backend.open()


async def test_the_printed_migrations_make_the_schema(opened: Open, sql: asyncpg.Connection) -> None:
    backend = await opened(migrate=False, schema="printed")
    await sql.execute(backend.migration_sql())
    await backend.check_schema()
    assert await backend.migrate() == []
    assert len(await backend.enqueue([NewJob("a")])) == 1


async def test_the_first_release_s_schema_is_brought_up_beside_those_who_work(opened: Open, sql: asyncpg.Connection) -> None:
    """Whatever is in it, and though others hold the table of jobs: that one is not touched."""
    backend = await opened(migrate=False)
    first = backend._migrations[0]
    await sql.execute(first.sql)
    await sql.execute(backend._sql["set_version"].text.replace(":version::text", "'1'"))
    old_heartbeat = """INSERT INTO qengine_workers VALUES ('old', 'host', 1, '0.1', '{a}', NULL, 5, 2, now(), now())
        ON CONFLICT (id) DO UPDATE SET running = excluded.running, heartbeat = excluded.heartbeat"""
    await sql.execute(old_heartbeat)
    await sql.execute("INSERT INTO qengine_schedules VALUES ('a * * * * *', 'a', '* * * * *', 'UTC', 'one', now(), NULL)")
    await backend.enqueue([NewJob("a")])
    with pytest.raises(SchemaError, match="at 1, this release needs 2"):
        await backend.check_schema()
    async with sql.transaction():
        await sql.execute("LOCK TABLE qengine_jobs IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(30):
            assert await backend.migrate() == [migration.name for migration in backend._migrations[1:]]
    await backend.check_schema()
    [schedule] = await backend.schedules()
    [worker] = await backend.workers(60.0)
    assert (schedule.paused, worker.id, worker.loop_lag, worker.running) == (False, "old", None, 2)
    await sql.execute(old_heartbeat)
    assert [job.type for job in await backend.query(JobFilter(), limit=9)] == ["a"]
