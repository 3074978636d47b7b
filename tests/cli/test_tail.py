"""`qengine tail`: what happens, once each, whatever the order of commits, through an outage."""

import asyncio
import datetime as dt
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from command import Cli

from qengine import Engine, Job, Status
from qengine.backends.protocol import Demand
from qengine.cli import follow as following
from qengine.cli.follow import ById, Ended, Event, Kind, follow
from qengine.testing import FakeClock
from qengine.testing.faults import Plan, fail, injected

NOON = dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC)


@contextmanager
def tailed(cli: Cli, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`qengine tail`, once it watches."""
    process = cli.start("tail", *options)
    assert process.stderr is not None
    assert process.stderr.readline() == "qengine: watching; Ctrl-C ends it\n"
    yield process
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "")


def lines(process: subprocess.Popen[str], number: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(number)]


def test_it_tells_what_happens(cli: Cli) -> None:
    before = cli.enqueue("other")
    with tailed(cli, "--every", "0.1") as process:
        dead = cli.dead("no such \x1b[31muser")
        enqueued, failed, died = lines(process, 3)
        assert f" enqueued  {dead} fail\n" in enqueued
        assert f" failed    {dead} fail  attempt 1  " in failed
        assert f" dead      {dead} fail  attempt 1  exhausted  ValueError: no such \\x1b[31muser\n" in died
        cli.inside("cancel", before)
        assert lines(process, 1)[0].endswith(f" cancelled {before} other\n")


def test_it_tells_programs(cli: Cli) -> None:
    with tailed(cli, "--json", "--type", "fail", "--event", "dead", "--event", "enqueued") as process:
        cli.enqueue("other")
        dead = cli.dead()
        enqueued, died = map(json.loads, lines(process, 2))
    assert list(died) == ["at", "event", "id", "type", "attempt", "seconds", "error", "reason", "worker"]
    assert (enqueued["event"], enqueued["id"], enqueued["attempt"]) == ("enqueued", dead, None)
    assert (died["event"], died["id"], died["reason"]) == ("dead", dead, "exhausted")
    assert dt.datetime.fromisoformat(died["at"]).tzinfo is not None


@asynccontextmanager
async def followed(url: str, plan: Plan | None = None) -> AsyncIterator[tuple[asyncio.Queue[Event], list[str]]]:
    """What `follow` emits, and what it tells, on an engine of its own."""
    engine, events, told, ready = Engine(url), asyncio.Queue[Event](), list[str](), asyncio.Event()
    with injected(engine, plan=plan or Plan()):
        async with engine:
            task = asyncio.create_task(follow(engine, events.put_nowait, every=0.02, ready=ready.set, tell=told.append))
            async with asyncio.timeout(30):
                await ready.wait()
                yield events, told
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()


@pytest.mark.anyio
async def test_completions_and_crashes_are_told(url: str) -> None:
    engine = Engine(url)

    @engine.task()
    async def add(a: int) -> int:
        return a

    async with engine, followed(url) as (events, _):
        job = await add.enqueue(a=1)
        await engine.drain()
        seen = [await events.get(), await events.get()]
        assert [(event.event, event.id, event.type) for event in seen] == [
            (Kind.ENQUEUED, job.id, "add"),
            (Kind.COMPLETED, job.id, "add"),
        ]
        assert (seen[1].attempt, seen[1].error) == (1, None)
        assert seen[1].seconds is not None
        lost = await engine.enqueue("lost")
        await engine.backend.claim(Demand("dead-worker", {"lost": 1}, 1, 0.001))
        clock = await engine.backend.now()
        while not await engine.backend.reclaim(10, max_crashes=5, lease=0.0):
            assert await engine.backend.now() - clock < dt.timedelta(seconds=20)
        crash = [await events.get(), await events.get()][1]
        assert (crash.event, crash.id, crash.attempt, crash.worker) == (Kind.CRASHED, lost.id, 1, "dead-worker")


@pytest.mark.anyio
async def test_an_outage_loses_and_repeats_nothing(url: str) -> None:
    plan = Plan(fail("ended_since", at=4, times=2), fail("errors_since", at=9), fail("query", at=12))
    async with Engine(url) as engine, followed(url, plan) as (events, told):
        jobs = []
        for _ in range(20):
            jobs.append(await engine.enqueue("a"))
            await engine.cancel([jobs[-1].id])
            await asyncio.sleep(0)
        seen = [await events.get() for _ in range(2 * len(jobs))]
        while len(plan.struck) < 4 or not told or told[-1] != "the database is back":
            await asyncio.sleep(0.02)
        assert events.empty()
    assert sorted((event.id, event.event) for event in seen) == sorted(
        (job.id, kind) for job in jobs for kind in (Kind.ENQUEUED, Kind.CANCELLED)
    )
    assert told[0].startswith("the database is away")
    assert len(told) >= 2


class Rows:
    """Rows by id, of which some show up late."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    async def read(self, after: int, limit: int) -> list[tuple[int, int]]:
        return [(id, id) for id in sorted(self.ids) if id > after][:limit]

    async def new(self, source: ById[int]) -> list[int]:
        return [row async for row in source.new()]


@pytest.mark.anyio
async def test_a_row_that_commits_late_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows()
    source = ById(rows.read, 10)
    rows.ids = [9, 11, 14]
    assert await rows.new(source) == [11, 14]
    rows.ids.append(13)
    assert await rows.new(source) == [13]
    rows.ids += [12, 15]
    assert await rows.new(source) == [12, 15]
    assert await rows.new(source) == []
    monkeypatch.setattr(following, "LATE", 0.0)
    rows.ids.append(17)
    assert await rows.new(source) == [17]
    rows.ids.append(16)
    assert await rows.new(source) == []


@pytest.mark.anyio
async def test_pages_and_wide_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAGE", 3)
    monkeypatch.setattr(following, "MOST_GAPS", 4)
    rows = Rows()
    source = ById(rows.read, 0)
    rows.ids = list(range(1, 8))
    assert await rows.new(source) == list(range(1, 8))
    rows.ids += [100, 103]
    assert await rows.new(source) == [100, 103]
    rows.ids += [95, 98, 99, 101, 102]
    assert await rows.new(source) == [98, 99, 101, 102]


@pytest.mark.anyio
async def test_ends_in_one_instant_beyond_a_page(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAGE", 2)
    clock = FakeClock(NOON)

    async with Engine(url, clock=clock) as engine:
        ended = Ended(engine, NOON)

        async def new() -> list[int]:
            return [job.id async for job in ended.new()]

        async def cancelled(number: int) -> list[int]:
            jobs: list[Job[Any]] = [await engine.enqueue("a") for _ in range(number)]
            await engine.cancel([job.id for job in jobs])
            return [job.id for job in jobs]

        first = await cancelled(7)
        assert await new() == first
        clock.advance(0.5)
        second = await cancelled(1)
        assert await new() == second
        clock.advance(30)
        third = await cancelled(3)
        assert await new() == third
        assert await new() == []
        assert (await engine.job(first[0])).status is Status.CANCELLED
