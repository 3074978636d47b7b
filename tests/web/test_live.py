"""The reader that all browsers share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from qengine import Engine
from qengine.testing import faults
from qengine.web import live as module
from qengine.web.live import Live, View

pytestmark = pytest.mark.anyio

QUICK = 0.01


@asynccontextmanager
async def watching(live: Live, seen: str = "") -> AsyncIterator[AsyncIterator[View]]:
    async with asyncio.timeout(20), aclosing(live.watch(seen)) as views:
        yield views


async def until(views: AsyncIterator[View], found: Callable[[View], Any]) -> View:
    async for view in views:
        if found(view):
            return view
    raise AssertionError("the views ended")


async def test_a_watcher_sees_what_happens(url: str) -> None:
    async with Engine(url) as engine:
        live = Live(engine, every=QUICK, seldom=QUICK)
        gate = asyncio.Event()

        @engine.task()
        async def hold() -> None:
            await gate.wait()

        async with watching(live) as views:
            empty = await until(views, lambda view: view.at and view.counts.stats)
            assert (empty.due, empty.workers, empty.running, empty.unhandled, empty.away) == ({}, [], [], [], None)
            assert empty.activities is not None
            assert empty.activities.hour.totals == (0, 0)
            assert (len(empty.activities.hour.start), len(empty.activities.day.start)) == (60, 96)

            job = await hold.enqueue()
            await engine.pause(type="elsewhere")
            waiting = await until(views, lambda view: view.due and view.pauses)
            assert list(waiting.due) == ["hold"]
            assert waiting.due["hold"] >= 0
            assert waiting.unhandled == ["hold"]
            assert [pause.name for pause in waiting.pauses] == ["elsewhere"]
            counted = await until(views, lambda view: view.counts.stats and view.counts.stats.by_status["pending"])
            assert counted.id != waiting.id

            async with engine.worker() as worker:
                busy = await until(views, lambda view: view.running and view.workers)
                assert [(run.id, run.locked_by) for run in busy.running] == [(job.id, worker.id)]
                assert [info.id for info in busy.workers] == [worker.id]
                gate.set()
                await until(views, lambda view: not view.running)
            # What a worker did is in the database by the time that it has stopped.
            done = await until(views, lambda view: view.activities and view.activities.hour.totals == (1, 0))
            assert done.activities is not None
            assert done.activities.day.totals == (1, 0)
            assert [value for value in done.activities.hour.p99 if value is not None]
        await live.close()


async def test_one_reader_for_all_and_none_for_nobody(url: str) -> None:
    engine = Engine(url)
    with faults.injected(engine) as plan:
        async with engine:
            live = Live(engine, every=QUICK)
            assert not live.reading
            async with watching(live) as first, watching(live) as second:
                one, other = await anext(first), await anext(second)
                assert one.id.partition("-")[0] == other.id.partition("-")[0]
                reader = live._reader
                assert live.watchers == 2
                await until(second, lambda view: view.id.endswith("-5"))
                assert live._reader is reader
            assert live.watchers == 0
            looks = plan.calls["oldest_due"]
            assert looks == live._serial, "a look for each view, whoever watches"
            assert reader is not None
            await asyncio.wait([reader])
            assert not live.reading
            calls = plan.calls["oldest_due"]
            for _ in range(20):
                await engine.backend.now()
            assert plan.calls["oldest_due"] == calls
            async with watching(live) as views:
                await anext(views)
                assert live.reading
            await live.close()


async def test_who_reconnects_is_told_only_what_is_new(url: str) -> None:
    async with Engine(url) as engine:
        live = Live(engine, every=3600.0)
        view = await live.now()
        assert await live.now() is view
        async with watching(live, view.id) as views:
            task = asyncio.ensure_future(anext(views))
            for _ in range(20):
                await engine.backend.now()
            assert not task.done(), "nothing has happened since"
            live._read_at = -float("inf")
            fresh = await live.now()
            assert await task is fresh
        async with watching(live, "another-7") as views:
            assert await anext(views) is fresh
        while live.reading:
            await asyncio.sleep(0)
        live._read_at -= 7201
        async with watching(live) as views:
            assert (await anext(views)).id not in (view.id, fresh.id), "that was long ago"
        await live.close()


async def test_it_outlives_an_outage(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "qengine.web")
    engine = Engine(url)
    with faults.injected(engine, faults.fail("oldest_due", at=2, times=2)) as plan:
        async with engine:
            live = Live(engine, every=QUICK)
            async with watching(live) as views:
                good = await until(views, lambda view: view.at)
                away = await until(views, lambda view: view.away)
                assert away.away == "injected fault: fail at oldest_due"
                assert (away.at, away.due) == (good.at, good.due), "what was seen last stays"
                back = await until(views, lambda view: not view.away)
                assert back.at is not None
                assert good.at is not None
                assert back.at > good.at
            await live.close()
    assert len(plan.struck) == 2
    told = [(record.levelname, record.getMessage(), record.exc_info) for record in caplog.records]
    assert told == [
        ("WARNING", "the dashboard cannot read the queue and goes on trying: injected fault: fail at oldest_due", None),
        ("INFO", "the dashboard reads the queue again", None),
    ]


async def test_a_database_that_does_not_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    engine = Engine(url)
    with faults.injected(engine, faults.late("oldest_due", seconds=3600)):
        async with engine:
            view = await Live(engine).now()
    assert view.away == "it did not answer within 0.05 seconds"
    assert view.at is None


async def test_a_bug_ends_no_reader(url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with Engine(url) as engine:
        live = Live(engine, every=QUICK)
        with monkeypatch.context() as patch:
            patch.setattr(engine, "running", None)
            async with watching(live) as views:
                broken = await until(views, lambda view: view.away)
                assert broken.away == "TypeError: 'NoneType' object is not callable"
                patch.undo()
                await until(views, lambda view: not view.away)
        await live.close()
    (record,) = [record for record in caplog.records if record.name == "qengine.web"]
    assert record.exc_info is not None


async def test_an_engine_that_is_closed_is_told(url: str) -> None:
    live = Live(Engine(url))
    assert "the engine is not open" in str((await live.now()).away)


async def test_closing_ends_the_watching(url: str) -> None:
    async with Engine(url) as engine:
        live = Live(engine, every=3600.0)
        async with watching(live) as views:
            await until(views, lambda view: view.at)
            task = asyncio.ensure_future(anext(views, None))
            await asyncio.sleep(0)
            await live.close()
            assert await task is None
        assert not live.reading
        await live.close()
        async with watching(live) as views:  # an app may be started again
            assert await anext(views)
        await live.close()
