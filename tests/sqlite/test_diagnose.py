"""What `diagnose` finds in a SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from qengine.backends.inspection import Finding, JobFilter
from qengine.backends.protocol import BackendSettings, WorkerInfo
from qengine.backends.sqlite import SQLiteBackend, diagnose
from qengine.job import NewJob
from qengine.testing import FakeClock

pytestmark = pytest.mark.anyio

Open: TypeAlias = Callable[..., Coroutine[Any, Any, SQLiteBackend]]
CHECKS = ["schema", "indexes", "file_system", "journal", "wal_size", "file_size", "disk", "clock", "leases", "due", "unhandled"]


async def finding(backend: SQLiteBackend, check: str) -> Finding:
    return next(one for one in await backend.diagnose() if one.check == check)


async def test_a_fresh_file_is_well(backend: SQLiteBackend) -> None:
    found = await backend.diagnose()
    assert [one.check for one in found] == CHECKS
    assert {one.level for one in found if one.check not in ("disk", "file_system")} == {"ok"}


async def test_a_sibling_can_be_asked_too(backend: SQLiteBackend) -> None:
    sibling = backend.sibling()
    await sibling.open()
    try:
        assert [one.check for one in await sibling.diagnose()] == CHECKS
    finally:
        await sibling.close()


async def test_an_index_that_somebody_has_dropped(backend: SQLiteBackend, sql: sqlite3.Connection) -> None:
    sql.execute("DROP INDEX qengine_jobs_due")
    sql.execute("DROP TRIGGER qengine_jobs_deleted")
    found = await finding(backend, "indexes")
    assert (found.level, found.text) == ("problem", "missing: qengine_jobs_deleted, qengine_jobs_due")
    assert "migrate --sql" in found.remedy


async def test_a_journal_that_somebody_has_switched(opened: Open, path: Path) -> None:
    await (await opened()).close()
    with sqlite3.connect(path, isolation_level=None) as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    connection.close()
    sibling = SQLiteBackend.from_url(f"sqlite:///{path}", BackendSettings(), {}).sibling()
    await sibling.open()
    try:
        found = await finding(sibling, "journal")
        assert (found.level, "delete" in found.text) == ("problem", True)
    finally:
        await sibling.close()


async def test_what_a_commit_survives(opened: Open) -> None:
    assert "not a power cut" in (await finding(await opened(), "journal")).text
    assert "survives a power cut" in (await finding(await opened(durability="full"), "journal")).text


async def test_a_log_that_grows(backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    await backend.enqueue([NewJob("a")] * 1_000)
    monkeypatch.setattr(diagnose, "LARGE_WAL", 1_000)
    found = await finding(backend, "wal_size")
    assert (found.level, "checkpoint" in found.remedy) == ("warning", True)


async def test_a_file_that_is_mostly_empty(backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose, "WASTE", 100_000)
    await backend.enqueue([NewJob("a", f'"{"x" * 1_000}"')] * 1_000)
    assert (await finding(backend, "file_size")).level == "ok"
    await backend.delete(JobFilter(), 1_000)
    found = await finding(backend, "file_size")
    assert (found.level, "VACUUM" in found.remedy) == ("warning", True)
    # Much of it, and less than half of the file: not worth locking everybody out.
    await backend.enqueue([NewJob("a", f'"{"x" * 1_000}"')] * 600)
    assert (await finding(backend, "file_size")).level == "ok"


@pytest.mark.parametrize(("low", "full", "level"), [(0, 0, "ok"), (1 << 60, 0, "warning"), (1 << 60, 1 << 59, "problem")])
async def test_a_disk_that_fills(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch, low: int, full: int, level: str
) -> None:
    monkeypatch.setattr(diagnose, "LOW_DISK", low)
    monkeypatch.setattr(diagnose, "FULL_DISK", full)
    found = await finding(backend, "disk")
    assert (found.level, bool(found.remedy)) == (level, level != "ok")


async def test_a_clock_that_was_put_back(opened: Open) -> None:
    clock = FakeClock()
    backend = await opened(settings=BackendSettings(clock=clock))
    await backend.heartbeat(WorkerInfo("w", "h", 1, "1", ["a"], None, 4))
    clock.advance(-4)
    assert (await finding(backend, "clock")).level == "ok"
    clock.advance(-60)
    found = await finding(backend, "clock")
    assert (found.level, "64 s in the future" in found.text) == ("problem", True)


@pytest.mark.parametrize(("number", "text"), [(1, "1 job is "), (3, "3 jobs are "), (1_200, "1,000 jobs or more are ")])
async def test_how_many_are_late(opened: Open, number: int, text: str) -> None:
    clock = FakeClock()
    backend = await opened(settings=BackendSettings(clock=clock))
    await backend.enqueue([NewJob("a", delay=1.0)] * number)
    clock.advance(30)
    assert (await finding(backend, "due")).level == "ok"
    clock.advance(60)
    assert (await finding(backend, "due")).text.startswith(text)


async def test_types_that_nobody_serves(backend: SQLiteBackend) -> None:
    await backend.enqueue([NewJob(f"t{n:02}") for n in range(12)])
    assert (await finding(backend, "unhandled")).text.endswith("t08, t09, …")


@pytest.mark.parametrize(
    ("place", "kind", "level"),
    [
        ("/srv/jobs/queue.db", "nfs4", "problem"),
        ("/srv/jobs deep/queue.db", "cifs", "problem"),
        ("/srv/jobs2/queue.db", "ext4", "ok"),
        ("/srv/jobs/local/queue.db", "xfs", "ok"),
    ],
)
def test_a_file_on_another_machine(tmp_path: Path, place: str, kind: str, level: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/vda1 / ext4 rw 0 0\nhost:/jobs /srv/jobs nfs4 rw 0 0\n//host/x /srv/jobs\\040deep cifs rw 0 0\n"
        "/dev/vdb /srv/jobs/local xfs rw 0 0\n"
    )
    assert diagnose._kind_of(Path(place), mounts) == kind
    assert diagnose._file_system(diagnose._File(0, 0, kind)).level == level


def test_a_system_that_tells_no_mounts(tmp_path: Path) -> None:
    assert diagnose._kind_of(Path("/srv/queue.db"), tmp_path / "none") == ""
    assert diagnose._file_system(diagnose._File(0, 0, "")).level == "ok"


async def test_a_long_read_holds_up_no_short_one(backend: SQLiteBackend) -> None:
    """Counting and searching have a connection of their own."""
    await backend.enqueue([NewJob("a")])
    reader = backend._patient_reader
    assert reader is not None
    held, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait_inside() -> int:
        loop.call_soon_threadsafe(held.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(60)
        return 1

    await reader.create_function("wait_inside", 0, wait_inside)
    long = asyncio.create_task(reader.execute_fetchall("SELECT wait_inside()"))
    counting = asyncio.create_task(backend.stats())
    async with asyncio.timeout(60):
        await held.wait()
        assert await backend.get(1) is not None
        assert len(await backend.query(JobFilter(), limit=9)) == 1
        assert not long.done()
        assert not counting.done()
        go_on.set()
        await long
        assert (await counting).by_status["pending"] == 1
