"""The overview: what it shows, and the stream that keeps it up to date."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from queue_on_show import dead_mails
from starlette.applications import Starlette
from visitor import TOKEN, Visitor

from qengine import Engine, Job, Status
from qengine.backends.protocol import Pause, Schedule, Stats, WorkerInfo
from qengine.engine.counts import Counts
from qengine.testing import faults
from qengine.web import dashboard, overview, stream
from qengine.web.live import Activities, View
from qengine.web.overview import fire_rows, type_rows, unhandled, worker_rows
from qengine.web.series import DAY, HOUR, series

NOW = dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC)
asynchronous = pytest.mark.anyio


@pytest.fixture
async def app(queue: Engine) -> AsyncIterator[Starlette]:
    """A dashboard that looks often."""
    app = dashboard(queue, token=TOKEN)
    live = app.state.dashboard.live
    live._every = live._seldom = 0.01
    yield app
    await live.close()


# -- rows


def counted(**types: int) -> Counts:
    """Counts with so many pending jobs of each type."""
    by_type = {name: {**dict.fromkeys(Status, 0), "pending": number} for name, number in types.items()}
    return Counts(Stats({}, by_type, {}, {}, None, {}, 0), [], NOW)


def test_a_type_has_a_row_for_whatever_is_known_of_it() -> None:
    pause = Pause("type", "paused", None)
    view = View(
        counts=counted(stored=3), due={"due": 7.0}, pauses=[pause, Pause("queue", "slow", None)], unhandled=["due", "alone"]
    )
    rows, more = type_rows(view)
    assert more == 0
    assert [(row.name, row.due, row.pause, row.unhandled) for row in rows] == [
        ("alone", None, None, True),
        ("due", 7.0, None, True),
        ("paused", None, pause, False),
        ("stored", None, None, False),
    ]
    assert [row.counts["pending"] if row.counts else None for row in rows] == [0, 0, 0, 3]
    assert [row.counts for row in type_rows(replace(view, counts=Counts()))[0]] == [None, None, None]


def test_what_waits_for_later_is_unhandled_too() -> None:
    stats = Stats({}, {}, {}, {}, None, {"later": 2, "served": 1}, 1)
    view = View(counts=Counts(stats, [], NOW), unhandled=["now"], workers=[replace(worker("a"), types=["served"])])
    assert unhandled(view) == ["later", "now"]
    assert unhandled(View(unhandled=["now"])) == ["now"]
    assert [row.name for row in type_rows(view)[0] if row.unhandled] == ["later", "now"]


def test_of_many_types_those_that_need_looking_at_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "TYPES", 4)
    view = View(
        counts=counted(a=1, b=9, c=5, d=1, e=0, f=0),
        due={"d": 60.0, "a": 1.0},
        pauses=[Pause("type", "f", None)],
    )
    rows, more = type_rows(view)
    assert ([row.name for row in rows], more) == (["a", "b", "d", "f"], 2)


def worker(id: str, running: int = 0, **more: Any) -> WorkerInfo:
    return WorkerInfo(id, "host", 7, "1.0", [], None, 4, running, **more)


def held(id: int, worker: str) -> Job[Any]:
    return Job(id=id, type="mail", status=Status.PROCESSING, locked_by=worker)


def test_a_worker_is_as_busy_as_the_jobs_it_holds() -> None:
    view = View(workers=[worker("b", 3), worker("a")], running=[held(9, "a"), *(held(id, "c") for id in range(3)), held(8, "a")])
    assert [(row.info.id, row.busy, [job.id for job in row.jobs], row.more) for row in worker_rows(view)] == [
        ("a", 2, [8, 9], 0),
        ("b", 0, [], 0),
    ]


def test_of_many_running_jobs_some_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    seven = [held(id, "a") for id in range(7)]
    [row] = worker_rows(View(workers=[worker("a")], running=seven))
    assert (row.busy, len(row.jobs), row.more) == (4, 5, 2)
    # Not all were read: then what the worker says itself is nearer to the truth.
    monkeypatch.setattr(overview, "RUNNING", 7)
    one, other = worker_rows(View(workers=[worker("a", 3), worker("b", 2)], running=seven))
    assert (one.busy, len(one.jobs), one.more) == (4, 5, 2)
    assert (other.busy, len(other.jobs), other.more) == (2, 0, 2)


def test_the_next_fires_come_first() -> None:
    def schedule(name: str, seconds: float, paused: bool = False) -> Schedule:
        return Schedule(name, name, "* * * * *", "UTC", "one", NOW + dt.timedelta(seconds=seconds), paused=paused)

    given = [
        schedule("later", 600),
        schedule("paused", 1, True),
        schedule("soon", 30),
        schedule("late", -61),
        schedule("due", -59),
    ]
    past = [series([], NOW.timestamp(), shape) for shape in (HOUR, DAY)]
    view = View(at=NOW, activities=Activities(*past, schedules=given))
    assert [(one.name, overdue) for one, overdue in fire_rows(view)] == [
        ("late", True),
        ("due", False),
        ("soon", False),
        ("later", False),
    ]
    assert fire_rows(View()) == []


# -- the page


async def text_of(visitor: Visitor) -> str:
    """What is to be read on the overview."""
    text = (await visitor.visit(f"/?token={TOKEN}")).text
    return re.sub(r" (?=[:,.])", "", text)


@asynchronous
async def test_everything_at_a_glance(queue: Engine, app: Starlette) -> None:
    visitor = Visitor(app)
    assert "Nothing ran." in await text_of(visitor)
    await dead_mails(queue, "nobody", "ada@example.com")
    await queue.enqueue("stranger", {})
    await queue.pause(type="mail")
    await queue.pause(queue="slow", until=3600)

    async with visitor, asyncio.timeout(20):
        text = ""
        # The counts, and what workers have recorded, are looked at behind the page's back.
        while not all(part in text for part in ("1 job waiting", "50.0 %")):
            text = await text_of(visitor)
    for part in (
        "No live worker handles stranger: 1 job waiting",
        "the type mail, until it is resumed",
        "the queue slow, until in",
        "pending 1",
        "completed 1",
        "dead 1",
        "No live worker. qengine worker module:engine starts one.",
        "nightly 0 3 * * *",
    ):
        assert part in text, text


@asynchronous
async def test_before_anything_was_counted_or_read(url: str) -> None:
    engine = Engine(url)
    with faults.injected(engine, faults.late("stats", seconds=3600), faults.fail("oldest_due")):
        async with engine, Visitor(dashboard(engine, token=TOKEN)) as visitor:
            text = await text_of(visitor)
    assert "Database away: injected fault: fail at oldest_due. Nothing has been read yet." in text
    assert text.count("counting…") == 2


@asynchronous
async def test_a_read_only_dashboard_offers_nothing(queue: Engine) -> None:
    await queue.enqueue("mail", {"to": "ada@example.com"})
    await queue.pause(type="mail")
    async with Visitor(dashboard(queue, token=TOKEN, read_only=True)) as visitor:
        assert "the type mail, until it is resumed" in await text_of(visitor)
        assert (await visitor.visit("/")).forms == []


# -- the stream


class Watcher:
    """A browser at the other end of a stream."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.asked = False

    async def receive(self) -> MutableMapping[str, Any]:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.received.put_nowait(message)

    async def start(self) -> MutableMapping[str, Any]:
        message = await self.received.get()
        assert message["type"] == "http.response.start"
        assert (await self.received.get())["body"] == b"retry: 1000\n\n"
        return message

    async def event(self) -> tuple[str, dict[str, Any]]:
        """The next event's id and data."""
        text = (await self.received.get())["body"].decode()
        id, name, data, *rest = text.split("\n")
        assert (name, rest) == ("event: view", ["", ""])
        return id.removeprefix("id: "), json.loads(data.removeprefix("data: "))


@asynccontextmanager
async def watching(app: Starlette, last: str = "") -> AsyncIterator[Watcher]:
    watcher = Watcher()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/live",
        "query_string": b"",
        "scheme": "http",
        "headers": [
            (b"host", b"dash.test"),
            (b"authorization", b"Bearer " + TOKEN.encode()),
            *([(b"last-event-id", last.encode())] if last else []),
        ],
    }
    async with asyncio.timeout(20):
        task = asyncio.create_task(app(scope, watcher.receive, watcher.send))
        yield watcher
        watcher.gone.set()
        await task


@asynchronous
async def test_a_stream_tells_what_has_changed(queue: Engine, app: Starlette) -> None:
    live = app.state.dashboard.live
    async with watching(app) as watcher:
        start = await watcher.start()
        headers = dict(start["headers"])
        assert start["status"] == 200
        assert headers[b"content-type"].startswith(b"text/event-stream")
        assert headers[b"cache-control"] == b"no-store"
        assert b"content-length" not in headers
        assert b"content-security-policy" in headers
        first, all_of_it = await watcher.event()
        assert set(all_of_it) == {"away", "sections", "series"}
        assert set(all_of_it["sections"]) == set(overview.SECTIONS)
        assert (len(all_of_it["series"]["hour"]["start"]), len(all_of_it["series"]["day"]["start"])) == (60, 96)
        assert all_of_it["away"] is False
        second, news = await watcher.event()
        assert second != first
        await queue.enqueue("stranger", {})
        while "stranger" not in news["sections"].get("types", ""):
            _, news = await watcher.event()
        assert "fires" not in news["sections"]
        assert 'name="csrf" value=""' in news["sections"]["types"], "what all get holds nobody's secret"
        async with watching(app) as another:
            await another.start()
            assert "stranger" in (await another.event())[1]["sections"]["types"]
            assert live.watchers == 2
    assert live.watchers == 0


@asynchronous
async def test_who_comes_back_is_told_at_the_next_news(queue: Engine, app: Starlette) -> None:
    live = app.state.dashboard.live
    async with watching(app) as watcher:
        await watcher.start()
        await watcher.event()
        live._seldom = 3600.0
        news: dict[str, Any] = {"series": ...}
        while "series" in news:
            _, news = await watcher.event()
    view = await live.now()
    async with watching(app, last=view.id) as watcher:
        await watcher.start()
        id, news = await watcher.event()
        assert id != view.id
        assert set(news["sections"]) == set(overview.SECTIONS)


@asynchronous
async def test_a_stream_ends_with_the_watching(queue: Engine, app: Starlette) -> None:
    async with watching(app) as watcher:
        await watcher.start()
        await watcher.event()
        await app.state.dashboard.live.close()
        while (message := await watcher.received.get())["body"]:
            pass
        assert message["more_body"] is False


@asynchronous
async def test_a_stream_ends_after_a_while(queue: Engine, app: Starlette, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "LIFETIME", 0.05)
    async with watching(app) as watcher:
        await watcher.start()
        while (message := await watcher.received.get())["body"]:
            pass
        assert message["more_body"] is False
    assert app.state.dashboard.live.watchers == 0


@asynchronous
@pytest.mark.parametrize("at", [0, 2])
async def test_a_browser_that_left_without_a_word(app: Starlette, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some servers tell it by an error of `send`."""
    failed = asyncio.Event()

    async def broken(self: Watcher, message: MutableMapping[str, Any]) -> None:
        self.received.put_nowait(message)
        if self.received.qsize() > at:
            failed.set()
            raise OSError("gone")

    monkeypatch.setattr(Watcher, "send", broken)
    async with watching(app):
        await failed.wait()
    assert app.state.dashboard.live.watchers == 0


def test_an_event_is_one_line() -> None:
    assert stream.event("a-1", "view", {"a": "two\nlines\r\u2028\ud800"}) == (
        'id: a-1\nevent: view\ndata: {"a": "two\\nlines\\r\\u2028\\ud800"}\n\n'
    )
