"""How runs end: every outcome, through a real worker on a real database."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tenacity import wait_fixed, wait_none

from qengine import Cancel, Discard, Engine, JobContext, JobFailed, LeaseLost, RetryAfter, RetryPolicy, Snooze

pytestmark = pytest.mark.anyio


async def test_a_job_goes_from_enqueue_to_completed(url: str) -> None:
    engine = Engine(url)

    @engine.task()
    async def add(a: int, b: int = 2) -> int:
        return a + b

    async with engine:
        job = await add.enqueue(a=40)
        assert (job.status, job.attempts, job.payload) == ("pending", 0, {"a": 40})
        assert await engine.drain() == 1
        done = await engine.job(job.id)
        assert (done.status, done.attempts, done.result) == ("completed", 1, 42)
        assert done.locked_by is None
        assert done.locked_until is None
        assert done.completed_at is not None
        assert await done.wait() == 42


async def test_a_failed_attempt_waits_for_its_retry_and_spends_an_attempt(url: str) -> None:
    engine = Engine(url)

    @engine.task(retry=wait_fixed(3600))
    async def fragile() -> None:
        raise ConnectionError("451 come back later")

    async with engine:
        job = await fragile.enqueue()
        await engine.drain()
        failed = await engine.job(job.id)
        assert (failed.status, failed.attempts, failed.last_error) == ("failed", 1, "ConnectionError: 451 come back later")
        assert failed.scheduled_for is not None
        assert failed.updated_at is not None
        assert 3590 < (failed.scheduled_for - failed.updated_at).total_seconds() < 3610
        [error] = await engine.errors(job.id)
        assert (error.attempt, error.error) == (1, "ConnectionError: 451 come back later")
        assert "raise ConnectionError" in (error.traceback or "")


async def test_the_last_attempt_makes_it_dead_and_its_history_is_whole(url: str) -> None:
    engine = Engine(url, max_attempts=3, retry=wait_none())
    seen: list[int] = []

    @engine.task()
    async def hopeless(ctx: JobContext) -> None:
        seen.append(ctx.attempt)
        raise ValueError(f"attempt {ctx.attempt}")

    async with engine:
        job = await hopeless.enqueue()
        await engine.drain()
        dead = await engine.job(job.id)
        assert (dead.status, dead.dead_reason, dead.attempts) == ("dead", "exhausted", 3)
        assert seen == [1, 2, 3]
        assert [e.error for e in await engine.errors(job.id)] == [f"ValueError: attempt {n}" for n in (1, 2, 3)]
        with pytest.raises(JobFailed, match=r"exhausted.*attempt 3"):
            await dead.wait(timeout=5)


@pytest.mark.parametrize(
    ("signal", "status", "attempts", "reason", "error"),
    [
        (Snooze(3600), "pending", 0, None, None),
        (RetryAfter(3600), "pending", 0, None, "asked to wait 3600 s"),
        (Discard("no such prospect"), "dead", 1, "discarded", "Discard: no such prospect"),
        (Cancel("not wanted"), "cancelled", 1, None, "Cancel: not wanted"),
        (ExceptionGroup("of a task group", [Snooze(3600)]), "pending", 0, None, None),
    ],
    ids=["snooze", "retry-after", "discard", "cancel", "in-a-group"],
)
async def test_signals(url: str, signal: Exception, status: str, attempts: int, reason: str | None, error: str | None) -> None:
    engine = Engine(url)

    @engine.task()
    async def signals() -> None:
        raise signal

    async with engine:
        job = await signals.enqueue()
        await engine.drain()
        now = await engine.job(job.id)
        assert (now.status, now.attempts, now.dead_reason, now.last_error) == (status, attempts, reason, error)


async def test_retry_after_can_pause_the_whole_type(url: str) -> None:
    engine = Engine(url)
    runs: list[int] = []

    @engine.task(max_concurrency=1)
    async def limited(n: int) -> None:
        runs.append(n)
        raise RetryAfter(3600, pause_type=True)

    @engine.task()
    async def other() -> None: ...

    async with engine:
        await limited.enqueue_many([{"n": n} for n in range(5)])
        free = await other.enqueue()
        await engine.drain()
        assert runs == [0]
        assert (await engine.job(free.id)).status == "completed"
        [pause] = await engine.pauses()
        assert (pause.kind, pause.name) == ("type", "limited")
        assert pause.until is not None


async def test_a_policy_that_gives_up_buries_at_once(url: str) -> None:
    engine = Engine(url)

    @engine.task(retry=RetryPolicy(wait=wait_none(), max_attempts=5, retry_on=(OSError,), give_up_on=(FileNotFoundError,)))
    async def picky(how: str) -> None:
        raise {"again": OSError, "never": FileNotFoundError, "other": ValueError}[how](how)

    async with engine:
        jobs = {how: await picky.enqueue(how=how) for how in ("again", "never", "other")}
        await engine.drain()
        ends = {how: await engine.job(job.id) for how, job in jobs.items()}
        assert {how: (str(j.dead_reason), j.attempts) for how, j in ends.items()} == {
            "again": ("exhausted", 5),
            "never": ("discarded", 1),
            "other": ("discarded", 1),
        }


async def test_a_timeout_is_a_failed_attempt(url: str) -> None:
    engine = Engine(url, retry=wait_fixed(3600))

    @engine.task(timeout=0.1)
    async def slow() -> None:
        await asyncio.sleep(30)

    async with engine:
        job = await slow.enqueue()
        own = await slow.options(timeout=0.2).enqueue()
        began = time.monotonic()
        await engine.drain()
        assert time.monotonic() - began < 10
        failed = await engine.job(job.id)
        assert (failed.status, failed.attempts, failed.last_error) == ("failed", 1, "TimeoutError: timed out after 0.1 s")
        assert (await engine.job(own.id)).last_error == "TimeoutError: timed out after 0.2 s"


async def test_a_handler_that_swallows_its_cancellation_is_reported_and_let_go(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("qengine.worker.watch.PATIENCE", 0.2)
    engine = Engine(url, retry=wait_fixed(3600))
    release = asyncio.Event()

    @engine.task(timeout=0.1)
    async def stubborn() -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    @engine.task()
    async def innocent() -> None: ...

    async with engine:
        job = await stubborn.enqueue()
        async with engine.worker(concurrency=1):
            with caplog.at_level(logging.ERROR, "qengine.worker"):
                while (await engine.job(job.id)).status != "failed":
                    await asyncio.sleep(0.02)
            assert "stubborn" in caplog.text
            assert "ignores its cancellation" in caplog.text
            await (await innocent.enqueue()).wait(timeout=10)  # its slot was replaced
            release.set()
        assert (await engine.job(job.id)).last_error == "TimeoutError: timed out after 0.1 s"


async def test_a_result_that_cannot_be_stored_buries_the_job(url: str) -> None:
    engine = Engine(url)

    @engine.task()
    async def odd() -> Any:
        return object()

    async with engine:
        job = await odd.enqueue()
        await engine.drain()
        dead = await engine.job(job.id)
        assert (dead.status, dead.dead_reason) == ("dead", "discarded")
        assert "result of odd" in (dead.last_error or "")


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (SystemExit(3), "SystemExit"),
        (asyncio.CancelledError(), "CancelledError"),
        (BaseExceptionGroup("g", [SystemExit()]), "SystemExit"),
    ],
    ids=["exit", "cancelled", "group"],
)
async def test_what_would_kill_a_host_is_only_a_failed_attempt(url: str, error: BaseException, word: str) -> None:
    engine = Engine(url, retry=wait_fixed(3600))

    @engine.task()
    async def rude() -> None:
        raise error

    async with engine:
        job = await rude.enqueue()
        await engine.drain()
        failed = await engine.job(job.id)
        assert failed.status == "failed"
        assert word in (failed.last_error or "")


async def test_a_stored_payload_that_no_longer_fits_is_buried_as_it_is(url: str) -> None:
    old, new = Engine(url), Engine(url)

    @old.task("greet")
    async def greet_old(name: str) -> None: ...

    @new.task("greet")
    async def greet_new(full_name: str) -> None: ...

    async with old:
        job = await greet_old.enqueue(name="Ada")
    async with new:
        await new.drain()
        dead = await new.job(job.id)
        assert (dead.status, dead.dead_reason, dead.payload) == ("dead", "bad_payload", {"name": "Ada"})
        assert "name" in (dead.last_error or "")


async def test_transaction_commits_the_handlers_writes_with_the_completion(url: str) -> None:
    engine = Engine(url)

    @engine.task(retry=wait_fixed(3600))
    async def note(ctx: JobContext, text: str, fail: bool = False) -> str:
        async with ctx.transaction() as tx:
            await tx.execute(f"INSERT INTO notes VALUES ('{text}')")
            if fail:
                raise ConnectionError("in the block")
        return "noted"

    @engine.task()
    async def look(ctx: JobContext) -> list[str]:
        async with ctx.transaction() as tx:
            rows = await (
                tx.fetch("SELECT text FROM notes") if hasattr(tx, "fetch") else tx.execute_fetchall("SELECT text FROM notes")
            )
        return [row[0] for row in rows]

    @engine.task()
    async def create(ctx: JobContext) -> None:
        async with ctx.transaction() as tx:
            await tx.execute("CREATE TABLE notes (text text)")

    async with engine:
        await create.enqueue()
        await engine.drain()
        kept, lost = await note.enqueue(text="kept"), await note.enqueue(text="lost", fail=True)
        await engine.drain()
        assert (await engine.job(kept.id)).result == "noted"
        assert (await engine.job(kept.id)).status == "completed"
        assert (await engine.job(lost.id)).status == "failed"
        seen = await look.enqueue()
        await engine.drain()
        assert await seen.wait(timeout=5) == ["kept"]


async def test_an_error_after_the_transaction_undoes_nothing(url: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(url)

    @engine.task()
    async def late(ctx: JobContext) -> None:
        async with ctx.transaction():
            pass
        raise RuntimeError("after the block")

    async with engine:
        job = await late.enqueue()
        await engine.drain()
        assert (await engine.job(job.id)).status == "completed"
        assert "after its transaction had completed it" in caplog.text


async def test_what_a_stale_holder_writes_is_refused(url: str) -> None:
    engine = Engine(url)
    told: list[str] = []

    @engine.task()
    async def overtaken(ctx: JobContext) -> None:
        await engine.backend.cancel(_only(ctx.job.id), 1)
        for write in (ctx.progress(1, 2), ctx.checkpoint({"n": 1}), ctx.extend(), _transaction(ctx)):
            try:
                await write
            except LeaseLost:
                told.append("lost")

    async with engine:
        job = await overtaken.enqueue()
        await engine.drain()
        assert told == ["lost"] * 4
        after = await engine.job(job.id)
        assert (after.status, after.checkpoint, after.progress) == ("cancelled", None, None)


async def _transaction(ctx: JobContext) -> None:
    async with ctx.transaction():
        pass


def _only(job_id: int) -> Any:
    from qengine.backends.inspection import JobFilter

    return JobFilter(ids=[job_id])


async def test_a_lease_reported_lost_by_its_own_completion_cancels_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper may find the raised token before the handler hears that its transaction has been committed."""
    engine = Engine(url)

    @engine.task()
    async def slow_commit(ctx: JobContext) -> str:
        async with ctx.transaction():
            pass
        return "kept"

    async with engine:
        job = await slow_commit.enqueue()
        backend, transaction = engine.backend, engine.backend.transaction

        @asynccontextmanager
        async def answers_late(lease: Any) -> AsyncIterator[Any]:
            async with transaction(lease) as connection:
                yield connection
            for worker in list(engine._workers):
                worker._leases_lost([lease])
            await asyncio.sleep(0.05)

        monkeypatch.setattr(backend, "transaction", answers_late)
        await engine.drain()
        after = await engine.job(job.id)
        assert (after.status, after.result) == ("completed", "kept")
