"""Being woken by other processes: told by the system, or by looking; and not woken for nothing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import BackendSettings, Claim, Demand, Settlement
from qengine.backends.sqlite import SQLiteBackend, wake
from qengine.backends.sqlite.inotify import Inotify
from qengine.job import NewJob, Status
from qengine.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

Open: TypeAlias = Callable[..., Coroutine[Any, Any, SQLiteBackend]]

PROCESS = """
    import asyncio, sys
    from qengine.backends import open_backend
    from qengine.job import NewJob

    async def main():
        backend = open_backend(sys.argv[1])
        await backend.open()
        for line in sys.stdin:
            await backend.enqueue([NewJob("a", delay=float(line))])
        await backend.close()

    asyncio.run(main())
"""


def no_inotify(path: str) -> Inotify:
    raise OSError("none left")


@pytest.mark.parametrize("way", ["told", "looking"])
async def test_another_process_wakes(opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Each of its enqueues, due now or later, one after another: none is missed."""
    if way == "looking":
        monkeypatch.setattr(wake, "Inotify", no_inotify)
    backend = await opened()
    command = [sys.executable, "-c", textwrap.dedent(PROCESS), f"sqlite:///{path}"]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    async with asyncio.timeout(60):
        for n in range(10):
            seen = backend.wakes
            waiting = asyncio.create_task(backend.wake(seen))
            process.stdin.write(b"3600\n" if n % 2 else b"0\n")
            while len(await backend.query(JobFilter(), limit=100)) <= n:
                await waiting
                waiting = asyncio.create_task(backend.wake(backend.wakes))
            waiting.cancel()
            await backend.claim(Demand("w", {"a": 9}, 9, 60))
        process.stdin.close()
        await process.wait()


async def test_where_nobody_tells_it_begins_to_look(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system on which the watch never speaks: the safety net catches it, and soon it polls."""
    waits: list[float] = []

    class Deaf(Inotify):
        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            super().wait(0.001)
            return False

    monkeypatch.setattr(wake, "Inotify", Deaf)
    backend, other = await opened(), await opened()

    async def keep_waiting() -> None:
        while True:
            await backend.wake(backend.wakes)

    waiting = asyncio.create_task(keep_waiting())
    async with asyncio.timeout(30):
        for _ in range(10):
            seen = backend.wakes
            await asyncio.sleep(0.02)
            await other.enqueue([NewJob("a")])
            assert await backend.wake(seen) > seen
        before = len(waits)
        await asyncio.sleep(0.1)
        assert len(waits) == before
    waiting.cancel()


async def test_it_wakes_for_nothing_that_cannot_matter(opened: Open) -> None:
    """Claims, settlements, heartbeats and the like of others, while nothing is in line."""
    backend, other = await opened(), await opened()
    jobs = await other.enqueue([NewJob("a") for _ in range(20)])
    claims = await other.claim(Demand("w", {"a": 20}, 20, 60))
    assert len(claims) == len(jobs)
    seen = backend.wakes
    waiting = asyncio.create_task(backend.wake(seen))
    await asyncio.sleep(0.3)
    seen = backend.wakes
    if waiting.done():
        waiting = asyncio.create_task(backend.wake(seen))
    for claim in claims:
        await other.extend([claim.lease], 60)
        await other.settle([Settlement(claim.id, claim.token, Status.COMPLETED)], "w")
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert backend.wakes == seen
    await other.requeue(JobFilter(), 1)
    async with asyncio.timeout(20):
        assert await waiting > seen


async def test_jobs_of_others_that_keep_coming_are_looked_for_sooner_than_by_polling(opened: Open) -> None:
    backend, other = await opened(poll=30), await opened()
    async with asyncio.timeout(20):
        for _ in range(5):
            waiting = asyncio.create_task(backend.wake(backend.wakes))
            await asyncio.sleep(0)
            await other.enqueue([NewJob("a")])
            await waiting


async def test_while_nobody_waits_nobody_looks(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[None] = []
    real = wake.Watcher._look

    def look(self: wake.Watcher, connection: sqlite3.Connection) -> bool:
        looks.append(None)
        return real(self, connection)

    monkeypatch.setattr(wake.Watcher, "_look", look)
    monkeypatch.setattr(wake, "Inotify", no_inotify)
    backend, other = await opened(), await opened()
    before = len(looks)
    await asyncio.sleep(0.1)
    assert len(looks) == before
    waiting = asyncio.create_task(backend.wake(backend.wakes))
    async with asyncio.timeout(20):
        while len(looks) < before + 5:
            await asyncio.sleep(0.01)
    await other.enqueue([NewJob("a")])
    await waiting
    await asyncio.sleep(0.05)
    after = len(looks)
    await asyncio.sleep(0.1)
    assert len(looks) == after


async def test_idle_it_costs_next_to_nothing(opened: Open) -> None:
    """The watch itself, told by the system: under half a percent of a core."""
    backend = await opened()
    waiting = asyncio.create_task(backend.wake(backend.wakes))
    await asyncio.sleep(0.5)
    began = os.times()
    await asyncio.sleep(2)
    ended = os.times()
    waiting.cancel()
    assert (ended.user + ended.system) - (began.user + began.system) <= 0.05


async def test_trouble_wakes_and_passes(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the watcher wakes those who wait, who then meet it themselves; it goes on with a fresh connection."""
    real = wake.Watcher._look
    broken = True

    def look(self: wake.Watcher, connection: sqlite3.Connection) -> bool:
        if broken and self._ready.done():
            raise sqlite3.DatabaseError("disk I/O error")
        return real(self, connection)

    monkeypatch.setattr(wake.Watcher, "_look", look)
    backend, other = await opened(), await opened()
    async with asyncio.timeout(20):
        seen = await backend.wake(backend.wakes)
        broken = False
        await other.enqueue([NewJob("a")])
        while await backend.wake(seen) and not await backend.query(JobFilter(), limit=1):
            seen = backend.wakes


async def test_a_backend_without_polling_still_wakes_itself(opened: Open) -> None:
    backend, other = await opened(poll=0), await opened(poll=0)
    seen = backend.wakes
    waiting = asyncio.create_task(backend.wake(seen))
    await other.enqueue([NewJob("a")])
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await backend.enqueue([NewJob("a")])
    assert await waiting == seen + 1


async def test_everything_that_brings_work_wakes(opened: Open) -> None:
    """At once, in the process that did it; what brings none does not."""
    clock = FakeClock()
    backend = await opened(poll=0, settings=BackendSettings(clock=clock))
    await backend.enqueue([NewJob("a", delay=5), *[NewJob("b")] * 4])
    claims = await backend.claim(Demand("w", {"b": 4}, 4, 60))

    async def wakes(work: Coroutine[Any, Any, object]) -> int:
        before = backend.wakes
        await work
        return backend.wakes - before

    def end(claim: Claim, status: Status) -> Coroutine[Any, Any, object]:
        return backend.settle([Settlement(claim.id, claim.token, status, delay=5)], "w")

    assert await wakes(backend.promote_due(9)) == 0
    clock.advance(6)
    assert await wakes(backend.promote_due(9)) == 1
    assert await wakes(end(claims[0], Status.COMPLETED)) == 0
    assert await wakes(end(claims[1], Status.FAILED)) == 1
    assert await wakes(end(claims[2], Status.PENDING)) == 1
    assert await wakes(backend.reclaim(9, max_crashes=5, lease=60)) == 0
    clock.advance(60)
    assert await wakes(backend.reclaim(9, max_crashes=5, lease=60)) == 1
    [claim] = await backend.claim(Demand("w", {"b": 1}, 1, 60))
    assert await wakes(backend.disown("w", [claim.lease])) == 0
    assert await wakes(backend.disown("w", [])) == 1
    assert await wakes(backend.cancel(JobFilter(), 9)) == 0
    assert await wakes(backend.requeue(JobFilter(ids=[]), 9)) == 0
    assert await wakes(backend.requeue(JobFilter(), 9)) == 1
    assert await wakes(backend.pause("type", "a")) == 0
    assert await wakes(backend.resume("type", "a")) == 1
    assert await wakes(backend.resume("type", "a")) == 0


def test_inotify_tells_of_writes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a")
    watch = Inotify(str(file))
    try:
        assert not watch.wait(0)
        file.write_text("b")
        assert watch.wait(10)
        assert not watch.wait(0)
        watch.ring()
        assert not watch.wait(10)
    finally:
        watch.close()


def test_inotify_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="inotify_add_watch"):
        Inotify(str(tmp_path / "none"))
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OSError, match="no inotify"):
        Inotify(str(tmp_path))
