"""`qengine top`: the screen in this process, driven by key, and once as a real process on a real terminal."""

import asyncio
import datetime as dt
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from command import Cli
from textual.pilot import Pilot

from qengine import Engine, Job, JobContext, SchemaError, Status, WorkerInfo
from qengine.cli import main, view
from qengine.cli.screen import Confirm, Top
from qengine.testing.faults import Plan, fail, injected

EVERY = 0.05


def shop(url: str) -> Engine:
    engine = Engine(url)

    @engine.task()
    async def linger(ctx: JobContext) -> None:
        await ctx.progress(1, 4, "first [quarter]")
        await asyncio.sleep(600)

    @engine.task(max_attempts=1)
    async def fail(message: str) -> None:
        raise ValueError(message)

    return engine


@asynccontextmanager
async def opened(url: str, plan: Plan | None = None) -> AsyncIterator[tuple[Engine, Top, Pilot[None]]]:
    """The screen on an engine of its own, beside the shop's."""
    engine = Engine(url)
    with injected(engine, plan=plan or Plan()):
        async with engine:
            top = Top(engine, EVERY)
            async with top.run_test(size=(140, 50)) as pilot:
                await until(lambda: top.seen is not None and top.seen.counted_at is not None)
                yield engine, top, pilot


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


def cells(top: Top, type: str) -> dict[str, str]:
    row = top.types.keys.index(type)
    return {title: top.types.get_cell_at((row, place)).plain for place, title in enumerate(top.types.titles)}


def said(top: Top) -> str:
    return str(top.message.render())


@pytest.mark.anyio
async def test_it_shows_types_running_jobs_and_workers(url: str) -> None:
    engine = shop(url)
    async with engine, engine.worker(concurrency=3, grace=0):
        running = await engine.enqueue("linger")
        await engine.enqueue("fail", {"message": "no"})
        await engine.enqueue("[bold]elsewhere\x1b[31m")
        async with opened(url) as (_, top, _pilot):
            await until(lambda: cells(top, "fail")["dead"] == "1" and top.running.keys == [str(running.id)])
            assert cells(top, "linger")["running"] == "1"
            assert cells(top, r"[bold]elsewhere" + "\x1b[31m")["type"] == r"[bold]elsewhere\x1b[31m"
            assert cells(top, r"[bold]elsewhere" + "\x1b[31m")[""] == "no worker"
            await until(lambda: "25 %" in top.running.get_cell_at((0, 4)).plain)
            assert "first [quarter]" in top.running.get_cell_at((0, 4)).plain
            assert top.workers_shown.row_count == 1
            assert "1 workers" in str(top.summary.render())
            assert "of 3 slots busy" in str(top.summary.render())


@pytest.mark.anyio
async def test_a_type_is_paused_and_resumed_by_key(url: str) -> None:
    async with Engine(url) as other:
        await other.enqueue("send")
        async with opened(url) as (engine, top, pilot):
            await pilot.press("p")
            await until(lambda: isinstance(top.screen, Confirm))
            await pilot.press("n")
            await until(lambda: not isinstance(top.screen, Confirm))
            assert await engine.pauses() == []
            await pilot.press("p")
            await until(lambda: isinstance(top.screen, Confirm))
            await pilot.press("y")
            await until(lambda: cells(top, "send")[""] == "paused")
            assert said(top) == "the type send is paused"
            await pilot.press("p")
            await until(lambda: isinstance(top.screen, Confirm))
            await pilot.press("y")
            await until(lambda: cells(top, "send")[""] == "no worker")
            assert await engine.pauses() == []
            assert [entry.action for entry in await engine.audit_trail()] == ["resume", "pause"]


@pytest.mark.anyio
async def test_a_pause_that_was_ended_meanwhile_is_told(url: str) -> None:
    async with Engine(url) as other:
        await other.pause(type="send", until=3600)
        async with opened(url) as (_, top, pilot):
            assert cells(top, "send")[""].startswith("paused until ")
            await pilot.press("p")
            await until(lambda: isinstance(top.screen, Confirm))
            await other.resume(type="send")
            await pilot.press("y")
            await until(lambda: "not paused any more" in said(top))


@pytest.mark.anyio
async def test_dead_jobs_of_a_type_are_requeued_by_key(url: str) -> None:
    engine = shop(url)
    async with engine:
        dead = [await engine.enqueue("fail", {"message": "no"}) for _ in range(3)]
        await engine.drain()
        async with opened(url) as (_, top, pilot):
            await until(lambda: cells(top, "fail")["dead"] == "3")
            await pilot.press("r")
            await until(lambda: isinstance(top.screen, Confirm))
            assert top.screen.question == "requeue the 3 dead jobs of type fail?"  # type: ignore[attr-defined]
            await pilot.press("y")
            await until(lambda: said(top) == "3 jobs of type fail requeued")
            assert {(await engine.job(job.id)).status for job in dead} == {Status.PENDING}


@pytest.mark.anyio
async def test_jobs_are_cancelled_by_key(url: str) -> None:
    engine = shop(url)
    async with engine, engine.worker(concurrency=1, prefetch=0, grace=0):
        running = await engine.enqueue("linger")
        await until(lambda: engine.running_workers)
        waiting = await engine.enqueue("linger")
        async with opened(url) as (_, top, pilot):
            await until(lambda: top.running.keys == [str(running.id)])
            await pilot.press("tab")
            await until(lambda: top.running.has_focus)
            await pilot.press("c")
            await until(lambda: isinstance(top.screen, Confirm))
            assert top.screen.question == f"cancel job {running.id}, which runs?"  # type: ignore[attr-defined]
            await pilot.press("y")
            await until(lambda: said(top) == f"job {running.id} is cancelled")
            assert (await engine.job(running.id)).status == "cancelled"
            await until(lambda: top.running.keys == [str(waiting.id)])


@pytest.mark.anyio
async def test_what_waits_of_a_type_is_cancelled_by_key(url: str) -> None:
    async with Engine(url) as other:
        jobs = [await other.enqueue("a"), await other.enqueue("b"), await other.enqueue("b", delay=60)]
        async with opened(url) as (_, top, pilot):
            await pilot.press("down", "c")
            await until(lambda: isinstance(top.screen, Confirm))
            await pilot.press("y")
            await until(lambda: said(top) == "2 jobs of type b cancelled")
            assert [(await other.job(job.id)).status for job in jobs] == ["pending", "cancelled", "cancelled"]
            await other.enqueue("0")
            await until(lambda: top.types.keys == ["0", "a", "b"])
            assert top.types.chosen == "b"


@pytest.mark.anyio
async def test_a_job_that_has_ended_meanwhile_is_told(url: str) -> None:
    async with Engine(url) as other:
        job = await other.enqueue("a")
        async with opened(url) as (_, top, _pilot):
            await other.cancel([job.id])
            assert await top._cancelled(job.id) == f"job {job.id} had ended already"


@pytest.mark.anyio
async def test_keys_do_nothing_where_there_is_nothing(url: str) -> None:
    async with opened(url) as (engine, top, pilot):
        for key in ("p", "r", "c", "tab", "c", "tab", "c"):
            await pilot.press(key)
        assert not isinstance(top.screen, Confirm)
        assert await engine.audit_trail() == []
        await pilot.press("q")
        await until(lambda: not top.is_running)


@pytest.mark.anyio
async def test_an_outage_is_told_and_survived(url: str) -> None:
    async with Engine(url) as other:
        await other.enqueue("a")
        plan = Plan(fail("running", at=3, times=2), fail("pause"))
        async with opened(url, plan) as (_, top, pilot):
            await until(lambda: top.away)
            assert "the database is away" in said(top)
            assert top.types.keys == ["a"]
            await until(lambda: said(top) == "the database is back")
            await pilot.press("p")
            await until(lambda: isinstance(top.screen, Confirm))
            await pilot.press("y")
            await until(lambda: "injected fault" in said(top))
            await other.enqueue("b")
            await until(lambda: top.types.keys == ["a", "b"])


@pytest.mark.anyio
async def test_what_it_cannot_survive_ends_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(url) as (_, top, _pilot):

        async def broken(engine: Engine) -> view.View:
            raise SchemaError("another schema")

        monkeypatch.setattr("qengine.cli.screen.look", broken)
        await until(lambda: not top.is_running)
    assert str(top.failure) == "another schema"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (None, ""),
        ({"done": 1, "total": 4, "message": None}, "██░░░░░░░░ 25 %"),
        ({"done": 9, "total": 4, "message": "over\n\x1b"}, "██████████ 100 % over \\x1b"),
        ({"done": 7, "total": None, "message": "pages"}, "7 pages"),
        ({"done": 7, "total": 0}, "7"),
        ({"message": "x" * 50}, "x" * 39 + "…"),
    ],
)
def test_progress_in_a_cell(told: dict[str, object] | None, shown: str) -> None:
    assert view.progress(Job(1, "a", progress=told)) == shown


def test_what_is_not_known_is_left_out() -> None:
    now = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    assert view.worker_cells(WorkerInfo("w", "host", 7, "1.0", [], None, 3), now) == ["host 7", "1.0", "0/3", "", ""]
    assert view.job_cells(Job(1, "a", locked_by="w"), now, {}) == ["1", "a", "0/3", "", "", "w"]
    assert view.View(now).summary.endswith("counting …")
    later = now + dt.timedelta(seconds=90)
    assert view.View(later, counts={"dead": 2}, counted_at=now).summary.endswith("2 dead  ·  counted 90 s ago")


def test_one_look_as_json(cli: Cli) -> None:
    dead = cli.dead()
    found = cli.json("top")
    assert list(found) == ["at", "counts", "types", "running", "workers"]
    (row,) = found["types"]
    assert (row["type"], row["counts"]["dead"], row["paused"], row["served"]) == ("fail", 1, False, False)
    assert (found["counts"]["dead"], found["running"], found["workers"]) == (1, [], [])
    assert dead


def test_it_needs_a_terminal(cli: Cli) -> None:
    assert "needs a terminal" in cli.fails("top", code=2)


def test_it_needs_the_extra(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.fails("top", code=2) == "qengine top needs textual; pip install 'qengine[tui]'"


def test_it_ends_with_the_error_that_ended_the_screen(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(screen: Top) -> None:
        screen.failure = SchemaError("another schema")

    monkeypatch.setattr("qengine.cli.screen.Top.run_async", broken)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("QENGINE_URL", cli.url)
    monkeypatch.setattr("qengine.cli.top.sys.stdout", _Terminal())
    assert main(["top"]) == 4


class _Terminal:
    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


def test_it_runs_on_a_real_terminal(cli: Cli) -> None:
    cli.dead()
    terminal, end = pty.openpty()
    environment = {**os.environ, "QENGINE_URL": cli.url, "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, "-m", "qengine", "top", "--every", "0.2"], stdin=end, stdout=end, stderr=end, env=environment
    )
    os.close(end)
    shown = b""
    deadline = time.monotonic() + 60
    asked = False
    try:
        while process.poll() is None:
            assert time.monotonic() < deadline, shown
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 65_536)
            if not asked and re.search(rb"fail\b", shown) and b"counted" in shown:
                os.write(terminal, b"q")
                asked = True
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(terminal)
        if process.poll() is None and not asked:
            process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=20) == 0
    assert b"Requeue" in shown
    assert b"Traceback" not in shown
