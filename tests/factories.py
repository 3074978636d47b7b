"""What the conformance suite has to know about the two built-in backends."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiosqlite
import asyncpg

from qengine.backends.postgres.connection import TUNED
from qengine.testing import BackendFactory

CONTROL = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA", "SET", "--")


class SQLiteFactory(BackendFactory):
    """Backends on one SQLite file."""

    serial_writes = True

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(f"sqlite:///{path}", options)
        self.path = path

    @classmethod
    def of(cls, url: str, **options: Any) -> Self:
        return cls(Path(url.removeprefix("sqlite:///")), **options)

    async def __aenter__(self) -> Self:
        async with aiosqlite.connect(self.path) as conn:
            await conn.execute("PRAGMA journal_mode = WAL")
            await conn.execute("CREATE TABLE application (n INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT)")
            await conn.commit()
        return self

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Any]:
        async with aiosqlite.connect(self.path, isolation_level=None) as conn:
            await conn.execute("BEGIN")
            try:
                yield conn
            except BaseException:
                await conn.execute("ROLLBACK")
                raise
            await conn.execute("COMMIT")

    async def insert(self, conn: Any, value: str) -> None:
        await conn.execute("INSERT INTO application (value) VALUES (?)", (value,))

    async def inserted(self) -> list[str]:
        async with aiosqlite.connect(self.path) as conn:
            return [value for (value,) in await conn.execute_fetchall("SELECT value FROM application ORDER BY n")]

    @asynccontextmanager
    async def recording(self, backend: Any) -> AsyncIterator[list[str]]:
        statements: list[str] = []

        def note(text: str) -> None:
            # A statement that fires triggers is told once more for each of them.
            if not text.lstrip().startswith(CONTROL) and text not in statements[-1:]:
                statements.append(text)

        async def trace(callback: Callable[[str], None] | None) -> None:
            await backend._writer.run(lambda connection: connection.set_trace_callback(callback), single=True)
            for reader in (backend._reader, backend._patient_reader):
                await reader.set_trace_callback(callback)

        await trace(note)
        yield statements
        await trace(None)

    async def full_scans(self, statements: Sequence[str]) -> list[str]:
        found = []
        async with aiosqlite.connect(self.path) as conn:
            for text in statements:
                names = {alias or "qengine_jobs" for alias in re.findall(r"qengine_jobs(?: AS (\w+))?", text)}
                plan = [detail for *_, detail in await conn.execute_fetchall(f"EXPLAIN QUERY PLAN {text}")]
                scans = [line for line in plan if line.split()[0] == "SCAN" and line.split()[1] in names and "USING" not in line]
                found += [f"{line} in {text[:500]}" for line in scans]
        return found

    async def outgrow(self) -> None:
        async with aiosqlite.connect(self.path) as conn:
            await conn.execute("UPDATE qengine_meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'schema_version'")
            await conn.commit()


class PostgresFactory(BackendFactory):
    """Backends on one PostgreSQL database."""

    async def __aenter__(self) -> Self:
        conn = await asyncpg.connect(self.url)
        await conn.execute("CREATE TABLE application (n INTEGER GENERATED ALWAYS AS IDENTITY, value TEXT)")
        await conn.close()
        return self

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Any]:
        conn = await asyncpg.connect(self.url)
        try:
            async with conn.transaction():
                yield conn
        finally:
            await conn.close()

    async def insert(self, conn: Any, value: str) -> None:
        await conn.execute("INSERT INTO application (value) VALUES ($1)", value)

    @asynccontextmanager
    async def recording(self, backend: Any) -> AsyncIterator[list[Any]]:
        statements: list[Any] = []
        take = backend._pool._take

        def note(query: Any) -> None:
            if not query.query.lstrip().startswith(CONTROL):
                statements.append(query)

        async def observed() -> Any:
            conn = await take()
            conn.add_query_logger(note)
            return conn

        backend._pool._take = observed
        yield statements
        backend._pool._take = take
        for conn in backend._pool._idle:
            conn.remove_query_logger(note)

    async def full_scans(self, statements: Sequence[Any]) -> list[str]:
        found = []
        conn = await asyncpg.connect(self.url)
        try:
            await conn.execute(f"ANALYZE; {TUNED}")
            for statement in statements:
                plan = [line for (line,) in await conn.fetch(f"EXPLAIN {statement.query}", *statement.args)]
                found += [f"{line} in {statement.query[:500]}" for line in plan if re.search(r"Seq Scan on qengine_jobs\b", line)]
        finally:
            await conn.close()
        return found

    async def outgrow(self) -> None:
        conn = await asyncpg.connect(self.url)
        await conn.execute("UPDATE qengine_meta SET value = (value::int + 1)::text WHERE key = 'schema_version'")
        await conn.close()

    async def inserted(self) -> list[str]:
        conn = await asyncpg.connect(self.url)
        try:
            return [row["value"] for row in await conn.fetch("SELECT value FROM application ORDER BY n")]
        finally:
            await conn.close()
