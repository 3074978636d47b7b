"""What the conformance suite has to know about the two built-in backends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiosqlite
import asyncpg

from qengine.testing import BackendFactory


class SQLiteFactory(BackendFactory):
    """Backends on one SQLite file."""

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

    async def inserted(self) -> list[str]:
        conn = await asyncpg.connect(self.url)
        try:
            return [row["value"] for row in await conn.fetch("SELECT value FROM application ORDER BY n")]
        finally:
            await conn.close()
