"""The life of a worker: how it starts, shares, pauses, loses leases, is cancelled, and stops."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
import time
from collections import Counter
from contextvars import ContextVar

import anyio
import pytest
from tenacity import wait_fixed

from qengine import ConfigurationError, Engine, JobContext
from qengine.testing import FakeClock

pytestmark = pytest.mark.anyio


async def test_as_many_jobs_run_at_once_as_it_has_slots(url: str) -> None:
    engine = Engine(url)
    now = peak = 0

    @engine.task()
    async def step() -> None:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0.02)
        now -= 1

    async with engine:
        await step.enqueue_many([{}] * 30)
        assert await engine.drain(concurrency=7) == 30
    assert peak == 7


async def test_a_type_with_a_limit_of_its_own_leaves_the_other_slots_to_others(url: str) -> None:
    engine = Engine(url)
    now: Counter[str] = Counter()
    peak: Counter[str] = Counter()

    async def step(kind: str) -> None:
        now[kind] += 1
        peak[kind] = max(peak[kind], now[kind])
        await asyncio.sleep(0.03)
        now[kind] -= 1

    @engine.task(priority=1, max_concurrency=2)
    async def narrow() -> None:
        await step("narrow")

    @engine.task(priority=9)
    async def wide() -> None:
        await step("wide")

    async with engine:
        await narrow.enqueue_many([{}] * 10)
        await wide.enqueue_many([{}] * 30)
        assert await engine.drain(concurrency=8) == 40
    assert peak["narrow"] == 2
    assert peak["wide"] >= 6


async def test_priorities_decide_who_goes_first(url: str) -> None:
    engine = Engine(url)
    order: list[int] = []

    @engine.task()
    async def mark(n: int) -> None:
        order.append(n)

    async with engine:
        for priority in (9, 3, 7, 1, 10, 5):
            await mark.options(priority=priority).enqueue(n=priority)
        await engine.drain(concurrency=1)
    assert order == [1, 3, 5, 7, 9, 10]


async def test_a_new_job_is_picked_up_at_once_by_an_idle_worker(url: str) -> None:
    engine = Engine(url)

    @engine.task()
    async def ping() -> str:
        return "pong"

    async with engine, engine.worker():
        await asyncio.sleep(0.3)
        began = time.monotonic()
        assert await (await ping.enqueue()).wait(timeout=5) == "pong"
        assert time.monotonic() - began < 2  # a poll alone would take longer


async def test_a_delayed_job_runs_when_it_is_due_and_not_before(url: str) -> None:
    engine = Engine(url)
    ran: list[float] = []

    @engine.task()
    async def later() -> None:
        ran.append(time.monotonic())

    async with engine, engine.worker():
        began = time.monotonic()
        job = await later.options(delay=0.4).enqueue()
        await job.wait(timeout=10)
        assert 0.35 < ran[0] - began < 3


async def test_functions_run_in_threads_and_with_a_context_too(url: str) -> None:
    engine = Engine(url)
    loop_thread = threading.get_ident()

    @engine.task()
    def plain(n: int) -> bool:
        return threading.get_ident() != loop_thread and n == 3

    @engine.task()
    def with_context(ctx: JobContext, n: int) -> int:
        anyio.from_thread.run(ctx.progress, n, 10, "going")
        return ctx.attempt

    async with engine:
        one, two = await plain.enqueue(n=3), await with_context.enqueue(n=4)
        await engine.drain()
        assert await one.wait(timeout=5) is True
        assert await two.wait(timeout=5) == 1
        assert (await engine.job(two.id)).progress == {"done": 4, "total": 10, "message": "going"}


async def test_what_a_handler_leaves_in_its_context_no_other_job_sees(url: str) -> None:
    engine = Engine(url)
    customer: ContextVar[str] = ContextVar("customer", default="nobody")
    seen: list[str] = []

    @engine.task()
    async def bill(name: str) -> None:
        seen.append(customer.get())
        customer.set(name)

    async with engine:
        customer.set("the host's")
        await bill.enqueue_many([{"name": str(number)} for number in range(20)])
        assert await engine.drain(concurrency=2) == 20
    assert seen == ["the host's"] * 20


async def test_cancelling_a_running_job_cancels_its_handler(url: str) -> None:
    engine = Engine(url)
    started, ended = asyncio.Event(), asyncio.Event()

    @engine.task()
    async def endless() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with engine, engine.worker():
        job = await endless.enqueue()
        await asyncio.wait_for(started.wait(), 5)
        assert await engine.cancel(job.id) == 1
        await asyncio.wait_for(ended.wait(), 5)
        cancelled = await engine.job(job.id)
        assert (cancelled.status, cancelled.locked_by) == ("cancelled", None)


async def test_a_running_job_cancelled_elsewhere_is_cancelled_at_the_next_renewal(url: str) -> None:
    engine, other = Engine(url, lease=1.5), Engine(url)
    started, ended = asyncio.Event(), asyncio.Event()

    @engine.task()
    async def endless() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with engine, other, engine.worker():
        job = await endless.enqueue()
        await asyncio.wait_for(started.wait(), 5)
        assert await other.cancel(job.id) == 1
        await asyncio.wait_for(ended.wait(), 10)


async def test_leases_are_renewed_while_a_handler_blocks_the_event_loop(url: str, caplog: pytest.LogCaptureFixture) -> None:
    engine, other = Engine(url, lease=1.5), Engine(url, lease=1.5)

    @engine.task()
    async def blocks() -> str:
        time.sleep(4)  # noqa: ASYNC251 - what must not cost the lease
        return "done"

    async with engine:
        job = await blocks.enqueue()
        reclaimed: list[int] = []

        async def rival() -> None:
            async with other:
                while not stop.is_set():
                    taken = await other.backend.reclaim(10, max_crashes=5, lease=1.5)
                    reclaimed.extend(r.id for r in taken)
                    await asyncio.sleep(0.1)

        stop = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(rival()))
        thread.start()
        with caplog.at_level(logging.WARNING, "qengine.lease"):
            await engine.drain()
        stop.set()
        thread.join()
        done = await engine.job(job.id)
        assert (done.status, done.attempts, done.crashes) == ("completed", 1, 0)
        assert reclaimed == []
        assert "blocks" in caplog.text


async def test_shutdown_lets_jobs_end_within_the_grace(url: str) -> None:
    engine = Engine(url)
    started = asyncio.Event()

    @engine.task()
    async def short() -> str:
        started.set()
        await asyncio.sleep(0.3)
        return "finished"

    async with engine:
        job = await short.enqueue()
        async with engine.worker(grace=10):
            await asyncio.wait_for(started.wait(), 5)
        assert (await engine.job(job.id)).result == "finished"


async def test_shutdown_puts_back_what_does_not_end_and_spends_no_attempt(url: str) -> None:
    engine = Engine(url)
    started = asyncio.Event()

    @engine.task()
    async def long() -> None:
        started.set()
        await asyncio.sleep(60)

    async with engine:
        running = await long.enqueue()
        async with engine.worker(grace=0.1, concurrency=1):
            await asyncio.wait_for(started.wait(), 5)
        back = await engine.job(running.id)
        assert (back.status, back.attempts, back.crashes, back.locked_by) == ("pending", 0, 0, None)
        assert back.rank is not None
        assert await engine.workers() == []


async def test_a_cancelled_run_worker_stops_gracefully(url: str) -> None:
    engine = Engine(url)
    started = asyncio.Event()

    @engine.task()
    async def short() -> str:
        started.set()
        await asyncio.sleep(0.3)
        return "finished"

    async with engine:
        job = await short.enqueue()
        running = asyncio.create_task(engine.run_worker())
        await asyncio.wait_for(started.wait(), 5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await engine.job(job.id)).status == "completed"


async def test_an_error_in_the_block_leaves_the_worker_block_as_it_is(url: str) -> None:
    engine = Engine(url)
    async with engine:
        with pytest.raises(ZeroDivisionError):
            async with engine.worker():
                raise ZeroDivisionError


async def test_a_loop_that_cannot_recover_ends_the_worker_with_its_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(url)
    monkeypatch.setattr("qengine.worker.supervisor.OUTAGE_WAIT", lambda state: 0.01)
    async with engine:

        async def broken(*args: object, **kwargs: object) -> int:
            raise RuntimeError("a bug")

        monkeypatch.setattr(engine.backend, "promote_due", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            async with engine.worker():
                await asyncio.sleep(20)


async def test_an_unknown_type_waits_is_shown_and_is_warned_about_once(url: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(url)

    @engine.task()
    async def known() -> None: ...

    async with engine:
        stranger = await engine.enqueue("stranger", {"n": 1})
        with caplog.at_level(logging.WARNING, "qengine.worker"):
            async with engine.worker():
                await (await known.enqueue()).wait(timeout=5)
                while "stranger" not in caplog.text:
                    await asyncio.sleep(0.02)
                stats = await engine.stats()
                assert dict(stats.unhandled) == {"stranger": 1}
                assert stats.workers == 1
        assert caplog.text.count("stranger") == 1
        assert (await engine.job(stranger.id)).status == "pending"


async def test_unknown_types_are_buried_when_the_engine_says_so(url: str) -> None:
    clock = FakeClock()
    engine = Engine(url, unknown_type_after=60, clock=clock)

    @engine.task()
    async def known() -> None: ...

    async with engine:
        stranger = await engine.enqueue("stranger")
        async with engine.worker():
            while not await engine.workers():
                await asyncio.sleep(0.02)
            assert await engine.backend.bury_unknown(60, 10) == 0
            clock.advance(25)
            await engine.backend.heartbeat((await engine.workers())[0])
            clock.advance(25)
            await engine.backend.heartbeat((await engine.workers())[0])
            clock.advance(25)
            assert await engine.backend.bury_unknown(60, 10) == 1
        dead = await engine.job(stranger.id)
        assert (dead.status, dead.dead_reason) == ("dead", "unknown_type")


async def test_a_job_that_was_not_started_in_time_is_dead(url: str) -> None:
    clock = FakeClock()
    engine = Engine(url, clock=clock)

    @engine.task()
    async def offer() -> None: ...

    async with engine:
        job = await offer.options(expires=60).enqueue()
        waiting = await offer.options(delay=30, expires=60).enqueue()
        in_time = await offer.options(expires=600).enqueue()
        clock.advance(61)
        await engine.drain()
        for late in (job, waiting):
            dead = await engine.job(late.id)
            assert (dead.status, dead.dead_reason, dead.attempts) == ("dead", "expired", 0)
        assert (await engine.job(in_time.id)).status == "completed"


async def test_a_job_goes_on_from_its_checkpoint(url: str) -> None:
    engine = Engine(url, retry=wait_fixed(0))
    pages: list[int] = []

    @engine.task()
    async def pull(ctx: JobContext) -> list[int]:
        for page in range(ctx.checkpointed or 0, 4):
            pages.append(page)
            if page == 2 and ctx.attempt == 1:
                raise ConnectionError("half way")
            await ctx.checkpoint(page + 1)
        return pages

    async with engine:
        job = await pull.enqueue()
        await engine.drain()
        assert await job.wait(timeout=5) == [0, 1, 2, 2, 3]


async def test_a_unique_key_gives_the_job_that_exists_and_says_so(url: str) -> None:
    engine = Engine(url)

    @engine.task()
    async def greet(name: str) -> None: ...

    async with engine:
        first = await greet.options(unique_key="k").enqueue(name="Ada")
        again = await greet.options(unique_key="k").enqueue(name="Bob")
        assert (first.existed, again.existed) == (False, True)
        assert (again.id, again.payload) == (first.id, {"name": "Ada"})
        await engine.drain()
        anew = await greet.options(unique_key="k").enqueue(name="Cy")
        assert anew.id != first.id
        assert not anew.existed


async def test_only_one_suspect_runs_at_a_time_and_innocents_go_on(url: str) -> None:
    engine = Engine(url, lease=1)
    now = peak = 0

    @engine.task()
    async def shaky() -> None:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0.05)
        now -= 1

    async with engine:
        jobs = await shaky.enqueue_many([{}] * 4)
        await _crash(engine, [job.id for job in jobs], times=2)
        assert {(await engine.job(job.id)).crashes for job in jobs} == {2}
        assert await engine.drain(concurrency=4) == 4
        assert peak == 1
        assert {(j.status, j.crashes) for j in await engine.jobs(type="shaky")} == {("completed", 0)}


async def _crash(engine: Engine, ids: list[int], times: int) -> None:
    """Claim and lose the lease, as a worker that is killed does."""
    from qengine.backends.protocol import Demand

    for n in range(times):
        claims = await engine.backend.claim(Demand(f"w{n}", {"shaky": 10}, 10, lease=0.01))
        assert sorted(c.id for c in claims) == sorted(ids)
        taken: set[int] = set()
        while taken != set(ids):
            taken |= {r.id for r in await engine.backend.reclaim(100, max_crashes=5, lease=0)}
            await asyncio.sleep(0.02)


async def test_options_that_cannot_work_are_refused(url: str) -> None:
    engine = Engine(url)
    async with engine:
        for wrong in ({"concurrency": 0}, {"queues": []}, {"queues": "default"}, {"grace": -1}, {"prefetch": -1}):
            with pytest.raises(ConfigurationError, match=next(iter(wrong))):
                await engine.run_worker(**wrong)  # type: ignore[arg-type]
    for wrong in ({"lease": 0}, {"max_attempts": 0}, {"retention": {"pending": 1}}, {"ageing": -1}, {"payload_limit": True}):
        with pytest.raises(ConfigurationError):
            Engine(url, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not open"):
        await engine.stats()


async def test_drain_fires_what_is_due_by_the_clock(url: str) -> None:
    clock = FakeClock(dt.datetime(2040, 1, 2, 12, 1, tzinfo=dt.UTC))
    engine = Engine(url, clock=clock)
    fired: list[str] = []

    @engine.cron("*/5 * * * *")
    @engine.task()
    async def planner() -> None:
        fired.append(clock.now().strftime("%H:%M"))

    async with engine:
        for _ in range(16):
            await engine.drain()
            clock.advance(60)
    assert fired == ["12:05", "12:10", "12:15"]


async def test_drain_takes_over_what_a_dead_worker_left(url: str) -> None:
    from qengine.backends.protocol import Demand

    clock = FakeClock()
    engine = Engine(url, clock=clock)

    @engine.task()
    async def step() -> None: ...

    async with engine:
        job = await step.enqueue()
        assert len(await engine.backend.claim(Demand("dead", {"step": 1}, 1, lease=60))) == 1
        assert await engine.drain() == 0
        clock.advance(61)
        assert await engine.drain() == 1
        after = await engine.job(job.id)
        assert (after.status, after.attempts, after.crashes) == ("completed", 1, 0)
