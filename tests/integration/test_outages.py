"""The database goes away while jobs run, and comes back."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter

import pytest

from qengine import BackendUnavailable, Engine
from qengine.backends.inspection import JobFilter

pytestmark = pytest.mark.anyio


async def test_a_worker_whose_connections_are_cut_again_and_again_loses_nothing(postgres_url: str) -> None:
    import asyncpg

    engine = Engine(postgres_url)
    runs: Counter[int] = Counter()

    @engine.task()
    async def step(n: int) -> None:
        runs[n] += 1
        await asyncio.sleep(0.01)

    admin = await asyncpg.connect(postgres_url)
    async with engine:
        await step.enqueue_many([{"n": n} for n in range(1500)])
        async with engine.worker(concurrency=10):
            for _ in range(8):
                await asyncio.sleep(0.15)
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            async with asyncio.timeout(60):
                while await _left(engine):
                    await asyncio.sleep(0.05)
        jobs = await engine.jobs(limit=2000)
        assert {(job.status, job.attempts, job.crashes) for job in jobs} == {("completed", 1, 0)}
        assert len(runs) == 1500
    await admin.close()


async def _left(engine: Engine) -> int:
    try:
        counts = (await engine.stats()).by_status
    except BackendUnavailable:
        return 1
    return counts["pending"] + counts["processing"] + counts["failed"]


async def test_a_worker_waits_while_another_holds_the_write_lock(sqlite_url: str) -> None:
    engine = Engine(sqlite_url, backend_options={"busy_timeout": 0.3})

    @engine.task()
    async def step(n: int) -> None: ...

    async with engine:
        await step.enqueue_many([{"n": n} for n in range(100)])
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with engine.worker(concurrency=5):
            await asyncio.sleep(1.5)
            assert {job.status for job in await engine.jobs()} == {"pending"}
            other.execute("ROLLBACK")
            async with asyncio.timeout(30):
                while await _left(engine):
                    await asyncio.sleep(0.05)
        other.close()
        assert {(job.status, job.attempts, job.crashes) for job in await engine.jobs()} == {("completed", 1, 0)}


async def test_outcomes_wait_for_the_database_to_come_back(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(url)
    ran = asyncio.Event()

    @engine.task()
    async def step() -> str:
        ran.set()
        return "done"

    async with engine:
        backend = engine.backend
        settle, away = backend.settle, asyncio.Event()

        async def flaky(*args: object) -> object:
            if not away.is_set():
                raise BackendUnavailable("gone")
            return await settle(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(backend, "settle", flaky)
        async with engine.worker():
            job = await step.enqueue()
            await asyncio.wait_for(ran.wait(), 5)
            await asyncio.sleep(0.5)
            assert (await engine.job(job.id)).status == "processing"
            away.set()
            assert await job.wait(timeout=20) == "done"


async def test_one_outcome_that_is_refused_does_not_hold_up_the_others(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(url)

    @engine.task()
    async def step(n: int) -> None: ...

    async with engine:
        jobs = await step.enqueue_many([{"n": n} for n in range(20)])
        backend = engine.backend
        settle = backend.settle

        async def picky(settlements: list[object], worker: str) -> object:
            if any(getattr(s, "id", 0) == jobs[7].id for s in settlements):
                raise ValueError("the database will not have it")
            return await settle(settlements, worker)  # type: ignore[arg-type]

        monkeypatch.setattr(backend, "settle", picky)
        with caplog.at_level(logging.ERROR, "qengine.worker"):
            await engine.drain()
        assert f"job {jobs[7].id}" in caplog.text
        ended = {job.id for job in await engine.jobs(status="completed")}
        assert ended == {job.id for job in jobs} - {jobs[7].id}


async def test_a_claim_whose_answer_was_lost_costs_its_jobs_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(url)

    @engine.task()
    async def step() -> None: ...

    async with engine:
        await step.enqueue_many([{}] * 10)
        backend = engine.backend
        claim, lost = backend.claim, []

        async def swallows(demand: object) -> object:
            claims = await claim(demand)  # type: ignore[arg-type]
            if claims and not lost:
                lost.extend(claims)
                raise BackendUnavailable("the answer was lost")
            return claims

        monkeypatch.setattr(backend, "claim", swallows)
        await engine.drain()
        assert lost
        jobs = await backend.query(JobFilter(), limit=100)
        assert {(job.status, job.attempts, job.crashes) for job in jobs} == {("completed", 1, 0)}
