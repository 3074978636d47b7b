"""How a worker and its runs end when handlers do not listen, instruments break, or it is told twice, on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest
from long_task import long_task

from qengine import Engine
from qengine.worker import pool

pytestmark = pytest.mark.anyio


class Deaf:
    """A handler that ignores its cancellation until it is let go."""

    def __init__(self, engine: Engine) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.task = engine.task("deaf")(self._handler())

    def _handler(self) -> Any:
        async def deaf() -> None:
            self.begun.set()
            while not self.go_on.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await self.go_on.wait()

        return deaf


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PATIENCE", 0.05)
    monkeypatch.setattr("qengine.worker.watch.PATIENCE", 0.05)


async def ends(engine: Engine, end: str) -> None:
    """Wait until a run of the type `deaf` has been counted so."""
    while not any(tally.of("deaf").runs(end) for tally in engine.tallies()):  # type: ignore[arg-type]
        await asyncio.sleep(0.01)


async def test_at_shutdown_a_handler_that_does_not_listen_is_left_behind_and_its_job_put_back(url: str) -> None:
    engine = Engine(url)
    deaf = Deaf(engine)
    async with engine:
        job = await deaf.task.enqueue()
        async with engine.worker(grace=0):
            await deaf.begun.wait()
        found = await engine.job(job.id)
        (tally,) = engine.tallies()
        deaf.go_on.set()
    assert (found.status, found.attempts) == ("pending", 0)
    assert tally.types["deaf"].runs("released") == tally.types["deaf"].runs() == 1


async def test_a_handler_that_does_not_listen_when_its_lease_is_lost_is_counted_once(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qengine")
    engine = Engine(url)
    deaf = Deaf(engine)
    async with engine:
        job = await deaf.task.enqueue()
        async with engine.worker():
            await deaf.begun.wait()
            await engine.cancel(job.id)
            await ends(engine, "lease_lost")
            deaf.go_on.set()
            while "has ended at last" not in caplog.text:
                await asyncio.sleep(0.01)
        (tally,) = engine.tallies()
    assert tally.types["deaf"].runs() == 1


async def test_who_is_cancelled_twice_does_not_wait_for_running_jobs(url: str) -> None:
    engine = Engine(url)
    long, runs = long_task(engine)

    async with engine:
        job = await long.enqueue()
        main = asyncio.create_task(engine.run_worker(grace=3600))
        await runs.wait()
        main.cancel()
        while not all(worker.stopping for worker in engine.running_workers):
            await asyncio.sleep(0.01)
        main.cancel()
        await asyncio.wait([main])
        assert main.cancelled()
        assert (await engine.job(job.id)).status == "pending"


async def test_a_loop_that_breaks_while_the_worker_ends_is_logged(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(url)

    async def breaks(self: object) -> None:
        raise ValueError("cannot be ended")

    async with engine:
        main = asyncio.create_task(engine.run_worker())
        while not engine.running_workers:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(pool.Worker, "_shut_down", breaks)
        main.cancel()
        await asyncio.wait([main])
    assert main.cancelled()
    assert "the worker ended with an error" in caplog.text


class Broken:
    """An instrument that raises, as it must not."""

    def storing(self, jobs: Any) -> Any:
        return contextlib.nullcontext((jobs, lambda stored: None))

    def running(self, claim: Any, worker: str) -> Any:
        raise ValueError("broken instrument")


async def test_what_breaks_outside_a_handler_is_logged_and_counted_and_the_worker_goes_on(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(url)
    deaf = Deaf(engine)
    engine.instrument(Broken())
    async with engine:
        job = await deaf.task.enqueue()
        async with engine.worker():
            await ends(engine, "lease_lost")
        assert (await engine.job(job.id)).status == "processing"  # until its lease ends
    assert not deaf.begun.is_set()
    (record,) = (record for record in caplog.records if "went wrong outside its handler" in record.getMessage())
    assert record.job_id == job.id  # type: ignore[attr-defined]
