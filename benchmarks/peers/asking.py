"""A question to the database beside a queue's own connections."""

from __future__ import annotations

from typing import Any


class PsycopgAsker:
    """By psycopg, on one connection that is kept."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None

    async def exists(self, table: str, condition: str) -> bool:
        """Whether the table has such a row."""
        import psycopg

        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        cursor = await self._connection.execute(f"SELECT EXISTS (SELECT FROM {table} WHERE {condition})")
        row = await cursor.fetchone()
        return bool(row[0])

    async def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            await self._connection.close()
