"""Files that cannot be used, or not any more: one clear sentence each, and nothing changed."""

from __future__ import annotations

import asyncio
import builtins
import io
import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from anyio import to_thread

from qengine import BackendUnavailable, ConfigurationError, SchemaError
from qengine.backends import open_backend
from qengine.backends.inspection import JobFilter
from qengine.backends.sqlite import SQLiteBackend, connection
from qengine.backends.sqlite.errors import translate
from qengine.job import NewJob

pytestmark = pytest.mark.anyio

Open: TypeAlias = Callable[..., Coroutine[Any, Any, SQLiteBackend]]


async def refused(path: Path, error: type[Exception], told: str) -> None:
    backend = open_backend(f"sqlite:///{path}")
    with pytest.raises(error, match=told):
        await backend.open()
    with pytest.raises(BackendUnavailable, match="not open"):
        await backend.enqueue([NewJob("a")])
    await backend.close()


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    await refused(tmp_path / "none" / "app.db", ConfigurationError, "none does not exist; create it")
    assert os.listdir(tmp_path) == []


async def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    await refused(tmp_path, ConfigurationError, "is a folder; name a file in it")


@pytest.mark.parametrize("content", [b"hello, this is a text and no database" * 100, b"\x00" * 5000])
async def test_something_else(path: Path, content: bytes) -> None:
    await to_thread.run_sync(path.write_bytes, content)
    await refused(path, SchemaError, "no SQLite database")
    assert await to_thread.run_sync(path.read_bytes) == content


async def test_a_damaged_file(opened: Open, path: Path) -> None:
    backend = await opened()
    await backend.enqueue([NewJob("a", payload='"' + "x" * 5000 + '"') for _ in range(50)])
    await backend.close()
    content = await to_thread.run_sync(path.read_bytes)
    await to_thread.run_sync(path.write_bytes, content[:4096] + b"\xff" * (len(content) - 4096))
    broken = open_backend(f"sqlite:///{path}")

    async def use() -> None:
        await broken.open()
        await broken.query(JobFilter(), limit=100)

    try:
        with pytest.raises(SchemaError, match=r"damaged|no SQLite database"):
            await use()
    finally:
        await broken.close()


async def test_another_schema_says_what_to_do(opened: Open) -> None:
    backend = await opened(migrate=False)
    for attempt in (
        backend.check_schema(),
        backend.enqueue([NewJob("a")]),
        backend.stats(),
        backend.enqueue([NewJob("a", unique_key="k")]),
    ):
        with pytest.raises(SchemaError, match="qengine migrate"):
            await attempt


def test_a_read_only_file() -> None:
    """In a process of its own without root's rights, for which no file is read-only."""
    program = """
        import asyncio, concurrent.futures.thread, os, sys  # what is imported lazily cannot be read later
        from qengine import ConfigurationError
        from qengine.backends import open_backend
        from qengine.backends.sqlite import SQLiteBackend

        if os.geteuid() == 0:
            os.setuid(65534)

        async def main():
            backend = open_backend(sys.argv[1])
            try:
                await backend.open()
            finally:
                await backend.close()

        try:
            asyncio.run(main())
        except ConfigurationError as error:
            print(error)
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "queue.db")
        path.touch(mode=0o444)
        os.chmod(folder, 0o555)
        command = [sys.executable, "-c", textwrap.dedent(program), f"sqlite:///{path}"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        os.chmod(folder, 0o755)
        assert "is read-only; make the file and its folder writable" in told.stdout, told.stderr
        assert path.stat().st_size == 0


async def test_a_full_disk_loses_nothing_and_passes(opened: Open) -> None:
    backend = await opened()
    [kept] = await backend.enqueue([NewJob("a")])
    writer = backend._writer
    assert writer is not None
    pages = await writer.run(lambda c: c.execute("PRAGMA page_count").fetchone()[0], single=True)
    await writer.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone(), single=True)
    big = NewJob("a", payload='"' + "x" * 100_000 + '"')
    with pytest.raises(BackendUnavailable, match="no room left"):
        await backend.enqueue([big])
    answers = await asyncio.gather(*(backend.enqueue([job]) for job in (big, big, NewJob("a"))), return_exceptions=True)
    assert any(isinstance(answer, BackendUnavailable) for answer in answers)
    stored = [answer[0].id for answer in answers if not isinstance(answer, BaseException)]
    assert [job.id for job in await backend.query(JobFilter(), limit=10)] == [kept.id, *stored]
    await writer.run(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchone(), single=True)
    [late] = await backend.enqueue([big])
    assert await backend.get(late.id) is not None


async def test_a_lock_that_is_held_too_long(opened: Open, path: Path) -> None:
    backend = await opened(busy_timeout=0.05)
    [job] = await backend.enqueue([NewJob("a")])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for attempt in (backend.enqueue([NewJob("a")]), backend.requeue(JobFilter(), 1)):
            with pytest.raises(BackendUnavailable, match="locked by another connection"):
                await attempt
        assert await backend.get(job.id) is not None
        assert (await backend.stats()).by_status["pending"] == 1
        other.execute("ROLLBACK")
    await backend.enqueue([NewJob("a")])


async def test_a_lock_that_is_held_for_a_while_is_waited_for(opened: Open, path: Path) -> None:
    backend = await opened()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(backend.enqueue([NewJob("a")]))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        other.execute("COMMIT")
        assert len(await waiting) == 1


async def test_a_file_that_another_process_is_making_is_waited_for(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE application (x)")
        backend = open_backend(f"sqlite:///{path}")
        opening = asyncio.create_task(backend.open())
        await asyncio.sleep(0.1)
        assert not opening.done()
        other.execute("COMMIT")
        async with asyncio.timeout(20):
            await opening
        await backend.migrate()
        await backend.close()


async def test_closing_does_not_wait_for_a_lock(opened: Open, path: Path) -> None:
    backend = await opened()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(backend.enqueue([NewJob("a")]))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            await backend.close()
        with pytest.raises(BackendUnavailable):
            await waiting


async def test_a_file_that_cannot_be_in_wal_mode(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            return super().execute("SELECT 'delete'" if "journal_mode" in sql else sql, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(connection.sqlite3, "connect", lambda *a, **k: connect(*a, factory=Connection, **k))
    await refused(path, ConfigurationError, "cannot be switched to WAL")


async def test_an_old_sqlite(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    await refused(path, ConfigurationError, "qengine needs 3.37.0 or newer")


async def test_no_descriptor_of_the_file_is_opened_but_by_sqlite(
    opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing one would drop the locks that SQLite holds for the whole process."""
    seen: list[str] = []

    def noting(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda file, *args, **kwargs: seen.append(str(file)) or real(file, *args, **kwargs)

    for module in (builtins, io, os):
        monkeypatch.setattr(module, "open", noting(module.open))
    backend, other = await opened(), await opened()
    waiting = asyncio.create_task(backend.wake(backend.wakes))
    await other.enqueue([NewJob("a")])
    await waiting
    await other.close()
    await backend.close()
    assert [file for file in seen if path.name in file] == []


@pytest.mark.parametrize(
    ("code", "expected", "told"),
    [
        ("SQLITE_IOERR", BackendUnavailable, "operating system"),
        ("SQLITE_CANTOPEN", BackendUnavailable, "permissions"),
        ("SQLITE_PROTOCOL", BackendUnavailable, "network file system"),
        ("SQLITE_NOMEM", BackendUnavailable, "out of memory"),
        ("SQLITE_LOCKED", BackendUnavailable, "locked"),
        ("SQLITE_CORRUPT", SchemaError, "damaged"),
        ("SQLITE_READONLY", ConfigurationError, "read-only"),
        ("SQLITE_CONSTRAINT", ConfigurationError, "refused"),
    ],
)
def test_errors_of_sqlite(code: str, expected: type[Exception], told: str) -> None:
    error = (sqlite3.IntegrityError if code == "SQLITE_CONSTRAINT" else sqlite3.OperationalError)("boom")
    error.sqlite_errorcode = getattr(sqlite3, code) | (3 << 8)  # extended codes count as their primary one
    found = translate(error, "x.db")
    assert type(found) is expected
    assert told in str(found)
    assert found.__cause__ is error


def test_errors_that_are_none_of_sqlites() -> None:
    error = KeyError("x")
    assert translate(error, "x.db") is error
    assert type(translate(sqlite3.ProgrammingError("Cannot operate on a closed database."), "x.db")) is BackendUnavailable
    assert "syntax" in str(translate(sqlite3.OperationalError('near "x": syntax error'), "x.db"))
