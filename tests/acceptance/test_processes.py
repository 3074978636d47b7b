"""Real worker processes on a real database: they share, they are killed, and nothing is lost."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from qengine import Engine, Job

pytestmark = pytest.mark.anyio
APP = Path(__file__).with_name("app.py")


class Cluster:
    """Worker processes on one database, and what they recorded."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, lease: float = 60.0) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(APP), self.url, str(self.folder / "ledger"), str(lease)], stdout=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def records(self, what: str, process: subprocess.Popen[str] | None = None) -> list[tuple[int, int]]:
        """(id, attempt) of each record of this kind, of all processes or one."""
        found = []
        for file in self.folder.glob(f"ledger-{process.pid if process else '*'}"):
            lines = [line.split() for line in file.read_text().splitlines()]
            found += [(int(words[1]), int(words[2])) for words in lines if words[0] == what]
        return found

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def cluster(url: str, tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(url, tmp_path)
    yield found
    found.close()


@pytest.fixture
async def engine(url: str) -> AsyncIterator[Engine]:
    async with Engine(url, max_attempts=3) as found:
        yield found


async def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


async def all_ended(engine: Engine, seconds: float = 90) -> dict[str, int]:
    end = time.monotonic() + seconds
    while True:
        counts = (await engine.stats()).by_status
        if not counts["pending"] + counts["processing"] + counts["failed"]:
            return dict(counts)
        assert time.monotonic() < end, f"jobs are left: {counts}"
        await asyncio.sleep(0.1)


async def enqueue(engine: Engine, type: str, count: int, **payload: object) -> list[Job[object]]:
    from qengine.backends.protocol import Enqueued
    from qengine.codec import encode
    from qengine.job import NewJob

    answers: list[Enqueued] = await engine.backend.enqueue([NewJob(type, encode(payload))] * count)
    return [await engine.job(answer.id) for answer in answers] if count < 100 else []


async def test_two_processes_share_ten_thousand_jobs_and_each_runs_once(engine: Engine, cluster: Cluster) -> None:
    one, two = cluster.start(), cluster.start()  # both are there before there is work: one alone is done in a second
    await enqueue(engine, "quick", 10_000)
    await all_ended(engine)
    assert (await engine.stats()).by_type["quick"]["completed"] == 10_000  # the app's schedule adds jobs of its own meanwhile
    runs = Counter(cluster.records("quick"))
    assert len(runs) == 10_000
    assert set(runs.values()) == {1}
    shares = [len(cluster.records("quick", process)) for process in (one, two)]
    assert min(shares) > 500, f"one of them starved: {shares}"


async def test_the_jobs_of_a_killed_worker_are_finished_by_another_soon_after_the_lease(engine: Engine, cluster: Cluster) -> None:
    victim = cluster.start(lease=2)
    jobs = await enqueue(engine, "slow", 10, seconds=0.7)
    await until(lambda: len(cluster.records("slow-began")) >= 5)
    victim.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    cluster.start(lease=2)
    done = [await job.wait(timeout=30) for job in jobs]
    assert len(done) == 10
    assert time.monotonic() - killed < 2 + 8
    after = [await engine.job(job.id) for job in jobs]
    assert {(job.status, job.attempts, job.crashes) for job in after} == {("completed", 1, 0)}


async def test_a_terminated_worker_ends_within_the_grace_and_spends_no_attempt(engine: Engine, cluster: Cluster) -> None:
    worker = cluster.start()
    short = (await enqueue(engine, "slow", 1, seconds=1.0))[0]
    long = (await enqueue(engine, "slow", 1, seconds=60.0))[0]
    await until(lambda: len(cluster.records("slow-began")) == 2)
    worker.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert worker.wait(timeout=20) == 0
    assert time.monotonic() - began < 5 + 3
    assert (await engine.job(short.id)).status == "completed"
    back = await engine.job(long.id)
    assert (back.status, back.attempts, back.crashes) == ("pending", 0, 0)


async def test_only_the_poison_becomes_crash_loop_and_the_innocent_are_done(engine: Engine, cluster: Cluster) -> None:
    [poison] = await enqueue(engine, "poison", 1)
    innocents = await enqueue(engine, "slow", 20, seconds=0.2)
    deadline = time.monotonic() + 90
    worker = cluster.start(lease=1)
    while (await engine.job(poison.id)).status != "dead":
        assert time.monotonic() < deadline
        if worker.poll() is not None:
            worker = cluster.start(lease=1)
        await asyncio.sleep(0.05)
    for job in innocents:
        await job.wait(timeout=30)
    dead = await engine.job(poison.id)
    assert (dead.dead_reason, dead.attempts, dead.crashes) == ("crash_loop", 0, 3)
    assert len(cluster.records("poison")) == 3
    history = await engine.errors(poison.id)
    assert len(history) == 3
    assert "lease" in history[0].error
    assert {(await engine.job(job.id)).status for job in innocents} == {"completed"}
    worker.terminate()


async def test_effects_in_a_transaction_happen_exactly_once_under_kills(engine: Engine, cluster: Cluster) -> None:
    await _execute(cluster.url, "CREATE TABLE effects (job bigint)")
    await enqueue(engine, "counted", 600)
    for _ in range(2):  # a third crash of the same job would make it dead
        worker = cluster.start(lease=1)
        began = len(cluster.records("counted"))
        await until(lambda began=began: len(cluster.records("counted")) > began + 30)  # type: ignore[misc]
        worker.kill()
        worker.wait()
    cluster.start(lease=1)
    await all_ended(engine)
    effects = await read_effects(cluster.url)
    assert len(effects) == 600
    assert set(Counter(effects).values()) == {1}


async def test_a_schedule_fires_once_a_fire_time_in_the_whole_cluster(engine: Engine, cluster: Cluster) -> None:
    for _ in range(3):
        cluster.start()
    await until(lambda: len(cluster.records("tick")) >= 5)
    for process in cluster.processes:
        process.terminate()
        process.wait(timeout=20)
    fires = Counter(time for time, _ in cluster.records("tick"))
    assert set(fires.values()) == {1}
    assert max(fires) - min(fires) == len(fires) - 1, "a fire was left out"


async def read_effects(url: str) -> list[int]:
    return [row[0] for row in await _execute(url, "SELECT job FROM effects")]


async def _execute(url: str, sql: str) -> list[tuple[int]]:
    if url.startswith("sqlite"):
        import aiosqlite

        async with aiosqlite.connect(url.removeprefix("sqlite:///"), isolation_level=None) as conn:
            return [tuple(row) for row in await conn.execute_fetchall(sql)]
    import asyncpg

    conn = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await conn.fetch(sql)]
    finally:
        await conn.close()
