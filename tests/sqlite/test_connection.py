"""The writer: one commit for what piled up, each operation for itself; and the connections beside it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from qengine import BackendUnavailable, ConfigurationError
from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import Demand, Lease
from qengine.backends.sqlite import SQLiteBackend, enqueue
from qengine.backends.sqlite.connection import Writer
from qengine.job import NewJob

pytestmark = pytest.mark.anyio

Open: TypeAlias = Callable[..., Coroutine[Any, Any, SQLiteBackend]]


def writer_of(backend: SQLiteBackend) -> Writer:
    assert backend._writer is not None
    return backend._writer


class Held:
    """Holds the writer's thread up, so that what is asked meanwhile piles up; and keeps what it then sends."""

    def __init__(self, backend: SQLiteBackend) -> None:
        self.writer = writer_of(backend)
        self.statements: list[str] = []

    async def __aenter__(self) -> Held:
        self.go, began = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold(connection: sqlite3.Connection) -> None:
            loop.call_soon_threadsafe(began.set)
            self.go.wait(20)
            connection.set_trace_callback(self.statements.append)

        self.task = asyncio.create_task(self.writer.run(hold, single=True))
        await began.wait()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await asyncio.sleep(0)
        self.go.set()
        await self.task

    async def sent(self) -> list[str]:
        await self.writer.run(lambda connection: connection.set_trace_callback(None), single=True)
        return [text.split()[0] for text in self.statements if not text.startswith("--")]


# -- pragmas


@pytest.mark.parametrize(("durability", "synchronous"), [("normal", 1), ("full", 2)])
async def test_pragmas(opened: Open, durability: str, synchronous: int) -> None:
    """Every connection has the durability that was asked for; readers cannot write, and no index is made up."""
    backend = await opened(durability=durability, busy_timeout=7)

    def pragmas(connection: sqlite3.Connection) -> list[Any]:
        names = ("journal_mode", "synchronous", "automatic_index", "query_only")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await writer_of(backend).run(pragmas, single=True) == ["wal", synchronous, 0, 0]
    assert backend._reader is not None
    assert await backend._reader._execute(pragmas, backend._reader._conn) == ["wal", synchronous, 0, 1]
    [job] = await backend.enqueue([NewJob("a")])
    await backend.claim(Demand("w", {"a": 1}, 1, 60))
    async with backend.transaction(Lease(job.id, 1)) as tx:
        assert list(await tx.execute_fetchall("PRAGMA synchronous")) == [(synchronous,)]
        assert list(await tx.execute_fetchall("PRAGMA automatic_index")) == [(1,)]


async def test_a_sibling_is_one_connection_and_no_watcher(backend: SQLiteBackend) -> None:
    sibling = backend.sibling()
    await sibling.open()
    try:
        await sibling.enqueue([NewJob("a")])
        assert len(await sibling.query(JobFilter(), limit=10)) == 1
        assert (sibling._reader, sibling._watcher) == (None, None)
    finally:
        await sibling.close()


async def test_opening_twice_is_once(backend: SQLiteBackend) -> None:
    writer = backend._writer
    await backend.open()
    assert backend._writer is writer


async def test_it_can_be_opened_again(backend: SQLiteBackend) -> None:
    [job] = await backend.enqueue([NewJob("a")])
    await backend.close()
    with pytest.raises(BackendUnavailable, match="not open"):
        await backend.get(job.id)
    await backend.open()
    assert await backend.get(job.id) is not None


# -- group commit


async def test_what_piled_up_shares_a_commit_and_enqueues_a_statement(backend: SQLiteBackend) -> None:
    async with Held(backend) as held:
        tasks = [asyncio.create_task(backend.enqueue([NewJob("a", f'{{"n": {n}}}')])) for n in range(30)]
        tasks.append(asyncio.create_task(backend.enqueue([NewJob("b", unique_key="k"), NewJob("b", unique_key="k")])))
        beat = asyncio.create_task(backend.retire("nobody"))
    answers = await asyncio.gather(*tasks)
    await beat
    assert await held.sent() == [
        *("BEGIN", "SAVEPOINT", "INSERT", "SELECT", "RELEASE", "DELETE", "COMMIT"),
    ]
    assert [answer[0].id for answer in answers] == list(range(1, 32))
    assert [(one.id, one.existed) for one in answers[-1]] == [(31, False), (31, True)]
    jobs = await backend.query(JobFilter(type="a"), limit=100)
    assert [job.payload["n"] for job in jobs] == list(range(30))


async def test_a_lone_statement_needs_no_transaction(backend: SQLiteBackend) -> None:
    async with Held(backend) as held:
        pass
    await backend.enqueue([NewJob("a")])
    assert await held.sent() == ["INSERT"]


async def test_one_that_fails_takes_no_other_along(backend: SQLiteBackend) -> None:
    """Neither an enqueue that shared its statement, nor another verb of the same commit."""
    async with Held(backend):
        good = [asyncio.create_task(backend.enqueue([NewJob("a")])) for _ in range(3)]
        bad = asyncio.create_task(backend.enqueue([NewJob("a"), NewJob("a", priority=11)]))
        keyed = asyncio.create_task(backend.enqueue([NewJob("a", unique_key="x"), NewJob("a", priority=0, unique_key="y")]))
        pause = asyncio.create_task(backend.pause("type", "a"))
    for refused in (bad, keyed):
        with pytest.raises(ConfigurationError, match="priority"):
            await refused
    await pause
    ids = [(await task)[0].id for task in good]
    assert [job.id for job in await backend.query(JobFilter(), limit=10)] == ids
    assert len(await backend.pauses()) == 1


async def test_several_statements_of_one_operation_are_undone_together(backend: SQLiteBackend) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO qengine_meta VALUES ('half', 'way')")
        raise RuntimeError("half way")

    for alone in (True, False):
        async with Held(backend):
            task = asyncio.create_task(backend._write(half))
            others = [] if alone else [asyncio.create_task(backend.enqueue([NewJob("a")]))]
        with pytest.raises(RuntimeError, match="half way"):
            await task
        await asyncio.gather(*others)
        found = await backend._write(lambda c: c.execute("SELECT key FROM qengine_meta").fetchall(), single=True)
        assert found == [("schema_version",)]
    assert len(await backend.query(JobFilter(), limit=10)) == 1


async def test_a_commit_that_fails_fails_all(backend: SQLiteBackend) -> None:
    """Nobody is told that he is durable when he is not."""

    def broken(connection: sqlite3.Connection) -> None:
        # A deferred foreign key that is violated is only found out at the commit.
        connection.execute("PRAGMA defer_foreign_keys = ON")
        connection.execute("INSERT INTO child VALUES (7)")

    await backend._write(lambda c: c.execute("PRAGMA foreign_keys = ON").fetchall(), single=True)
    await backend._write(lambda c: c.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)").fetchall(), single=True)
    await backend._write(lambda c: c.execute("CREATE TABLE child (id REFERENCES parent)").fetchall(), single=True)
    async with Held(backend):
        tasks = [asyncio.create_task(work) for work in (backend.enqueue([NewJob("a")]), backend._write(broken))]
    for answer in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(answer, ConfigurationError)
        assert "FOREIGN KEY" in str(answer)
    assert await backend.query(JobFilter(), limit=10) == []
    assert len(await backend.enqueue([NewJob("a")])) == 1


async def test_a_caller_that_gave_up_does_no_harm(backend: SQLiteBackend) -> None:
    """What had not begun is not done; what had is, and its answer is dropped."""
    async with Held(backend):
        gone = asyncio.create_task(backend.enqueue([NewJob("gone")]))
        stays = asyncio.create_task(backend.enqueue([NewJob("stays")]))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
    await stays
    assert [job.type for job in await backend.query(JobFilter(), limit=10)] == ["stays"]
    held = Held(backend)
    await held.__aenter__()
    held.task.cancel()
    await asyncio.wait([held.task])
    held.go.set()
    assert len(await backend.enqueue([NewJob("a")])) == 1


async def test_an_operation_is_tried_again_from_its_beginning(opened: Open, path: Path) -> None:
    """A lock that is in the way at the first try costs nothing but time, whatever the verb."""
    backend = await opened()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for work in (lambda: backend.enqueue([NewJob("a"), NewJob("b")]), lambda: backend.enqueue([NewJob("a", unique_key="k")])):
            other.execute("BEGIN IMMEDIATE")
            task = asyncio.create_task(work())
            await asyncio.sleep(0.02)
            other.execute("COMMIT")
            await task
    assert len(await backend.query(JobFilter(), limit=10)) == 3


async def test_big_enqueues_keep_their_own_statement(backend: SQLiteBackend) -> None:
    assert enqueue.is_small([NewJob("a")] * 20)
    assert not enqueue.is_small([NewJob("a")] * 21)
    assert not enqueue.is_small([NewJob("a", "x" * 5000)])
    async with Held(backend) as held:
        tasks = [asyncio.create_task(backend.enqueue([NewJob("a")] * 30)) for _ in range(3)]
    await asyncio.gather(*tasks)
    assert await held.sent() == ["BEGIN", "INSERT", "INSERT", "INSERT", "COMMIT"]


async def test_readers_do_not_wait_for_writers(backend: SQLiteBackend, sql: sqlite3.Connection) -> None:
    [job] = await backend.enqueue([NewJob("a")])
    async with Held(backend):
        sql.execute("BEGIN IMMEDIATE")
        sql.execute("UPDATE qengine_jobs SET priority = 1")
        async with asyncio.timeout(10):
            found = await backend.get(job.id)
            assert found is not None
            assert found.priority == 5
            assert (await backend.stats()).by_status["pending"] == 1
            assert await backend.failures(10) == []
            assert await backend.next_deadline() is None
        sql.execute("ROLLBACK")


async def test_closing_finishes_what_was_handed_over(backend: SQLiteBackend) -> None:
    async with Held(backend):
        task = asyncio.create_task(backend.enqueue([NewJob("a")]))
        await asyncio.sleep(0)
        closing_it = asyncio.create_task(backend.close())
        await asyncio.sleep(0.01)
    await closing_it
    assert len(await task) == 1
