"""What an application does with an engine, beside running handlers."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tenacity import wait_none

from qengine import (
    BackendUnavailable,
    ConfigurationError,
    Discard,
    Engine,
    JobFailed,
    JobNotFound,
    PayloadError,
    Status,
)
from qengine.testing import FakeClock
from qengine.worker.cron import CronLoop
from qengine.worker.maintenance import Retention
from qengine.worker.options import Rules

pytestmark = pytest.mark.anyio


@dataclasses.dataclass
class Address:
    street: str
    since: dt.date


@asynccontextmanager
async def application(url: str) -> AsyncIterator[Any]:
    """A connection of the application's own, of the database's driver."""
    if url.startswith("sqlite"):
        import aiosqlite

        async with aiosqlite.connect(url.removeprefix("sqlite:///"), isolation_level=None) as conn:
            yield conn
    else:
        import asyncpg

        conn = await asyncpg.connect(url)
        try:
            yield conn
        finally:
            await conn.close()


async def test_waiting_has_an_end(url: str) -> None:
    engine = Engine(url)

    @engine.task()
    async def never() -> None: ...

    async with engine:
        job = await never.enqueue()
        with pytest.raises(TimeoutError, match=f"job {job.id}"):
            await job.wait(timeout=0.1)
        assert (await engine.job(job.id)).status == "pending"
        waiting = asyncio.create_task(job.wait(timeout=10))
        await asyncio.sleep(0.05)
        await engine.delete(job.id)
        with pytest.raises(JobNotFound):
            await waiting
        with pytest.raises(JobNotFound, match="12345"):
            await engine.job(12345)


async def test_a_cancelled_job_ends_the_wait_with_job_failed(url: str) -> None:
    engine = Engine(url)

    @engine.task()
    async def never() -> None: ...

    async with engine:
        job = await never.enqueue()
        await engine.cancel(job.id)
        with pytest.raises(JobFailed, match="cancelled") as failed:
            await job.wait(timeout=5)
        assert getattr(failed.value.job, "status", None) == "cancelled"


async def test_a_result_comes_back_in_the_type_of_the_annotation(url: str) -> None:
    engine = Engine(url)

    @engine.task()
    async def move(to: Address) -> Address:
        return dataclasses.replace(to, street=to.street.upper())

    async with engine:
        job = await move.enqueue(Address("elm", dt.date(2026, 1, 2)))
        await engine.drain()
        assert await job.wait() == Address("ELM", dt.date(2026, 1, 2))
        assert (await engine.job(job.id)).payload == {"to": {"street": "elm", "since": "2026-01-02"}}


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        ({}, "n"),
        ({"n": 1, "too": 2}, "too"),
        ({"n": "1"}, "n"),
        ({"n": True}, "n"),
        ({"n": 1, "x": math.nan}, "x"),
        ({"n": 1, "anything": object()}, "anything"),
        ({"n": 1, "anything": "a\0b"}, "anything"),
        ({"n": 1, "anything": "x" * 2000}, "anything"),
    ],
    ids=["missing", "unknown", "type", "bool", "nan", "object", "nul", "size"],
)
async def test_bad_arguments_are_refused_and_nothing_is_stored(url: str, arguments: dict[str, Any], parameter: str) -> None:
    engine = Engine(url, payload_limit=1000)

    @engine.task()
    async def strict(n: int, x: float = 0.0, anything: Any = None) -> None: ...

    async with engine:
        with pytest.raises(PayloadError, match=parameter) as refused:
            await strict.enqueue(**arguments)
        assert refused.value.parameter == parameter
        with pytest.raises(PayloadError, match=parameter):
            await strict.enqueue_many([{"n": 1}, arguments])
        assert await engine.jobs() == []


async def test_concurrent_enqueues_share_commits_and_all_are_durable(url: str) -> None:
    engine, reader = Engine(url), Engine(url)

    @engine.task()
    async def step(n: int) -> None: ...

    async with engine, reader:
        jobs = await asyncio.gather(*(step.enqueue(n=n) for n in range(200)))
        stored = {job.id: job.payload for job in await reader.jobs(limit=1000)}
        assert stored == {job.id: {"n": n} for n, job in enumerate(jobs)}


async def test_a_cancelled_caller_takes_nobody_else_down(url: str) -> None:
    engine = Engine(url)

    @engine.task()
    async def step(n: int) -> None: ...

    async with engine:
        tasks = [asyncio.create_task(step.enqueue(n=n)) for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        kept = [job for job in answers if not isinstance(job, BaseException)]
        assert len(kept) >= 10
        stored = {job.id for job in await engine.jobs(limit=100)}
        assert {job.id for job in kept} <= stored


async def test_enqueueing_in_the_callers_transaction(url: str) -> None:
    engine = Engine(url)

    @engine.task()
    async def step(n: int) -> int:
        return n

    async with engine, application(url) as conn, engine.worker():
        await conn.execute("BEGIN")
        lost = await step.options(conn=conn).enqueue(n=1)
        await conn.execute("ROLLBACK")
        await conn.execute("BEGIN")
        kept = await step.options(conn=conn, unique_key="k").enqueue(n=2)
        many = await step.options(conn=conn).enqueue_many([{"n": 3}, {"n": 4}])
        named = await engine.enqueue("step", {"n": 5}, conn=conn)
        await conn.execute("COMMIT")
        assert [await job.wait(timeout=10) for job in (kept, *many, named)] == [2, 3, 4, 5]
        assert len(await engine.jobs()) == 4
        assert lost.type == "step"
        with pytest.raises(ConfigurationError, match="conn"):
            await step.options(conn=object()).enqueue(n=6)


async def test_dead_letters_are_found_grouped_requeued_and_deleted(url: str) -> None:
    engine = Engine(url, max_attempts=1)
    mended = False

    @engine.task()
    async def picky(n: int) -> int:
        if not mended:
            raise ValueError(f"no prospect {n}") if n < 5 else Discard("hopeless")
        return n

    async with engine:
        jobs = await picky.enqueue_many([{"n": n} for n in range(8)])
        await engine.drain()
        groups = {group.error: group for group in await engine.failures()}
        assert {error: group.count for error, group in groups.items()} == {"ValueError: no prospect *": 5, "Discard: hopeless": 3}
        group = groups["ValueError: no prospect *"]
        assert (group.type, group.dead) == ("picky", 5)
        assert group.first <= group.last
        assert (await engine.job(group.sample)).error_group == group.error

        mended = True
        assert await engine.requeue(jobs[0].id) == 1
        assert await engine.requeue([jobs[1].id, jobs[2].id]) == 2
        assert await engine.requeue(error_group="ValueError: no prospect *") == 2
        assert await engine.requeue(type="picky", status="dead") == 3
        assert await engine.requeue(type="picky") == 0
        await engine.drain()
        ended = await engine.jobs(status=[Status.COMPLETED])
        assert [job.result for job in ended] == list(range(8))
        assert [e.error for e in await engine.errors(jobs[0].id)] == ["ValueError: no prospect 0"]
        assert await engine.delete(status="completed") == 8
        assert await engine.jobs() == []


async def test_a_selection_that_would_touch_everything_is_refused(url: str) -> None:
    async with Engine(url) as engine:
        for act in (engine.requeue, engine.cancel, engine.delete):
            with pytest.raises(ConfigurationError, match="every job"):
                await act()
        with pytest.raises(ConfigurationError, match="no job id"):
            await engine.job("7")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="statuses are"):
            await engine.jobs(status="done")
        with pytest.raises(ConfigurationError, match="either"):
            await engine.pause()
        with pytest.raises(ConfigurationError, match="limit"):
            await engine.jobs(limit=0)
        with pytest.raises(ConfigurationError, match="time zone"):
            await engine.pause(type="a", until=dt.datetime(2026, 1, 1))


async def test_a_paused_queue_waits_and_goes_on(url: str) -> None:
    engine = Engine(url)

    @engine.task(queue="mail")
    async def step() -> None: ...

    async with engine:
        await step.enqueue()
        await engine.pause(queue="mail")
        assert await engine.drain() == 0
        assert await engine.resume(queue="mail") is True
        assert await engine.resume(queue="mail") is False
        assert await engine.drain() == 1


async def test_workers_serve_the_queues_and_types_they_are_told_to(url: str) -> None:
    engine = Engine(url)

    @engine.task(queue="mail")
    async def mail() -> None: ...

    @engine.task()
    async def other() -> None: ...

    async with engine:
        await mail.enqueue_many([{}] * 3)
        await other.enqueue_many([{}] * 2)
        assert await engine.drain(queues=["mail"]) == 3
        assert await engine.drain(types=["mail"]) == 0
        assert await engine.drain() == 2
        with pytest.raises(LookupError, match="nobody"):
            await engine.drain(types=["nobody"])


async def test_ended_jobs_are_deleted_when_their_time_has_come(url: str) -> None:
    clock = FakeClock()
    engine = Engine(url, clock=clock, max_attempts=1, retention={"completed": 100, "dead": None})

    @engine.task()
    async def step(fail: bool) -> None:
        if fail:
            raise ValueError

    async with engine:
        await step.enqueue_many([{"fail": False}, {"fail": True}])
        await engine.drain()
        retention = asyncio.create_task(Retention(engine.backend, Rules(retention={Status.COMPLETED: 100.0})).run())
        await asyncio.sleep(0.2)
        assert len(await engine.jobs()) == 2
        retention.cancel()
        clock.advance(101)
        retention = asyncio.create_task(Retention(engine.backend, Rules(retention={Status.COMPLETED: 100.0})).run())
        while len(await engine.jobs()) > 1:
            await asyncio.sleep(0.02)
        retention.cancel()
        assert [job.status for job in await engine.jobs()] == ["dead"]


@pytest.mark.parametrize(("catch_up", "fires"), [("skip", 0), ("one", 1), ("all", 4)])
async def test_missed_fires_are_caught_up_as_the_schedule_says(url: str, catch_up: Any, fires: int) -> None:
    clock = FakeClock(dt.datetime(2040, 1, 2, 12, 30, tzinfo=dt.UTC))
    engine = Engine(url, clock=clock)

    @engine.cron("0 * * * *", catch_up=catch_up)
    @engine.task()
    async def hourly() -> None: ...

    async with engine:
        loops = [CronLoop(engine.backend, engine.registry, engine.registry.names) for _ in range(2)]
        for loop in loops:
            await loop.round()
        assert await engine.jobs() == []
        clock.advance(4 * 3600)  # 16:30: the fires of 13, 14, 15 and 16 o'clock were missed
        for loop in loops:
            await loop.round()
        jobs = await engine.jobs()
        hours = [job.scheduled_for.hour for job in jobs if job.scheduled_for is not None]
        assert hours == [13, 14, 15, 16][4 - fires :]
        clock.advance(1800)  # 17:00 sharp: a fire that was not missed
        for loop in loops:
            await loop.round()
        assert len(await engine.jobs()) == fires + 1
        [schedule] = await engine.schedules()
        assert schedule.next_fire == dt.datetime(2040, 1, 2, 18, 0, tzinfo=dt.UTC)


async def test_an_engine_can_be_opened_again_and_rebound(url: str, tmp_path: Any) -> None:
    engine = Engine(url)

    @engine.task()
    async def step() -> int:
        return 1

    async with engine:
        with pytest.raises(ConfigurationError, match="open already"):
            await engine.open()
        with pytest.raises(ConfigurationError, match="rebind"), engine.rebound(url):
            pass
        await step.enqueue()
    with pytest.raises(ConfigurationError, match="not open"):
        await step.enqueue()
    with engine.rebound(f"sqlite:///{tmp_path / 'other.db'}"):
        async with engine:
            await step.enqueue()
            assert await engine.drain() == 1
    async with engine:
        assert len(await engine.jobs()) == 1


async def test_what_reads_as_no_url_is_refused_at_once() -> None:
    for wrong in ("", "app.db", "mysql://host/db", "sqlite://", "sqlite:///:memory:", None):
        with pytest.raises(ConfigurationError):
            Engine(wrong)  # type: ignore[arg-type]


async def test_opening_without_migrating_asks_for_the_migration(url: str) -> None:
    from qengine import SchemaError

    with pytest.raises(SchemaError, match="qengine migrate"):
        await Engine(url, migrate=False).open()
    async with Engine(url):
        pass
    async with Engine(url, migrate=False) as engine:
        assert await engine.jobs() == []


async def test_enqueueing_while_the_database_is_away_says_so(url: str) -> None:
    engine = Engine(url)

    @engine.task(retry=wait_none())
    async def step() -> None: ...

    async with engine:
        backend = engine.backend
        await backend.close()
        with pytest.raises(BackendUnavailable):
            await step.enqueue()


async def test_callers_that_share_a_commit_share_its_failure(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(url)

    @engine.task()
    async def step(n: int) -> None: ...

    async with engine:
        began, broken = asyncio.Event(), asyncio.Event()

        async def fails(jobs: object, conn: object = None) -> object:
            began.set()
            await broken.wait()
            raise BackendUnavailable("gone")

        monkeypatch.setattr(engine.backend, "enqueue", fails)
        callers = [asyncio.create_task(step.enqueue(n=n)) for n in range(6)]
        await began.wait()
        callers[3].cancel()
        broken.set()
        answers = await asyncio.gather(*callers, return_exceptions=True)
        assert [type(answer) for answer in answers] == [
            asyncio.CancelledError if n == 3 else BackendUnavailable for n in range(6)
        ]
        monkeypatch.undo()
        await step.enqueue(n=7)  # the next one is written as if nothing had been


async def test_closing_waits_for_what_was_handed_over(url: str) -> None:
    engine = Engine(url)

    @engine.task()
    async def step(n: int) -> None: ...

    await engine.open()
    callers = [asyncio.create_task(step.enqueue(n=n)) for n in range(50)]
    first = await callers[0]
    await engine.close()
    answers = await asyncio.gather(*callers)
    async with engine:
        assert {job.id for job in await engine.jobs()} == {job.id for job in answers}
        assert first.id in {job.id for job in answers}
