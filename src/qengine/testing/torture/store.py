"""The run's own tables and triggers in the database under torture, and the reading of everything at the end."""

from __future__ import annotations

import abc
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from qengine.testing.torture.history import Change, Row

LIVE = "('pending', 'processing', 'failed')"
_CHANGES = """
SELECT seq, at, job, type, before, after, token_before, token, attempts_before, attempts, max_attempts, crashes_before, crashes,
    priority, due, rank, worker, dead_reason, error, result, checkpoint, progress
FROM torture_changes ORDER BY seq
"""
_ROWS = """
SELECT id, type, status, priority, attempts, max_attempts, crashes, lease_token, {due}, {created}, unique_key, dead_reason,
    last_error, payload, result
FROM qengine_jobs ORDER BY id
"""
_FIRES = """
SELECT schedules.type, {time} FROM qengine_fires AS fires JOIN qengine_schedules AS schedules ON schedules.name = fires.schedule
ORDER BY 1, 2
"""


class Store(abc.ABC):
    """A direct line to the database, past qengine."""

    @abc.abstractmethod
    async def prepare(self) -> None:
        """Make the run's tables and the triggers that record every change of a job."""

    @abc.abstractmethod
    async def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a statement."""

    @abc.abstractmethod
    async def rows(self) -> dict[int, Row]:
        """All jobs."""

    @abc.abstractmethod
    async def fires(self) -> list[tuple[str, float]]:
        """All fire times that were dealt with."""

    async def live(self) -> dict[tuple[str, str], int]:
        """How many jobs of each type and live status there are."""
        sql = f"SELECT type, status, count(*) FROM qengine_jobs WHERE status IN {LIVE} GROUP BY 1, 2"  # noqa: S608
        return {(type, status): count for type, status, count in await self.fetch(sql)}

    async def changes(self) -> list[Change]:
        """All that the triggers recorded."""
        return [_change(row) for row in await self.fetch(_CHANGES)]

    async def effects(self) -> list[tuple[int, int]]:
        """What handlers wrote in transactions."""
        return [(job, token) for job, token in await self.fetch("SELECT job, token FROM torture_effects")]

    async def orders(self) -> set[str]:
        """What applications committed."""
        return {marker for (marker,) in await self.fetch("SELECT marker FROM torture_orders")}


def _change(row: tuple[Any, ...]) -> Change:
    return Change(*row[:-3], *map(_value, row[-3:]))


def _script(name: str) -> str:
    return resources.files(__package__).joinpath("sql", f"{name}.sql").read_text()


def _value(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else text


class SQLiteStore(Store):
    """The store of a SQLite file."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def prepare(self) -> None:
        """See `Store`."""
        with self._connect() as connection:
            connection.executescript(_script("sqlite"))

    async def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """See `Store`."""
        with self._connect() as connection:
            rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
            return rows

    @contextlib.contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()

    async def rows(self) -> dict[int, Row]:
        """See `Store`."""
        return _rows(await self.fetch(_ROWS.format(due="scheduled_for", created="created_at")))

    async def fires(self) -> list[tuple[str, float]]:
        """See `Store`."""
        return [(type, time) for type, time in await self.fetch(_FIRES.format(time="fire_time"))]


class PostgresStore(Store):
    """The store of a PostgreSQL database."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def prepare(self) -> None:
        """See `Store`."""
        async with self.connect() as connection:
            await connection.execute(_script("postgres"))

    async def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """See `Store`."""
        async with self.connect() as connection:
            return [tuple(row) for row in await connection.fetch(sql)]

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        """A connection past qengine. Raises BackendUnavailable when the server is away, or goes away in the block."""
        import asyncpg  # type: ignore[import-untyped]

        from qengine.backends.postgres.errors import translated

        settings = {"application_name": "torture"}
        with translated():
            connection = await asyncpg.connect(self._url, timeout=10, command_timeout=300, server_settings=settings)
            try:
                yield connection
            finally:
                connection.terminate()

    async def rows(self) -> dict[int, Row]:
        """See `Store`."""
        due, created = (f"extract(epoch FROM {name})::float8" for name in ("scheduled_for", "created_at"))
        return _rows(await self.fetch(_ROWS.format(due=due, created=created)))

    async def fires(self) -> list[tuple[str, float]]:
        """See `Store`."""
        sql = _FIRES.format(time="extract(epoch FROM fire_time)::float8")
        return [(type, time) for type, time in await self.fetch(sql)]


def _rows(found: Iterable[tuple[Any, ...]]) -> dict[int, Row]:
    rows = {}
    for row in found:
        rows[row[0]] = Row(*row[:-2], *map(_value, row[-2:]))
    return rows
