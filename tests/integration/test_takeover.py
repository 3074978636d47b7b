"""When a worker takes over jobs whose lease has ended, and when it leaves them alone for a while."""

from __future__ import annotations

import asyncio

import pytest

from qengine import Engine
from qengine.backends.protocol import Demand
from qengine.testing import FakeClock
from qengine.testing.faults import fail, injected

pytestmark = pytest.mark.anyio


async def left_behind(engine: Engine) -> int:
    """A job that a worker has claimed which then died."""
    job = await engine.enqueue("step", {"n": 0})
    [claim] = await engine.backend.claim(Demand("a dead worker", {"step": 1}, 1, lease=60))
    assert claim.id == job.id
    return job.id


def shop(url: str, clock: FakeClock, lease: float = 60.0) -> Engine:
    engine = Engine(url, clock=clock, lease=lease)

    @engine.task()
    async def step(n: int) -> None: ...

    return engine


async def test_work_that_keeps_coming_does_not_hold_it_up(url: str) -> None:
    clock = FakeClock()
    engine = shop(url, clock)
    async with engine:
        orphan = await left_behind(engine)
        async with engine.worker():
            for n in range(10):
                await engine.enqueue("step", {"n": n})
                await asyncio.sleep(0.1)
            clock.advance(61)
            async with asyncio.timeout(10):
                n = 10
                while (await engine.job(orphan)).status != "completed":
                    await engine.enqueue("step", {"n": n})
                    await asyncio.sleep(0.1)


async def test_a_worker_that_was_cut_off_gives_the_others_a_lease_to_renew(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qengine.worker.maintenance.IN_NO_HASTE", 0.1)
    clock = FakeClock()
    engine = shop(url, clock, lease=2.0)
    with injected(engine, fail("next_deadline", at=2)) as plan:
        async with engine:
            orphan = await left_behind(engine)
            async with engine.worker():
                async with asyncio.timeout(10):
                    while not plan.struck:
                        await engine.enqueue("step", {"n": 1})
                        await asyncio.sleep(0.01)
                clock.advance(61)
                began = asyncio.get_running_loop().time()
                async with asyncio.timeout(20):
                    while (await engine.job(orphan)).status != "completed":
                        await asyncio.sleep(0.02)
                assert asyncio.get_running_loop().time() - began > 1.5
