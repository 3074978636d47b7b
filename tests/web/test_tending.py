"""Schedules, workers, pauses and the audit trail."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest
from queue_on_show import dead_mails
from visitor import Visitor

from qengine import AuditEntry, Engine, JobContext, Schedule
from qengine.backends.protocol import Demand, WorkerInfo
from qengine.testing import FakeClock
from qengine.web import audit, dashboard, workers
from qengine.web.schedules import MOST_MISSED, planned

pytestmark = pytest.mark.anyio

NOON = dt.datetime(2030, 1, 31, 12, 0, tzinfo=dt.UTC)


def schedule(cron: str, next_fire: dt.datetime, paused: bool = False, tz: str = "UTC") -> Schedule:
    return Schedule("a schedule", "nightly", cron, tz, "one", next_fire, paused=paused)


async def test_schedules_are_paused_resumed_and_fired(queue: Engine, visitor: Visitor) -> None:
    assert "No worker has declared" in (await visitor.visit("/schedules")).text
    await queue.drain()
    page = await visitor.visit("/schedules")
    assert "0 3 * * * UTC in " in page.text
    page = await visitor.press(page, "Pause")
    assert "nightly:0 3 * * * is paused." in page.text
    assert (await queue.schedules())[0].paused
    assert "not while it is paused" in page.text
    page = await visitor.press(page, "Run now")
    [job] = await queue.jobs(type="nightly")
    assert page.response.url.path == f"/jobs/{job.id}"
    assert "is enqueued" in page.text
    page = await visitor.press(await visitor.visit("/schedules"), "Resume")
    assert "fires again" in page.text
    assert not (await queue.schedules())[0].paused
    assert [(entry.action, entry.actor) for entry in await queue.audit_trail()] == [
        ("resume_schedule", "Ada"),
        ("fire", "Ada"),
        ("pause_schedule", "Ada"),
    ]


async def test_a_schedule_that_is_gone_is_named(queue: Engine, visitor: Visitor) -> None:
    await queue.drain()
    page = await visitor.visit("/schedules")
    for button in ("Pause", "Run now"):
        assert "no schedule 'gone'" in (await visitor.press(page, button, 400, name="gone")).text


async def test_missed_fires_are_counted_on_the_page(url: str) -> None:
    clock = FakeClock()
    engine = Engine(url, clock=clock)

    @engine.cron("* * * * *")
    @engine.task()
    async def often() -> None: ...

    async with engine, Visitor(dashboard(engine, authenticated_by_host=True)) as visitor:
        await engine.drain()
        assert "none" in (await visitor.visit("/schedules")).text
        clock.advance(600)
        page = await visitor.visit("/schedules")
        assert ("span", "badge bad") in [(tag, given.get("class")) for tag, given in page.tags]
        clock.advance(86400)
        assert f"{MOST_MISSED}+" in (await visitor.visit("/schedules")).text


def test_what_is_planned() -> None:
    on_time = planned(schedule("*/5 * * * *", NOON), NOON + dt.timedelta(seconds=50))
    assert (on_time.missed, [time.minute for time in on_time.coming]) == (0, [5, 10, 15])
    to_come = planned(schedule("*/5 * * * *", NOON + dt.timedelta(minutes=10)), NOON)
    assert (to_come.missed, [time.minute for time in to_come.coming]) == (0, [10, 15, 20])
    late = planned(schedule("*/5 * * * *", NOON), NOON + dt.timedelta(minutes=12))
    assert (late.missed, late.coming[0].minute) == (3, 15)
    paused = planned(schedule("*/5 * * * *", NOON, paused=True), NOON + dt.timedelta(hours=2))
    assert (paused.missed, paused.coming) == (0, [])
    odd = planned(schedule("*/5 * * * *", NOON, tz="Mars/Olympus"), NOON)
    assert (odd.missed, odd.coming) == (0, [])
    assert "Mars/Olympus" in odd.problem


# -- workers


async def test_workers_are_shown_with_what_they_run(queue: Engine, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No worker is alive." in (await visitor.visit("/workers")).text
    monkeypatch.setattr(workers, "SHOWN", 1)
    gate = asyncio.Event()

    @queue.task()
    async def long(ctx: JobContext) -> None:
        await ctx.progress(1, 2, "half")
        await gate.wait()

    jobs = await queue.enqueue("long"), await queue.enqueue("long")
    async with queue.worker(concurrency=4) as worker, asyncio.timeout(20):
        while not all([(await queue.job(job.id)).progress for job in jobs]):
            await asyncio.sleep(0.01)
        page = await visitor.visit("/workers")
        assert worker.id in page.text
        for text in ("of 4", "1 of 2 · half", "and 1 other", "long", "Version"):
            assert text in page.text
        gate.set()


async def test_the_jobs_of_a_worker_that_is_gone_are_shown(queue: Engine, visitor: Visitor) -> None:
    await queue.backend.heartbeat(
        WorkerInfo("lagging", "host-a", 7, "9.9", ["mail"], ["default", "slow"], 5, running=2, loop_lag=2.5)
    )
    job = await queue.enqueue("mail", {"to": "a@example.com"})
    await queue.backend.claim(Demand("worker-elsewhere", {"mail": 1}, 1, lease=600))
    page = await visitor.visit("/workers")
    for text in ("host-a , process 7", "2 of 5", "2.5 s", "9.9", "default, slow", "a worker that is not heard of"):
        assert text in page.text
    assert page.links[str(job.id)] == f"/jobs/{job.id}"


async def test_types_and_queues_are_paused_and_resumed(queue: Engine, visitor: Visitor) -> None:
    page = await visitor.visit("/workers")
    page = await visitor.press(page, "Pause", kind="type", name="mail")
    assert "Type mail is paused" in page.text
    page = await visitor.press(page, "Pause", kind="queue", name="slow", minutes="5")
    pauses = {pause.name: pause for pause in await queue.pauses()}
    assert pauses["mail"].until is None
    until = pauses["slow"].until
    assert until is not None
    assert 200 < (until - await queue.backend.now()).total_seconds() <= 300
    page = await visitor.press(page, "Resume")
    page = await visitor.press(page, "Resume")
    assert await queue.pauses() == []
    assert "Nothing is paused." in page.text
    assert {entry.actor for entry in await queue.audit_trail()} == {"Ada"}


async def test_pauses_that_cannot_be_are_refused(queue: Engine, visitor: Visitor) -> None:
    page = await visitor.visit("/workers")
    assert "give its name" in (await visitor.press(page, "Pause", 400, name=" ")).text
    assert "type or a queue" in (await visitor.press(page, "Pause", 400, kind="planet", name="x")).text
    assert "whole number" in (await visitor.press(page, "Pause", 400, name="x", minutes="soon")).text
    await queue.pause(type="mail")
    page = await visitor.visit("/workers")
    await queue.resume(type="mail")
    assert "was not paused" in (await visitor.press(page, "Resume")).text


# -- audit


async def test_the_audit_trail_tells_who_did_what(queue: Engine, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Nobody has done anything by hand." in (await visitor.visit("/audit")).text
    monkeypatch.setattr(audit, "ON_A_PAGE", 2)
    [dead] = await dead_mails(queue, "nobody")
    await queue.amend(dead.id, payload={"to": "secret-name"}, by="Grace")
    await queue.requeue(dead.id, by="Grace")
    await queue.pause(queue="slow", by="Grace")
    await queue.cancel(type="mail", status="pending", by="Grace")
    first = await visitor.visit("/audit")
    assert "cancel type mail, status" in first.text
    assert "pause queue slow" in first.text
    second = await visitor.follow(first, "Older")
    assert f"requeue job {dead.id}" in second.text
    assert f"amend job {dead.id}" in second.text
    assert "nobody" not in second.text
    assert "Older" not in second.links
    await visitor.follow(second, "Newest")
    assert (await visitor.follow(second, f"job {dead.id}")).text.count("by Grace") == 2
    await visitor.visit("/audit?before=x", 400)


async def test_an_action_whose_end_was_not_recorded_says_so(queue: Engine, visitor: Visitor) -> None:
    await queue.backend.audit(AuditEntry("Grace", "cancel", {"type": "mail"}))
    assert "begun" in (await visitor.visit("/audit")).text


async def test_who_acts_is_the_hosts_user_or_this_one(queue: Engine) -> None:
    class User:
        is_authenticated = True
        display_name = "Grace"

    class Stranger(User):
        is_authenticated = False

    async def actor(user: User | None) -> str:
        app = dashboard(queue, authenticated_by_host=True)

        async def host(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "user": user} if user else scope, receive, send)

        async with Visitor(host) as visitor:
            await visitor.press(await visitor.visit("/workers"), "Pause", name="mail")
        return (await queue.audit_trail())[0].actor

    assert await actor(User()) == "Grace"
    for nobody in (None, Stranger()):
        assert (await actor(nobody)).endswith(" (dashboard)")
