"""The schema: made once by processes that start together, as a person would make it by hand, and kept whole."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from qengine import SchemaError
from qengine.backends.migrations import load_migrations
from qengine.backends.sqlite import SQLiteBackend
from qengine.backends.sqlite.core import split
from qengine.backends.sqlite.statements import PACKAGE

pytestmark = pytest.mark.anyio

Open: TypeAlias = Callable[..., Coroutine[Any, Any, SQLiteBackend]]


def objects(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute("SELECT name, sql FROM sqlite_master WHERE name LIKE 'qengine%'"))


def test_processes_that_start_together(path: Path) -> None:
    """On a file that is not there yet, all of them open and migrate, and one of them did it."""
    program = """
        import asyncio, sys
        from qengine.backends import open_backend
        from qengine.job import NewJob

        async def main():
            backend = open_backend(sys.argv[1])
            sys.stdin.readline()
            await backend.open()
            print(len(await backend.migrate()), flush=True)
            await backend.check_schema()
            await backend.enqueue([NewJob("a")])
            await backend.close()

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(program), f"sqlite:///{path}"]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(told) == ["0", "0", "0", str(len(load_migrations(PACKAGE)))]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM qengine_jobs").fetchone() == (4,)


async def test_by_hand(opened: Open, path: Path, tmp_path: Path) -> None:
    """What `migrate --sql` prints makes the same schema, with which the release is content."""
    backend = await opened(migrate=False)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(backend.migration_sql())
    await backend.check_schema()
    assert await backend.migrate() == []
    by_hand = objects(path)
    await backend.close()
    os.rename(path, tmp_path / "by_hand.db")
    await (await opened()).close()
    assert objects(path) == by_hand


async def test_a_migration_that_fails_leaves_nothing(opened: Open, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE qengine_pauses (mine TEXT)")
        connection.commit()
    backend = await opened(migrate=False)
    with pytest.raises(SchemaError, match="qengine_pauses"):
        await backend.migrate()
    assert [name for name, _ in objects(path)] == ["qengine_pauses"]


async def test_checking_waits_for_nobody(opened: Open, path: Path) -> None:
    """A process that starts while another holds the write lock is not held up by a schema that is there."""
    await opened()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(10):
            late = await opened()
            await late.check_schema()


def test_statements_of_a_script() -> None:
    trigger = "CREATE TRIGGER g AFTER DELETE ON t BEGIN\n  DELETE FROM t;\nEND;"
    script = f"-- a; b\nCREATE TABLE t (x TEXT DEFAULT ';');\n{trigger}\n-- end\n"
    first, second = split(script)
    assert first.startswith("-- a; b\nCREATE TABLE t")
    assert second == trigger
    with pytest.raises(AssertionError, match="unfinished"):
        split("CREATE TABLE t (")
