"""`diagnose` on a real server: what was made wrong is found, whoever asks."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from qengine.backends import open_backend
from qengine.backends.inspection import Finding
from qengine.backends.postgres import PostgresBackend, findings
from qengine.backends.protocol import BackendSettings
from qengine.job import NewJob
from qengine.testing import FakeClock
from qengine.testing.conformance.suite import start_one

pytestmark = pytest.mark.anyio

Open: TypeAlias = Callable[..., Coroutine[Any, Any, PostgresBackend]]

CHECKS = ["schema", "server", "durability", "clock", "connections", "freeze", "transactions", "wal_size", "locks", "size"]
CHECKS += ["autovacuum", "indexes", "leases", "due", "unhandled"]


async def told(backend: PostgresBackend, check: str) -> Finding:
    """What is found by one check."""
    [found] = [finding for finding in await backend.diagnose() if finding.check == check]
    return found


async def test_a_sound_database(opened: Open, sql: asyncpg.Connection) -> None:
    backend = await opened(schema="jobs")
    found = await backend.diagnose()
    assert [finding.check for finding in found] == CHECKS
    # What the server is set to is not ours to say here: the embedded one runs without fsync.
    wrong = [finding for finding in found if finding.level != "ok" and finding.check not in ("server", "durability", "wal_size")]
    assert wrong == []
    assert "9 are there" in next(finding.text for finding in found if finding.check == "indexes")
    assert "qengine_jobs" in next(finding.text for finding in found if finding.check == "size")
    fsync = await sql.fetchval("SHOW fsync")
    assert (await told(backend, "durability")).level == ("ok" if fsync == "on" else "problem")


async def test_no_schema_and_a_newer_one(opened: Open, sql: asyncpg.Connection) -> None:
    backend = await opened(migrate=False)
    [found] = await backend.diagnose()
    assert (found.check, found.level, found.remedy) == ("schema", "problem", "run `qengine migrate`")
    await backend.migrate()
    await sql.execute("UPDATE qengine_meta SET value = '999'")
    newer = await told(backend, "schema")
    assert (newer.level, "upgrade qengine" in newer.remedy) == ("problem", True)


async def test_indexes_that_are_missing_broken_or_in_vain(backend: PostgresBackend, sql: asyncpg.Connection) -> None:
    await sql.execute("DROP INDEX qengine_jobs_due; CREATE INDEX mine ON qengine_jobs (timeout)")
    await sql.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'qengine_jobs_lease'::regclass")
    found = await told(backend, "indexes")
    assert found.level == "problem"
    for text in ("missing: qengine_jobs_due;", "qengine_jobs_lease is not valid", "mine on qengine_jobs is none of qengine's"):
        assert text in found.text


async def test_a_table_that_is_kept_from_its_vacuum(backend: PostgresBackend, sql: asyncpg.Connection) -> None:
    await sql.execute("ALTER TABLE qengine_errors SET (autovacuum_enabled = off)")
    await sql.execute("ALTER TABLE qengine_jobs RESET (autovacuum_vacuum_scale_factor)")
    found = await told(backend, "autovacuum")
    assert found.level == "problem"
    assert found.text.startswith("autovacuum is switched off for qengine_errors; autovacuum comes to qengine_jobs only when 20%")
    assert "ALTER TABLE qengine_errors RESET" in found.remedy


@pytest.mark.parametrize("pins", [True, False])
async def test_a_forgotten_transaction(
    backend: PostgresBackend, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, pins: bool
) -> None:
    assert (await told(backend, "transactions")).level == "ok"
    monkeypatch.setattr(findings, "OPEN", 0.0)
    async with sql.transaction(isolation="repeatable_read" if pins else "read_committed"):
        await sql.execute("SET LOCAL application_name = 'forgetful'; SELECT count(*) FROM qengine_jobs")
        found = await told(backend, "transactions")
        assert found.level == "warning"
        assert f"pid {sql.get_server_pid()} of forgetful" in found.text
        assert ("vacuumed" in found.text) == pins
        assert f"pg_terminate_backend({sql.get_server_pid()})" in found.remedy


async def test_a_lock_that_shuts_everybody_out(backend: PostgresBackend, sql: asyncpg.Connection) -> None:
    async with sql.transaction():
        await sql.execute("LOCK TABLE qengine_jobs IN ACCESS EXCLUSIVE MODE")
        found = await backend.diagnose()
    assert [finding.check for finding in found] == CHECKS[:9]
    assert (found[-1].level, "lets nobody read" in found[-1].text) == ("problem", True)
    assert [finding.check for finding in await backend.diagnose()] == CHECKS


async def test_a_session_that_waits(
    backend: PostgresBackend, sql: asyncpg.Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "WAITING", 0.0)
    other = await asyncpg.connect(postgres_url)
    try:
        async with sql.transaction():
            await sql.execute("SELECT pg_advisory_xact_lock(7)")
            waiting = asyncio.ensure_future(other.fetchval("SELECT pg_advisory_lock(7)"))
            async with asyncio.timeout(20):
                while (found := await told(backend, "locks")).level == "ok":
                    pass
            assert f"held by pid {sql.get_server_pid()}" in found.text
        await waiting
    finally:
        await other.close()


async def test_what_upkeep_has_left_lying(opened: Open) -> None:
    clock = FakeClock()
    backend = await opened(settings=BackendSettings(clock=clock))
    await start_one(backend, NewJob("held"))
    await backend.enqueue([NewJob("later", delay=30.0)])
    clock.advance(100)
    assert [(await told(backend, check)).level for check in ("leases", "due")] == ["ok", "problem"]
    clock.advance(100)
    assert [(await told(backend, check)).level for check in ("leases", "due", "unhandled")] == ["problem", "problem", "ok"]
    await backend.promote_due(10)
    assert [(await told(backend, check)).level for check in ("due", "unhandled")] == ["ok", "warning"]


async def test_who_may_see_little_is_told_the_rest(opened: Open, sql: asyncpg.Connection, postgres_url: str) -> None:
    await opened(schema="jobs")
    user = f"clerk_{sql.get_server_pid()}"
    await sql.execute(
        f"CREATE ROLE {user} LOGIN PASSWORD 'x' CONNECTION LIMIT 4; GRANT USAGE ON SCHEMA jobs TO {user}; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA jobs TO {user}"
    )
    parts = urlsplit(postgres_url)
    url = urlunsplit(parts._replace(netloc=f"{user}:x@{parts.netloc.rpartition('@')[2]}"))
    backend = open_backend(url, options={"schema": "jobs"})
    assert isinstance(backend, PostgresBackend)
    try:
        await backend.open()
        found = {finding.check: finding for finding in await backend.diagnose()}
        assert list(found) == CHECKS
        assert "hidden from this role" in found["wal_size"].text
        assert "the role's CONNECTION LIMIT" in found["connections"].text
    finally:
        await backend.close()
        await sql.execute(f"DROP OWNED BY {user}; DROP ROLE {user}")


async def test_the_clock_of_this_machine(backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await told(backend, "clock")
    assert found.level == "ok"
    late = SimpleNamespace(now=lambda zone: dt.datetime.now(zone) - dt.timedelta(hours=3))
    monkeypatch.setattr("qengine.backends.postgres.diagnose.dt", SimpleNamespace(datetime=late, UTC=dt.UTC))
    found = await told(backend, "clock")
    assert (found.level, "3 h ahead of" in found.text) == ("warning", True)
