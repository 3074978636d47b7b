"""What workers count, record and announce, and when they look again, on both databases."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time

import pytest
from tenacity import wait_none

from qengine import Engine, Event, JobContext, RetryAfter
from qengine.backends.protocol import Demand
from qengine.testing import FakeClock, faults
from qengine.worker import Rules, Worker, WorkerOptions, activity, maintenance
from qengine.worker.run import Run

pytestmark = pytest.mark.anyio


async def recorded(engine: Engine, step: int = 60) -> dict[str, tuple[int, int, int, int]]:
    """What is recorded of each type: completed, failed, dead, other."""
    found: dict[str, tuple[int, int, int, int]] = {}
    for row in await engine.activity(step=step, since=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)):
        before = found.get(row.type, (0, 0, 0, 0))
        new = row.completed, row.failed, row.dead, row.other
        found[row.type] = tuple(a + b for a, b in zip(before, new, strict=True))  # type: ignore[assignment]
    return found


async def test_what_drains_do_is_counted_and_recorded(url: str) -> None:
    engine = Engine(url, retry=wait_none())

    @engine.task("fine")
    async def fine(n: int) -> None: ...

    @engine.task("fragile", max_attempts=2)
    async def fragile() -> None:
        raise ValueError("no")

    @engine.task("moves")
    async def moves(ctx: JobContext) -> None:
        async with ctx.transaction():
            pass

    async with engine:
        await fine.enqueue_many([{"n": n} for n in range(100)])
        await moves.enqueue()
        assert await engine.drain() == 101
        await fine.enqueue(n=100)
        await fragile.enqueue()
        assert await engine.drain() == 3
        (tally,) = engine.tallies()
        for step in (60, 900):
            assert await recorded(engine, step) == {"fine": (101, 0, 0, 0), "fragile": (0, 1, 1, 0), "moves": (1, 0, 0, 0)}
        rows = await engine.activity(step=900, since=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    assert tally.worker == ""
    assert {type: found.runs() for type, found in tally.types.items()} == {"fine": 101, "fragile": 2, "moves": 1}
    assert tally.batches.sum == 103  # the transaction wrote its completion itself
    assert sum(sum(row.waits) for row in rows) == sum(sum(row.runs) for row in rows) == 104


async def test_waits_are_by_the_databases_clock(url: str) -> None:
    clock = FakeClock()
    engine = Engine(url, clock=clock)

    @engine.task()
    async def step() -> None: ...

    async with engine:
        await step.enqueue()
        await step.options(delay=3000).enqueue()
        clock.advance(3600)
        await engine.drain()
        (tally,) = engine.tallies()
        waits = tally.types["step"].waits
        (row,) = await engine.activity(step=60, since=clock.now() - dt.timedelta(minutes=5))
    assert waits.sum == pytest.approx(3600 + 600, abs=60)
    assert abs(row.start - clock.now().timestamp()) < 120


async def test_a_worker_records_while_it_runs(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "EVERY", 0.05)
    monkeypatch.setattr(activity, "SPREAD", 0.0)
    engine = Engine(url)

    @engine.task("step")
    async def step() -> None: ...

    async with engine, engine.worker() as worker:
        await step.enqueue()
        while (await recorded(engine)) != {"step": (1, 0, 0, 0)}:
            await asyncio.sleep(0.02)
        await step.enqueue()
        while (await recorded(engine)) != {"step": (2, 0, 0, 0)}:
            await asyncio.sleep(0.02)
        assert [tally.worker for tally in engine.tallies()] == [worker.id]


async def test_recording_waits_out_an_outage(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "EVERY", 0.05)
    monkeypatch.setattr(activity, "SPREAD", 0.0)
    engine = Engine(url)

    @engine.task("step")
    async def step() -> None: ...

    with faults.injected(engine, faults.fail("record_activity", times=3)) as plan:
        async with engine, engine.worker():
            await step.enqueue()
            while (await recorded(engine)) != {"step": (1, 0, 0, 0)}:
                await asyncio.sleep(0.02)
    assert len(plan.struck) == 3


async def test_workers_announce_the_lag_of_their_event_loop(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "HEARTBEAT", 0.05)
    monkeypatch.setattr("qengine.worker.lag.EVERY", 0.02)
    engine = Engine(url)

    @engine.task("computes")
    async def computes() -> None:
        time.sleep(0.3)  # noqa: ASYNC251 - that is the fault

    async with engine, engine.worker():
        await computes.enqueue()
        while not any((info.loop_lag or 0.0) > 0.1 for info in await engine.workers()):
            await asyncio.sleep(0.02)


async def test_a_handler_that_ignores_its_cancellation_is_counted_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qengine.worker.watch.PATIENCE", 0.05)
    engine = Engine(url)
    go_on = asyncio.Event()
    heard: list[str] = []

    @engine.task("stubborn", timeout=0.05, max_attempts=1)
    async def stubborn() -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    @engine.on("completed", "failed", "dead", "lease_lost")
    async def hear(event: Event) -> None:
        heard.append(event.kind)

    async with engine, engine.worker():
        job = await stubborn.enqueue()
        while (await engine.job(job.id)).status != "dead":
            await asyncio.sleep(0.02)
        go_on.set()
    (tally,) = engine.tallies()
    assert {end: runs.count for end, runs in tally.types["stubborn"].ended.items()} == {"dead": 1}
    assert heard == ["dead"]


# -- schedules that are paused


async def test_a_paused_schedule_moves_on_without_its_job(url: str) -> None:
    clock = FakeClock()
    engine = Engine(url, clock=clock)

    @engine.cron("*/10 * * * *", catch_up="all")
    @engine.task("plan")
    async def plan() -> None: ...

    async with engine:
        await engine.drain()
        (schedule,) = await engine.schedules()
        await engine.pause_schedule(schedule.name)
        clock.advance(3600)
        assert await engine.drain() == 0
        (paused,) = await engine.schedules()
        assert paused.next_fire > clock.now()
        assert paused.last_fire == schedule.last_fire
        await engine.resume_schedule(schedule.name)
        assert await engine.drain() == 0
        clock.advance(600)
        assert await engine.drain() == 1


# -- pauses that end by themselves


async def test_the_end_of_a_pause_is_noticed_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qengine.worker.fetcher.LOOK_AGAIN", {True: 3600.0, False: 3600.0})
    engine = Engine(url)
    runs: list[str] = []

    @engine.task("asks")
    async def asks() -> None:
        runs.append("asks")
        if len(runs) == 1:
            raise RetryAfter(0.2, pause_type=True)

    async with engine, engine.worker():
        job = await asks.enqueue()
        other = await asks.options(delay=0.05).enqueue()
        await asyncio.wait_for(job.wait(), 30)
        await asyncio.wait_for(other.wait(), 30)
    assert len(runs) == 3


async def test_the_end_of_a_pause_made_elsewhere_is_noticed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qengine.worker.fetcher.LOOK_AGAIN", {True: 3600.0, False: 3600.0})
    engine = Engine(url)

    @engine.task("step")
    async def step() -> None: ...

    async with engine:
        await engine.pause(type="step", until=0.5)
        await engine.pause(queue="other")
        async with engine.worker():
            job = await step.enqueue()
            await asyncio.wait_for(job.wait(), 30)


# -- a worker that was frozen


@pytest.mark.parametrize("held", [True, False])
async def test_what_was_claimed_longer_ago_than_its_lease_lasts_is_not_begun(
    url: str, caplog: pytest.LogCaptureFixture, held: bool
) -> None:
    caplog.set_level(logging.INFO, "qengine")
    engine = Engine(url, lease=60)
    begun: list[int] = []

    @engine.task("step")
    async def step() -> None:
        begun.append(1)

    async with engine:
        job = await step.enqueue()
        worker = Worker(engine.backend, engine.registry, Rules(lease=60), WorkerOptions())
        (claim,) = await engine.backend.claim(Demand(worker.id, {"step": 1}, 1, 60))
        if not held:
            await engine.cancel(job.id)
        run = Run(claim, engine.registry.get("step"), time.monotonic() - 61, time.monotonic() - 61)
        run.started = time.monotonic()  # the process was frozen while the job waited in the buffer
        settling = asyncio.create_task(worker._settler.run())
        await worker._work(run)
        await worker._settler.flush()
        settling.cancel()
        found = await engine.job(job.id)
    assert begun == []
    assert (found.status, found.attempts) == ("pending", 0) if held else found.status == "cancelled"
    assert worker.tally.types == {}
    (record,) = (record for record in caplog.records if "is not started" in record.getMessage())
    assert (record.job_id, record.worker) == (job.id, worker.id)  # type: ignore[attr-defined]
