"""Where it is measured: databases that are made for one measurement, and what the machine is."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import anyio

from qengine.testing import PostgresServer


class Place(Protocol):
    """A kind of database."""

    name: str
    server: int | None
    """The process id of its server, when that is on this machine."""

    def database(self) -> Any:
        """A context manager: the URL of an empty database."""
        ...

    def settle_down(self, url: str) -> None:
        """After loading: fresh statistics, nothing left to write."""
        ...

    def log_position(self, url: str) -> int | None:
        """How many bytes were ever written to the write-ahead log; None where nobody counts them."""
        ...

    def facts(self) -> dict[str, Any]:
        """Version and settings."""
        ...


class SQLitePlace:
    """Files in a temporary folder."""

    name = "sqlite"
    server = None

    @contextmanager
    def database(self) -> Iterator[str]:
        folder = tempfile.mkdtemp(prefix="qengine-bench-")
        try:
            yield f"sqlite:///{folder}/bench.db"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def settle_down(self, url: str) -> None:
        """Nothing to do: SQLite keeps its statistics only when asked."""

    def log_position(self, url: str) -> None:
        """The log of SQLite is written over again and again."""

    def facts(self) -> dict[str, Any]:
        return {"version": sqlite3.sqlite_version, "durability": "WAL, synchronous=NORMAL, the default of qengine"}


class PostgresPlace:
    """An embedded PostgreSQL that waits for the disk, unless told otherwise, or the server that QENGINE_TEST_POSTGRES names."""

    name = "postgres"

    def __init__(self, *, durable: bool = True) -> None:
        self._durable = durable
        self._stack = ExitStack()
        self.server: int | None = None

    def __enter__(self) -> Self:
        self._server = self._stack.enter_context(PostgresServer(durable=self._durable))
        self._facts = anyio.run(self._ask)
        self.server = _postmaster(self._facts.pop("data_directory"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    async def _ask(self) -> dict[str, Any]:
        import asyncpg

        connection = await asyncpg.connect(self._server.url)
        try:
            names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "data_directory")
            return {name: await connection.fetchval(f"SELECT current_setting('{name}')") for name in names}
        finally:
            await connection.close()

    @contextmanager
    def database(self) -> Iterator[str]:
        url = self._server.create_database()
        try:
            yield url
        finally:
            self._server.drop_database(url)

    def settle_down(self, url: str) -> None:
        anyio.run(self._vacuum, url)

    def log_position(self, url: str) -> int:
        return int(anyio.run(self._fetch, url, "SELECT pg_current_wal_insert_lsn() - '0/0'"))

    @staticmethod
    async def _fetch(url: str, query: str) -> Any:
        import asyncpg

        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def _vacuum(self, url: str) -> None:
        import asyncpg

        connection = await asyncpg.connect(url)
        try:
            await connection.execute("VACUUM ANALYZE")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()

    def facts(self) -> dict[str, Any]:
        return dict(self._facts)


def _postmaster(data_directory: str) -> int | None:
    try:
        return int(Path(data_directory, "postmaster.pid").read_text().split()[0])
    except (OSError, ValueError):
        return None


def machine() -> dict[str, Any]:
    """What it runs on, and what is measured."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB",
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "qengine": version("qengine") + _commit(),
        "drivers": {name: version(name) for name in ("asyncpg", "aiosqlite", "uvloop") if find_spec(name)},
    }


def _commit() -> str:
    """The commit of the working tree, marked where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return ""
    return f" at {found.stdout.strip()}" if found.returncode == 0 else ""
