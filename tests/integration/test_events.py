"""Events of workers, on both databases."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from typing import Any

import pytest
from long_task import long_task
from tenacity import wait_fixed, wait_none

from qengine import Cancel, ConfigurationError, Discard, Engine, Event, JobContext, Snooze
from qengine.backends.protocol import Demand
from qengine.engine import hooks
from qengine.testing import FakeClock, faults

pytestmark = pytest.mark.anyio


class Heard:
    """What a hook was told, and a way to wait for it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._came = asyncio.Event()

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._came.set()

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    async def wait(self, *kinds: str) -> Event:
        """The first event of one of these kinds."""
        while not (found := [event for event in self.events if event.kind in kinds]):
            self._came.clear()
            await asyncio.wait_for(self._came.wait(), 30)
        return found[0]


async def test_each_end_is_an_event(url: str) -> None:
    engine = Engine(url, retry=wait_fixed(3600))
    heard = Heard()
    engine.on("completed", "failed", "dead", "cancelled", "snoozed")(heard)

    @engine.task("work", max_attempts=2)
    async def work(how: str) -> int:
        match how:
            case "snooze":
                raise Snooze(60)
            case "cancel":
                raise Cancel("no longer wanted")
            case "discard":
                raise Discard("hopeless")
            case "fail":
                raise ValueError("row 17 is missing")
        return 7

    async with engine:
        jobs = {how: (await work.enqueue(how=how)).id for how in ("return", "snooze", "cancel", "discard", "fail")}
        await engine.drain(concurrency=1)
        rows = {how: await engine.job(id) for how, id in jobs.items()}
        workers = {event.worker for event in heard.events}
    assert len(workers) == 1
    told = {event.kind: event for event in heard.events}
    assert {kind: event.job_id for kind, event in told.items()} == {
        "completed": jobs["return"],
        "snoozed": jobs["snooze"],
        "cancelled": jobs["cancel"],
        "dead": jobs["discard"],
        "failed": jobs["fail"],
    }
    assert {event.type for event in heard.events} == {"work"}
    assert {event.attempt for event in heard.events} == {1}
    assert told["dead"].dead_reason == "discarded"
    assert told["snoozed"].delay == 60
    assert told["failed"].delay == 3600
    assert (told["failed"].error, told["failed"].error_group) == ("ValueError: row 17 is missing", "ValueError: row * is missing")
    for event in heard.events:
        assert event.seconds is not None
        assert event.waited is not None
        assert 0 <= event.seconds < 30
        assert 0 <= event.waited < 30
    for how, row in rows.items():
        (event,) = (event for event in heard.events if event.job_id == jobs[how])
        assert row.started_at is not None
        assert row.updated_at is not None
        assert abs((event.at - row.updated_at).total_seconds()) < 5


async def test_the_events_of_one_hook_are_in_order_and_none_is_missing(url: str) -> None:
    engine = Engine(url)
    heard = Heard()

    @engine.task()
    async def step(n: int) -> None: ...

    engine.on("completed", heard)
    async with engine:
        jobs = await step.enqueue_many([{"n": n} for n in range(500)])
        await engine.drain(concurrency=1)
    assert [event.job_id for event in heard.events] == [job.id for job in jobs]
    assert engine.events_dropped == 0


async def test_a_completion_by_a_transaction_is_an_event_too(url: str) -> None:
    engine = Engine(url)
    heard = Heard()
    engine.on("completed", "lease_lost")(heard)

    @engine.task("moves")
    async def moves(ctx: JobContext) -> None:
        async with ctx.transaction():
            pass

    async with engine:
        job = await moves.enqueue()
        await engine.drain()
    assert [(event.kind, event.job_id) for event in heard.events] == [("completed", job.id)]


async def test_losing_a_lease_is_an_event(url: str) -> None:
    engine = Engine(url)
    heard = Heard()
    engine.on("lease_lost", heard)
    long, runs = long_task(engine)

    async with engine:
        job = await long.enqueue()
        async with engine.worker():
            await runs.wait()
            await engine.cancel(job.id)
            assert (await heard.wait("lease_lost")).job_id == job.id
            assert engine.tallies()[-1].lease_losses == 1


async def test_a_job_that_is_put_back_at_shutdown_is_an_event(url: str) -> None:
    engine = Engine(url)
    heard = Heard()
    engine.on("released", heard)
    long, runs = long_task(engine)

    async with engine:
        job = await long.enqueue()
        async with engine.worker(grace=0):
            await runs.wait()
        assert (await engine.job(job.id)).status == "pending"
    assert [event.job_id for event in heard.events] == [job.id]


async def test_a_crash_is_an_event_of_who_finds_it(url: str) -> None:
    clock = FakeClock()
    engine = Engine(url, clock=clock, lease=60, max_crashes=1)
    heard = Heard()
    engine.on("crashed", "dead", heard)

    @engine.task("doomed")
    async def doomed() -> None: ...

    async with engine:
        job = await doomed.enqueue()
        await engine.backend.claim(Demand("the one that died", {"doomed": 1}, 1, 60))
        clock.advance(61)
        assert await engine.drain() == 0
        (tally,) = engine.tallies()
        assert (tally.types["doomed"].reclaimed, tally.types["doomed"].crash_loops) == (1, 1)
    crashed, dead = heard.events
    assert (crashed.kind, crashed.job_id, crashed.crashes, crashed.worker) == ("crashed", job.id, 1, "the one that died")
    assert (dead.kind, dead.job_id, dead.dead_reason) == ("dead", job.id, "crash_loop")


async def test_a_type_that_nobody_handles_is_an_event(url: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(url)
    heard = Heard()
    engine.on("unhandled_type", heard)

    @engine.task()
    async def known() -> None: ...

    async with engine:
        await engine.enqueue("somebody_elses")
        async with engine.worker():
            event = await heard.wait("unhandled_type")
    assert (event.type, event.job_id) == ("somebody_elses", None)
    (record,) = (record for record in caplog.records if "no live worker" in record.getMessage())
    assert record.type == "somebody_elses"


# -- new groups of errors


async def test_an_error_unlike_all_others_is_told_once(url: str) -> None:
    engine = Engine(url, retry=wait_none(), max_attempts=2)
    heard = Heard()

    @engine.task("fragile")
    async def fragile(n: int, what: str = "row") -> None:
        raise ValueError(f"no {what} {n}")

    async with engine:  # nobody listens yet
        await fragile.enqueue(n=1, what="stone")
        await engine.drain()
    engine.on("new_error_group", heard)
    async with engine:
        await fragile.enqueue(n=2, what="stone")
        await fragile.enqueue_many([{"n": n} for n in range(20)])
        await engine.drain()
        await fragile.enqueue(n=99)
        await fragile.enqueue(n=99, what="leaf")
        await engine.drain()
    assert [event.error_group for event in heard.events] == ["ValueError: no row *", "ValueError: no leaf *"]
    assert {(event.type, event.attempt) for event in heard.events} == {("fragile", 1)}


async def test_what_is_known_is_looked_up_anew_when_the_engine_is_opened_again(url: str) -> None:
    engine = Engine(url, max_attempts=1)
    heard = Heard()
    engine.on("new_error_group", heard)

    @engine.task("fragile")
    async def fragile() -> None:
        raise ValueError("no row")

    async with engine:
        job = await fragile.enqueue()
        await engine.drain()
        await engine.delete(job.id)
    async with engine:
        await fragile.enqueue()
        await engine.drain()
    async with engine:
        await fragile.enqueue()
        await engine.drain()
    assert len(heard.events) == 2  # not by the third: the second is still dead, and so it is known


async def test_a_hook_that_is_added_while_a_worker_runs_hears_of_new_groups(url: str) -> None:
    engine = Engine(url, max_attempts=1)
    heard = Heard()

    @engine.task("fragile")
    async def fragile(what: str) -> None:
        raise ValueError(f"no {what}")

    async with engine, engine.worker():
        old = await fragile.enqueue(what="stone")
        while (await engine.job(old.id)).status != "dead":
            await asyncio.sleep(0.01)
        engine.on("new_error_group", heard)
        engine.on("new_error_group", Heard())
        assert engine._new_groups is not None
        assert engine._new_groups._known is not None
        await engine._new_groups._known  # what fails before it has looked is known
        await fragile.enqueue(what="leaf")
        await fragile.enqueue(what="stone")
        assert (await heard.wait("new_error_group")).error == "ValueError: no leaf"
    assert len(heard.events) == 1


async def test_groups_are_looked_up_again_when_the_database_was_away(url: str) -> None:
    engine = Engine(url, max_attempts=1)
    heard = Heard()
    engine.on("new_error_group", heard)

    @engine.task("fragile")
    async def fragile() -> None:
        raise ValueError("no row")

    with faults.injected(engine, faults.fail("failures", times=2)):
        async with engine:
            await fragile.enqueue()
            async with engine.worker():
                await heard.wait("new_error_group")
    assert len(heard.events) == 1


async def test_a_worker_that_ends_before_groups_were_looked_up_ends_all_the_same(url: str) -> None:
    engine = Engine(url)
    engine.on("new_error_group", Heard())
    with faults.injected(engine, faults.hang("failures", seconds=3600)):
        async with engine:
            await engine.drain()


async def test_groups_without_end_are_not_told_of_without_end(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "GROUPS", 2)
    engine = Engine(url, max_attempts=1)
    heard = Heard()
    engine.on("new_error_group", heard)

    @engine.task("fragile")
    async def fragile(what: str) -> None:
        raise ValueError(f"no {what}")

    async with engine:
        for what in "abcdefg":
            await fragile.enqueue(what=what)
        await engine.drain(concurrency=1)
    assert [event.error for event in heard.events] == [f"ValueError: no {what}" for what in "abcd"]
    assert caplog.text.count("there are more than 4 error groups") == 1


async def test_when_nobody_listens_any_more_nothing_is_looked_up(url: str) -> None:
    engine = Engine(url, max_attempts=1)
    heard = Heard()
    engine.on("new_error_group", heard)
    assert engine.off(heard)

    @engine.task("fragile")
    async def fragile() -> None:
        raise ValueError("no row")

    async with engine:
        await fragile.enqueue()
        await engine.drain()
    assert heard.events == []


# -- what hooks cannot do


async def test_hooks_that_fail_or_hang_harm_no_job(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qengine.events.PATIENCE", 0.05)
    engine = Engine(url)
    heard = Heard()

    @engine.on("completed")
    async def hangs(event: Event) -> None:
        await asyncio.Event().wait()

    @engine.on("completed")
    def fails(event: Event) -> None:
        raise ValueError("broken hook")

    engine.on("completed", heard)

    @engine.task()
    async def step(n: int) -> None: ...

    async with engine:
        await step.enqueue_many([{"n": n} for n in range(100)])
        assert await engine.drain() == 100
        assert (await engine.stats()).by_status["completed"] == 100
    assert len(heard.events) == 100


async def test_a_hook_can_use_the_engine_until_it_is_closed(url: str) -> None:
    engine = Engine(url, max_attempts=1)

    @engine.task()
    async def fragile() -> None:
        raise ValueError("no row")

    @engine.on("dead")
    async def alert(event: Event) -> None:
        await asyncio.sleep(0.05)
        await engine.enqueue("alert", {"job": event.job_id})

    async with engine:
        job = await fragile.enqueue()
        await engine.drain()
    async with engine:
        (alerts,) = await engine.jobs(type="alert")
    assert alerts.payload == {"job": job.id}


def test_a_kind_that_does_not_exist_is_refused(sqlite_url: str) -> None:
    engine = Engine(sqlite_url)
    with pytest.raises(ConfigurationError, match="'died'"):
        engine.on("died", print)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="name one kind"):
        engine.on()(print)  # type: ignore[call-overload]


# -- the log


async def test_records_about_a_job_say_which(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "qengine")
    engine = Engine(url)
    runs: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    @engine.task("after")
    async def after(ctx: JobContext) -> None:
        async with ctx.transaction():
            pass
        raise ValueError("too late")

    @engine.task("long")
    async def long() -> None:
        runs["long"].set()
        await asyncio.sleep(3600)

    async with engine:
        first = await after.enqueue()
        second = await long.enqueue()
        async with engine.worker() as worker:
            await runs["long"].wait()
            await engine.cancel(second.id)
            while "its handler is cancelled" not in caplog.text or "after its transaction" not in caplog.text:
                await asyncio.sleep(0.01)
    about: Any = {record.job_id: record for record in caplog.records if hasattr(record, "job_id")}
    assert set(about) == {first.id, second.id}
    for job_id, type in ((first.id, "after"), (second.id, "long")):
        record = about[job_id]
        assert (record.type, record.attempt, record.worker) == (type, 1, worker.id)
    assert Counter(record.job_id for record in caplog.records if hasattr(record, "job_id")) == {first.id: 1, second.id: 1}
