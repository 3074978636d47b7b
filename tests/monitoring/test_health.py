"""`engine.health()`: what makes a process ill, what only makes it unready, and what is said of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from waiting import until

from qengine import ConfigurationError, Engine, Worker
from qengine.testing import FakeClock, faults

pytestmark = pytest.mark.anyio


def app(url: str, clock: FakeClock | None = None) -> Engine:
    engine = Engine(url, clock=clock)

    @engine.task()
    async def linger(seconds: float) -> None:
        await asyncio.sleep(seconds)

    return engine


@asynccontextmanager
async def working(engine: Engine, **options: object) -> AsyncIterator[Worker]:
    """A worker that has announced itself."""
    async with engine.worker(**options) as worker:  # type: ignore[arg-type]
        while worker.id not in {info.id for info in await engine.workers()}:
            await asyncio.sleep(0.005)
        yield worker


async def test_a_closed_engine_has_no_health(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not open"):
        await app(url).health()


async def test_an_engine_without_workers_is_well(url: str) -> None:
    async with app(url) as engine:
        health = await engine.health()
    assert (health.ok, health.ready, health.problems, health.database, health.workers) == (True, True, (), True, {})
    assert health.latency is not None
    assert health.latency > 0
    assert health.oldest_due == {}


async def test_the_loops_of_a_worker(url: str) -> None:
    async with app(url) as engine, working(engine) as worker:
        health = await engine.health()
        assert (health.ok, health.ready, health.problems) == (True, True, ())
        assert set(health.workers) == {worker.id}
        loops = health.workers[worker.id]
        assert {"settling", "watching", "fetching", "listening", "due jobs", "presence", "schedules", "leases"} <= set(loops)
        assert all(loops.values()), "schedules has nothing to do, which is no illness"
        assert json.loads(json.dumps(health.as_dict()))["workers"][worker.id]["leases"] is True
    assert not worker.running


async def test_a_loop_that_has_stopped_makes_it_ill(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with app(url) as engine, working(engine) as worker:
        monkeypatch.setattr(type(worker), "loops", property(lambda worker: {"settling": False, "fetching": True}))
        health = await engine.health()
        assert (health.ok, health.ready) == (False, False)
        assert health.problems == (f"worker {worker.id}: settling has stopped",)


async def test_a_lease_keeper_that_has_stopped_is_seen(url: str) -> None:
    async with app(url) as engine, working(engine) as worker:
        await worker._keeper.stop()
        health = await engine.health()
        assert health.problems == (f"worker {worker.id}: leases has stopped",)
        assert not health.ok


async def test_a_loop_that_was_cancelled_is_seen(url: str) -> None:
    async with app(url) as engine, working(engine) as worker:
        for name in ("fetching", "retention"):  # these may end, but not so
            await worker._loops.end(name)
        await until(lambda: not all(worker.loops.values()))
        assert {name for name, alive in worker.loops.items() if not alive} == {"fetching", "retention"}
        assert not (await engine.health()).ok


async def test_a_stopping_worker_is_alive_but_not_ready(url: str) -> None:
    async with app(url) as engine:
        job = await engine.enqueue("linger", {"seconds": 60})
        async with working(engine, grace=30) as worker:
            while (await engine.job(job.id)).status != "processing":
                await asyncio.sleep(0.005)
            worker.stop()
            await until(lambda: worker.stopping)
            health = await engine.health()
            assert (health.ok, health.ready) == (True, False)
            assert f"worker {worker.id} is stopping" in health.problems
            worker.stop_now()


async def test_a_database_that_is_away_does_not_make_it_ill(url: str) -> None:
    engine = app(url)
    with faults.injected(engine, faults.fail("oldest_due"), faults.hang("oldest_due", at=2, seconds=3600)):
        async with engine:
            away = await engine.health()
            assert (away.ok, away.ready, away.database) == (True, False, True)
            assert away.problems == ("the database cannot be reached: injected fault: fail at oldest_due",)
            slow = await engine.health(timeout=0.05)
            assert (slow.ok, slow.ready) == (True, False)
            assert slow.problems == ("the database did not answer within 0.05 s",)
            assert (await engine.health()).ready


async def test_a_database_that_does_not_answer_at_all(url: str) -> None:
    engine = app(url)
    with faults.injected(engine, faults.fail("now", times=1000)):
        async with engine:
            health = await engine.health()
    assert (health.database, health.latency, health.ready, health.ok) == (False, None, False, True)


async def test_a_worker_that_the_database_does_not_know(url: str) -> None:
    engine = app(url)
    with faults.injected(engine, faults.fail("heartbeat", times=1000)) as plan:
        async with engine, engine.worker() as worker:
            await until(lambda: plan.struck)
            health = await engine.health()
            assert (health.ok, health.ready) == (True, False)
            assert health.problems == (f"worker {worker.id} has not announced itself for 30 s",)


async def test_a_blocked_event_loop(url: str) -> None:
    async with app(url) as engine:
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        health = await engine.health()
        assert health.loop_lag >= 0.3
        assert health.ready


async def test_an_event_loop_that_is_blocked_for_long(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qengine.engine.health.MAX_LAG", 0.1)
    async with app(url) as engine:
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        health = await engine.health()
    assert (health.ok, health.ready) == (True, False)
    assert health.problems[0].startswith("the event loop was blocked for 0.")


async def test_a_job_that_is_due_for_too_long(url: str) -> None:
    clock = FakeClock()
    async with app(url, clock) as engine:
        await engine.enqueue("linger", {"seconds": 0})
        await engine.enqueue("other")
        clock.advance(300)
        await engine.enqueue("later", delay=3600)
        health = await engine.health()
        assert (health.ready, health.oldest_due) == (True, {"linger": 300.0, "other": 300.0})
        clock.advance(3301)
        late = await engine.health()
        assert (late.ok, late.ready, late.oldest_due["linger"]) == (True, False, 3601.0)
        assert "a job of type linger has been due for 3601 s (more than 3600 s)" in late.problems
        assert (await engine.health(max_due=None)).ready
        assert (await engine.health(max_due=3601)).ready
        assert not (await engine.health(max_due=60)).ready


async def test_paused_types_are_not_judged(url: str) -> None:
    clock = FakeClock()
    async with app(url, clock) as engine:
        await engine.enqueue("linger", {"seconds": 0})
        await engine.enqueue("other")
        clock.advance(7200)
        await engine.pause(type="linger")
        health = await engine.health()
        assert health.problems == ("a job of type other has been due for 7200 s (more than 3600 s)",)
        await engine.pause(queue="anything", until=dt.timedelta(hours=1).total_seconds())
        health = await engine.health()
        assert (health.ready, health.oldest_due) == (True, {"other": 7200.0})


async def test_a_worker_answers_for_its_own_types(url: str) -> None:
    async with app(url) as engine:
        await engine.enqueue("other", at=dt.datetime.now(dt.UTC) - dt.timedelta(hours=2))
        assert not (await engine.health()).ready
        async with working(engine):
            health = await engine.health()
            assert (health.ready, health.oldest_due) == (True, {})
