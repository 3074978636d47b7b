"""Transactions: the handler's own, which hold the only write lock, and those of the application."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import aiosqlite
import anyio
import pytest

from qengine import BackendUnavailable, ConfigurationError, LeaseLost, SchemaError
from qengine.backends import open_backend
from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import Claim, Demand, Fire, Lease, Settlement, WorkerInfo
from qengine.backends.sqlite import SQLiteBackend
from qengine.job import NewJob, Status

pytestmark = pytest.mark.anyio

Open: TypeAlias = Callable[..., Coroutine[Any, Any, SQLiteBackend]]


async def start(backend: SQLiteBackend, n: int = 1) -> list[Claim]:
    await backend.enqueue([NewJob("a") for _ in range(n)])
    return await backend.claim(Demand("w", {"a": n}, n, 60))


async def status(backend: SQLiteBackend, job_id: int) -> Status:
    job = await backend.get(job_id)
    assert job is not None
    return job.status


# -- inside a handler's transaction


async def test_writing_verbs_say_at_once_that_they_would_wait_for_themselves(backend: SQLiteBackend) -> None:
    [claim] = await start(backend)
    [none] = [JobFilter(ids=[])]
    now = await backend.now()
    async with asyncio.timeout(10), backend.transaction(claim.lease) as tx:
        for attempt in (
            backend.enqueue([NewJob("b")]),
            backend.claim(Demand("w", {"a": 1}, 1, 60)),
            backend.settle([Settlement(claim.id, claim.token, Status.DEAD)], "w"),
            backend.extend([claim.lease], 60),
            backend.disown("w", []),
            backend.save(claim.lease, progress="{}"),
            backend.store_result(claim.lease, "1"),
            backend.promote_due(1),
            backend.reclaim(1, max_crashes=5, lease=60),
            backend.bury_expired(1),
            backend.bury_unknown(1, 1),
            backend.prune({Status.DEAD: 1}, 1),
            backend.requeue(none, 1),
            backend.cancel(none, 1),
            backend.delete(none, 1),
            backend.pause("type", "a"),
            backend.resume("type", "a"),
            backend.fire(Fire("s", now, now)),
            backend.heartbeat(WorkerInfo("w", "h", 1, "1", [], None, 1)),
            backend.retire("w"),
            backend.forget_workers(1),
            backend.migrate(),
        ):
            with pytest.raises(ConfigurationError, match="conn=tx"):
                await attempt
        with pytest.raises(ConfigurationError, match="conn=tx"):
            async with backend.transaction(claim.lease):
                pass
        assert await status(backend, claim.id) is Status.PROCESSING
        assert (await backend.stats()).by_status["processing"] == 1
        await backend.enqueue([NewJob("b")], conn=tx)
    assert await status(backend, claim.id) is Status.COMPLETED
    assert len(await backend.enqueue([NewJob("b")])) == 1


async def test_so_do_tasks_that_were_started_inside_but_only_while_it_lasts(backend: SQLiteBackend) -> None:
    [claim] = await start(backend)
    ended = asyncio.Event()

    async def child() -> int:
        with pytest.raises(ConfigurationError, match="conn=tx"):
            await backend.enqueue([NewJob("b")])
        await ended.wait()
        return len(await backend.enqueue([NewJob("b")]))

    async with backend.transaction(claim.lease):
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
    ended.set()
    assert await task == 1


async def test_other_tasks_wait_for_the_lock(backend: SQLiteBackend) -> None:
    [claim] = await start(backend)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def handler() -> None:
        async with backend.transaction(claim.lease):
            entered.set()
            await leave.wait()

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(handler())
        await entered.wait()
        extended = group.create_task(backend.extend([claim.lease], 60))
        await asyncio.sleep(0.05)
        assert not extended.done()
        leave.set()
    assert extended.result() == [claim.lease]


async def test_another_database_is_no_concern(backend: SQLiteBackend, tmp_path: Path) -> None:
    """One transaction inside another, on two files; each forbids only its own."""
    other = open_backend(f"sqlite:///{tmp_path / 'other.db'}")
    await other.open()
    await other.migrate()
    try:
        [here], [there] = await start(backend), await start(other)  # type: ignore[arg-type]
        async with backend.transaction(here.lease):
            await other.enqueue([NewJob("b")])
            async with other.transaction(there.lease) as tx:
                await other.enqueue([NewJob("b")], conn=tx)
                for one in (backend, other):
                    with pytest.raises(ConfigurationError, match="conn=tx"):
                        await one.enqueue([NewJob("b")])
        assert await status(backend, here.id) is Status.COMPLETED
        assert len(await other.query(JobFilter(type="b"), limit=9)) == 2
    finally:
        await other.close()


async def test_a_block_that_commits_by_itself_is_told(backend: SQLiteBackend) -> None:
    claims = await start(backend, 2)
    for claim, end in zip(claims, ("commit", "rollback"), strict=True):
        with pytest.raises(ConfigurationError, match="leave commit and rollback to it"):
            async with backend.transaction(claim.lease) as tx:
                await getattr(tx, end)()
        assert await status(backend, claim.id) is Status.PROCESSING


async def test_connections_are_used_again_and_come_back_as_they_were(backend: SQLiteBackend) -> None:
    claims = await start(backend, 3)
    async with backend.transaction(claims[0].lease) as tx:
        tx.row_factory = sqlite3.Row
        tx.text_factory = bytes
    async with backend.transaction(claims[1].lease) as again:
        assert again is tx
        assert list(await again.execute_fetchall("SELECT 'text'")) == [("text",)]
        again.isolation_level = ""
    async with backend.transaction(claims[2].lease) as fresh:
        assert fresh is not tx
    assert (await backend.stats()).by_status["completed"] == 3


async def test_a_connection_that_the_block_closed_is_told(backend: SQLiteBackend) -> None:
    [claim] = await start(backend)
    with pytest.raises(BackendUnavailable, match="closed"):
        async with backend.transaction(claim.lease) as tx:
            await tx.close()
    assert await status(backend, claim.id) is Status.PROCESSING


async def test_only_some_idle_connections_are_kept(backend: SQLiteBackend) -> None:
    async def one(lease: Lease) -> None:
        async with backend.transaction(lease):
            pass

    claims = await start(backend, 12)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for claim in claims:
            group.create_task(one(claim.lease))
    assert 1 <= len(backend._transactions._idle) <= 4
    assert (await backend.stats()).by_status["completed"] == 12


async def test_cancelled_while_it_waits_for_the_lock(backend: SQLiteBackend, sql: sqlite3.Connection) -> None:
    [claim] = await start(backend)
    sql.execute("BEGIN IMMEDIATE")
    with anyio.move_on_after(0.05) as scope:
        async with backend.transaction(claim.lease):
            raise AssertionError
    assert scope.cancelled_caught
    sql.execute("COMMIT")
    async with asyncio.timeout(20), backend.transaction(claim.lease):
        pass
    assert await status(backend, claim.id) is Status.COMPLETED


async def test_cancelled_in_the_block(backend: SQLiteBackend) -> None:
    """All is rolled back, the lock is free at once."""
    [claim] = await start(backend)
    with anyio.move_on_after(0.05):
        async with backend.transaction(claim.lease) as tx:
            await backend.enqueue([NewJob("b")], conn=tx)
            await anyio.sleep_forever()
    assert await status(backend, claim.id) is Status.PROCESSING
    async with asyncio.timeout(10):
        await backend.enqueue([NewJob("c")])
    assert await backend.query(JobFilter(type="b"), limit=1) == []


async def test_a_lock_that_never_comes(opened: Open, path: Path) -> None:
    backend = await opened(busy_timeout=0.05)
    [claim] = await start(backend)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendUnavailable, match="locked"):
            async with backend.transaction(claim.lease):
                raise AssertionError


async def test_a_lost_lease_leaves_nothing_of_the_block(backend: SQLiteBackend) -> None:
    [claim] = await start(backend)
    with pytest.raises(LeaseLost):
        async with backend.transaction(Lease(claim.id, claim.token + 1)) as tx:
            await backend.enqueue([NewJob("b")], conn=tx)
    assert await backend.query(JobFilter(type="b"), limit=1) == []


async def test_jobs_of_the_block_wake_when_it_is_committed(opened: Open) -> None:
    backend = await opened(poll=0)
    [claim] = await start(backend)
    seen = backend.wakes
    async with backend.transaction(claim.lease) as tx:
        await backend.enqueue([NewJob("b")], conn=tx)
        assert backend.wakes == seen
    assert backend.wakes == seen + 1


# -- over the application's connection

LEVELS: tuple[Any, ...] = ("", "DEFERRED", "IMMEDIATE", "EXCLUSIVE")


@pytest.mark.parametrize("level", LEVELS)
async def test_the_drivers_own_transactions_hold_the_jobs(backend: SQLiteBackend, path: Path, level: str) -> None:
    """With its default isolation level the driver begins a transaction before an INSERT: ours starts with that word."""
    async with aiosqlite.connect(path, isolation_level=level) as conn:
        for jobs in ([NewJob("a")], [NewJob("a"), NewJob("b")], [NewJob("a", unique_key="k"), NewJob("a", unique_key="k")]):
            await backend.enqueue(jobs, conn=conn)
            assert conn.in_transaction
            assert await backend.query(JobFilter(), limit=9) == []
            await conn.rollback()
            assert await backend.query(JobFilter(), limit=9) == []
        answers = await backend.enqueue([NewJob("a"), NewJob("a", unique_key="k")], conn=conn)
        await conn.commit()
    assert [job.id for job in await backend.query(JobFilter(), limit=9)] == [answer.id for answer in answers]


async def test_explicit_transactions_hold_the_jobs(backend: SQLiteBackend, path: Path) -> None:
    async with aiosqlite.connect(path, isolation_level=None) as conn:
        for end in ("ROLLBACK", "COMMIT"):
            await conn.execute("BEGIN")
            await backend.enqueue([NewJob("a"), NewJob("a", unique_key="k")], conn=conn)
            assert await backend.query(JobFilter(), limit=9) == []
            await conn.execute(end)
            assert len(await backend.query(JobFilter(), limit=9)) == (2 if end == "COMMIT" else 0)


async def test_without_a_transaction_it_is_committed_at_once(backend: SQLiteBackend, path: Path) -> None:
    async with aiosqlite.connect(path, isolation_level=None) as conn:
        await backend.enqueue([NewJob("a"), NewJob("a", unique_key="k")], conn=conn)
        [again] = await backend.enqueue([NewJob("a", unique_key="k")], conn=conn)
        assert again.existed
        assert not conn.in_transaction
    assert len(await backend.query(JobFilter(), limit=9)) == 2


@pytest.mark.parametrize("factory", [sqlite3.Row, lambda cursor, row: {"row": row}, None])
async def test_its_factories_do_not_matter(backend: SQLiteBackend, path: Path, factory: Any) -> None:
    [first] = await backend.enqueue([NewJob("a", unique_key="naïve")])
    async with aiosqlite.connect(path) as conn:
        conn.row_factory = factory
        conn.text_factory = bytes
        jobs = [NewJob("a"), NewJob("ä", unique_key="k"), NewJob("a", unique_key="naïve"), NewJob("ä", unique_key="k")]
        answers = await backend.enqueue(jobs, conn=conn)
        assert conn.row_factory is factory
        await conn.commit()
    assert [answer.existed for answer in answers] == [False, False, True, True]
    assert answers[2].id == first.id
    assert answers[3].id == answers[1].id
    assert answers[2].created_at == first.created_at


async def test_a_holder_that_ends_meanwhile_gives_the_key_free(
    backend: SQLiteBackend, path: Path, sql: sqlite3.Connection
) -> None:
    """Without a transaction, a job can end between the two statements of one enqueue."""
    [holder] = await backend.enqueue([NewJob("a", unique_key="k")])

    class Meddled(aiosqlite.Connection):
        def execute(self, text: str, values: Any = None) -> Any:  # type: ignore[override]
            if text.startswith("SELECT"):
                sql.execute("UPDATE qengine_jobs SET status = 'completed', rank = NULL WHERE id = ?", (holder.id,))
            return super().execute(text, values)

    conn = await Meddled(lambda: sqlite3.connect(path, isolation_level=None), 64)
    try:
        [answer] = await backend.enqueue([NewJob("a", unique_key="k")], conn=conn)
    finally:
        await conn.close()
    assert answer.id > holder.id
    assert not answer.existed
    job = await backend.get(answer.id)
    assert job is not None
    assert job.unique_key == "k"


async def test_what_is_no_connection_of_the_driver(backend: SQLiteBackend, sql: sqlite3.Connection) -> None:
    for conn in (sql, "sqlite://", object()):
        with pytest.raises(ConfigurationError, match=r"aiosqlite\.Connection"):
            await backend.enqueue([NewJob("a")], conn=conn)


async def test_a_connection_to_something_else(backend: SQLiteBackend, tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / "other.db") as conn:
        with pytest.raises(SchemaError, match="qengine migrate"):
            await backend.enqueue([NewJob("a")], conn=conn)
    with pytest.raises(BackendUnavailable, match="closed"):
        await backend.enqueue([NewJob("a")], conn=conn)


async def test_another_connection_inside_a_handlers_transaction(backend: SQLiteBackend, path: Path) -> None:
    [claim] = await start(backend)
    async with aiosqlite.connect(path) as conn, backend.transaction(claim.lease):
        with pytest.raises(ConfigurationError, match="conn=tx"):
            await backend.enqueue([NewJob("a")], conn=conn)
