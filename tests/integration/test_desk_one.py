"""Acting on one job, on types and queues, and on schedules; and looking closely."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from beside import Beside

from qengine import ConfigurationError, Engine, JobNotFound, PayloadError, Schedule
from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import Demand
from qengine.engine import looking
from qengine.job import Job, NewJob
from qengine.testing import FakeClock

pytestmark = pytest.mark.anyio

NAIVE = dt.datetime(2026, 1, 1)


async def trail(engine: Engine, **how: Any) -> list[tuple[str, Any, int | None, int | None]]:
    return [(one.action, one.detail, one.job_id, one.jobs) for one in await engine.audit_trail(**how)]


# -- one job


async def test_a_poison_record_is_mended_and_requeued(url: str) -> None:
    engine = Engine(url, max_attempts=1)
    ran: list[tuple[str, dt.date | None]] = []

    @engine.task()
    async def send(to: str, on: dt.date | None = None) -> None:
        if "@" not in to:
            raise ValueError(f"{to} is no address")
        ran.append((to, on))

    async with engine:
        job = await send.enqueue(to="anna")
        await engine.drain()
        mended = await engine.amend(job.id, payload={"to": "anna@example.com", "on": "2026-05-04"}, by="bert")
        assert (mended.status, mended.payload) == ("dead", {"to": "anna@example.com", "on": "2026-05-04"})
        assert await engine.requeue(job.id) == 1
        await engine.drain()
        assert ran == [("anna@example.com", dt.date(2026, 5, 4))]
        before = {"before": {"payload": {"to": "anna"}, "priority": 5}}
        assert await trail(engine, job_id=job.id) == [
            ("requeue", {"ids": [job.id]}, job.id, 1),
            ("amend", before, job.id, 1),
        ]
        assert [one.actor for one in await engine.audit_trail(limit=1, job_id=job.id, before=2)] == ["bert"]


async def test_a_payload_that_does_not_fit_is_refused(url: str) -> None:
    engine = Engine(url, payload_limit=200)

    @engine.task()
    async def send(to: str, copies: int = 1) -> None: ...

    async with engine:
        job = await send.options(delay=60).enqueue(to="anna")
        stranger = await engine.enqueue("of another service", {"x": 1})
        for payload, parameter in (({}, "to"), ({"to": 1}, "to"), ({"to": "a", "copy": 2}, "copy"), ({"to": "a" * 300}, "to")):
            with pytest.raises(PayloadError) as refused:
                await engine.amend(job.id, payload=payload)
            assert refused.value.parameter == parameter
        with pytest.raises(PayloadError, match="of another service"):
            await engine.amend(stranger.id, payload={"x": object()})
        assert await trail(engine) == []
        assert (await engine.amend(stranger.id, payload={"y": [1, None]})).payload == {"y": [1, None]}
        assert (await engine.job(job.id)).payload == {"to": "anna"}


async def test_priority_and_time(url: str) -> None:
    clock = FakeClock()
    engine = Engine(url, clock=clock)
    ran: list[int] = []

    @engine.task()
    async def step(n: int) -> None:
        ran.append(n)

    async with engine:
        jobs = [await step.options(delay=600).enqueue(n=n) for n in range(3)]
        first = await engine.amend(jobs[2].id, priority=1, due_now=True)
        assert (first.priority, first.scheduled_for, first.rank is not None) == (1, clock.now(), True)
        await engine.amend(jobs[0].id, due_now=True)
        await engine.drain(concurrency=1)
        assert ran == [2, 0]
        before = {"payload": {"n": 2}, "priority": 5}
        assert await trail(engine, job_id=jobs[2].id) == [
            ("amend", {"before": before, "priority": 1, "due_now": True}, jobs[2].id, 1)
        ]


async def test_what_cannot_be_amended(url: str) -> None:
    async with Engine(url) as engine:
        [answer] = await engine.backend.enqueue([NewJob("a")])
        with pytest.raises(ConfigurationError, match="changes nothing"):
            await engine.amend(answer.id)
        with pytest.raises(ConfigurationError, match="priority=11"):
            await engine.amend(answer.id, priority=11)
        with pytest.raises(JobNotFound):
            await engine.amend(answer.id + 1, due_now=True)
        await engine.cancel(answer.id)
        with pytest.raises(ConfigurationError, match="requeue it first"):
            await engine.amend(answer.id, payload={}, priority=1)
        await engine.requeue(answer.id)
        [claim] = await engine.backend.claim(Demand("w", {"a": 1}, 1, 60.0))
        with pytest.raises(ConfigurationError, match="is processing; only"):
            await engine.amend(answer.id, payload={})
        assert [one.action for one in await engine.audit_trail()] == ["requeue", "cancel"]
        assert claim.id == answer.id


async def test_others_amend_the_job_at_the_same_time(url: str) -> None:
    """Every payload that was replaced is on record, whoever replaced it."""

    class Amending(Beside):
        async def amend(self, job_id: int, **how: Any) -> Job[Any] | None:
            await self.real.amend(job_id, payload='{"by": "others"}')
            return await self.real.amend(job_id, **how)

    engine = Engine(url)
    with engine.wrapped(Amending):  # type: ignore[arg-type]
        async with engine:
            job = await engine.enqueue("a", {"n": 1})
            assert (await engine.amend(job.id, payload={"n": 2})).payload == {"n": 2}
            replaced = [detail["before"]["payload"] for _, detail, _, _ in await trail(engine, job_id=job.id)]
            assert replaced == [{"by": "others"}, {"n": 1}]


async def test_others_end_the_job_at_the_same_time(url: str) -> None:
    ways = {"cancel": (ConfigurationError, "requeue it first"), "delete": (JobNotFound, "no job")}
    left = list(ways)

    class Ending(Beside):
        async def amend(self, job_id: int, **how: Any) -> Job[Any] | None:
            await getattr(self.real, left.pop(0))(JobFilter(ids=[job_id]), 1)
            return await self.real.amend(job_id, **how)

    engine = Engine(url)
    with engine.wrapped(Ending):  # type: ignore[arg-type]
        async with engine:
            for error, text in ways.values():
                job = await engine.enqueue("a")
                with pytest.raises(error, match=text):
                    await engine.amend(job.id, priority=1)
                assert [(action, jobs) for action, _, _, jobs in await trail(engine, job_id=job.id)] == [("amend", 0)]


async def test_a_job_that_comes_back_at_the_same_time(url: str) -> None:
    class Fleeting(Beside):
        async def amend(self, job_id: int, **how: Any) -> Job[Any] | None:
            return None

    engine = Engine(url)
    with engine.wrapped(Fleeting):  # type: ignore[arg-type]
        async with engine:
            job = await engine.enqueue("a")
            with pytest.raises(ConfigurationError, match="try again"):
                await engine.amend(job.id, priority=1)


# -- types, queues and schedules


async def test_pauses_are_on_record(url: str) -> None:
    async with Engine(url) as engine:
        until = dt.datetime(2090, 1, 2, tzinfo=dt.UTC)
        await engine.pause(type="a", by="anna")
        await engine.pause(queue="q", until=30)
        await engine.pause(queue="r", until=until)
        assert await engine.resume(type="a") is True
        assert await engine.resume(type="a") is False
        assert await trail(engine) == [
            ("resume", {"type": "a"}, None, 0),
            ("resume", {"type": "a"}, None, 0),
            ("pause", {"queue": "r", "until": until.isoformat()}, None, 0),
            ("pause", {"queue": "q", "until": 30}, None, 0),
            ("pause", {"type": "a"}, None, 0),
        ]
        with pytest.raises(ConfigurationError, match="time zone"):
            await engine.pause(type="a", until=NAIVE)


async def test_schedules_by_hand(url: str) -> None:
    clock = FakeClock()
    engine = Engine(url, clock=clock)
    ran: list[str] = []

    @engine.cron("0 6 * * *")
    @engine.task(queue="planning", priority=2, max_attempts=7)
    async def plan() -> None:
        ran.append("plan")

    async with engine:
        await engine.drain()
        [schedule] = await engine.schedules()
        await engine.pause_schedule(schedule.name, by="anna")
        assert (await engine.schedules())[0].paused
        clock.advance(3 * 86_400)
        await engine.drain()
        assert ran == []
        job = await engine.fire_now(schedule.name)
        assert (job.type, job.queue, job.priority, job.max_attempts) == ("plan", "planning", 2, 7)
        await engine.drain()
        assert ran == ["plan"]
        await engine.resume_schedule(schedule.name)
        [schedule] = await engine.schedules()
        assert (schedule.paused, schedule.next_fire > clock.now()) == (False, True)
        name = {"schedule": schedule.name}
        assert await trail(engine) == [
            ("resume_schedule", name, None, 0),
            ("fire", name | {"type": "plan"}, None, 1),
            ("pause_schedule", name, None, 0),
        ]
        for act in (engine.pause_schedule, engine.resume_schedule, engine.fire_now):
            with pytest.raises(ConfigurationError, match="no schedule 'nothing'"):
                await act("nothing")


async def test_a_schedule_of_another_service_is_fired_as_its_jobs_are(url: str) -> None:
    async with Engine(url) as engine:
        await engine.backend.put_schedules([Schedule("s", "theirs", "0 6 * * *", "UTC", "one", dt.datetime.now(dt.UTC))])
        job = await engine.fire_now("s")
        assert (job.queue, job.priority, job.max_attempts) == ("default", 5, 3)
        await engine.backend.enqueue([NewJob("theirs", queue="their own", priority=9, max_attempts=1)])
        job = await engine.fire_now("s")
        assert (job.queue, job.priority, job.max_attempts) == ("their own", 9, 1)


# -- looking


async def test_a_search_goes_on_until_the_page_is_full(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "TEXT_WINDOW", 4)
    monkeypatch.setattr(looking, "SEARCH_TIME", 600.0)
    async with Engine(url) as engine:
        await engine.backend.enqueue([NewJob("a", f'{{"n": "x{n}x"}}') for n in range(200)])
        page = await engine.search(text="x1x")
        assert ([job.payload for job in page.jobs], page.after) == ([{"n": "x1x"}], None)
        page = await engine.search(text="X1", limit=12)
        assert [job.payload["n"] for job in page.jobs] == [f"x{n}x" for n in range(199, 187, -1)]
        assert page.after == page.jobs[-1].id
        rest = await engine.search(text="X1", limit=200, after=page.after)
        assert (len(rest.jobs), rest.after) == (111 - 12, None)
        [newest] = (await engine.search(limit=1)).jobs
        await engine.cancel(newest.id)
        with pytest.raises(Exception, match="is cancelled"):
            await newest.wait(5)


async def test_a_search_stops_when_its_time_is_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "TEXT_WINDOW", 4)
    monkeypatch.setattr(looking, "SEARCH_TIME", 0.0)
    async with Engine(url) as engine:
        await engine.backend.enqueue([NewJob("a", f'{{"n": "x{n}x"}}') for n in range(20)])
        page, pages = await engine.search(text="x1x"), 1
        while page.after is not None and not page.jobs:
            page, pages = await engine.search(text="x1x", after=page.after), pages + 1
        assert ([job.payload for job in page.jobs], pages) == ([{"n": "x1x"}], 5)


async def test_what_is_seen_of_a_queue(url: str) -> None:
    engine = Engine(url, max_attempts=1)

    @engine.task()
    async def picky(n: int) -> int:
        if n:
            raise ValueError(f"no {n}")
        return n

    async with engine:
        began = await engine.backend.now()
        seen = await engine.last_error_row()
        for n in range(3):
            await picky.enqueue(n=n)
        assert set(await engine.oldest_due()) == {"picky"}
        await engine.drain(concurrency=1)
        ended = await engine.ended_since(began)
        assert [job.status for job in ended] == ["completed", "dead", "dead"]
        assert await ended[0].wait(1) == 0
        assert [(kind, error.error) for _, kind, error in await engine.errors_since(seen)] == [
            ("picky", "ValueError: no 1"),
            ("picky", "ValueError: no 2"),
        ]
        assert sum(count for _, count in await engine.dead_by_day(began, type="picky")) == 2
        assert await engine.running() == []
        assert {finding.check: finding.level for finding in await engine.diagnose()}["schema"] == "ok"
        assert sum(slot.completed for slot in await engine.activity(60, began - dt.timedelta(minutes=1))) == 1


async def test_what_cannot_be_asked(url: str) -> None:
    async with Engine(url) as engine:
        for asked in (engine.ended_since(NAIVE), engine.dead_by_day(NAIVE), engine.activity(60, NAIVE)):
            with pytest.raises(ConfigurationError, match="time zone"):
                await asked
        with pytest.raises(ConfigurationError, match="60 or 900"):
            await engine.activity(61, dt.datetime.now(dt.UTC))
        for asked in (engine.running(0), engine.search(limit=-1), engine.audit_trail(True), engine.errors_since(0, 0)):
            with pytest.raises(ConfigurationError, match="limit="):
                await asked
        with pytest.raises(ConfigurationError, match="no job id"):
            await engine.audit_trail(job_id="7")  # type: ignore[arg-type]


# -- the schema


async def test_a_closed_engine_migrates(url: str) -> None:
    engine = Engine(url, migrate=False)
    steps = await engine.migrate()
    assert len(steps) >= 2
    assert await engine.migrate() == []
    sql = engine.migration_sql()
    assert all(step in sql for step in steps)
    async with engine:
        assert await engine.migrate() == []
        assert await engine.audit_trail() == []
