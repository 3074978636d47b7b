"""The connections of `transaction()`: each lives outside the writer's thread and is the driver's own object."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from functools import partial

import aiosqlite
import anyio

from qengine.backends.sqlite.connection import Options, connect, connect_async
from qengine.backends.sqlite.errors import is_busy, translated
from qengine.errors import ConfigurationError

_KEPT = 4
"""How many idle connections are kept."""
_SQLITE_WAITS = 0.01
"""Seconds that SQLite waits for a lock by itself; more would starve beside a busy writer, so we try again instead."""


class Open:
    """One transaction that is open in a task."""

    def __init__(self, owner: Transactions, connection: aiosqlite.Connection, outer: Open | None) -> None:
        self.owner = owner
        self.connection = connection
        self.outer = outer
        """The one around it, on another database."""
        self.open = True
        self.enqueued = False
        """Whether jobs were stored over it, which are to wake workers once it is committed."""


_innermost: ContextVar[Open | None] = ContextVar("qengine_sqlite_transaction", default=None)


class Transactions:
    """Lends connections with an open write transaction."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._idle: list[aiosqlite.Connection] = []
        self._closed = False

    def inside(self) -> Open | None:
        """The transaction that the running task, or one that it was started from, is in."""
        found = _innermost.get()
        while found is not None and not (found.open and found.owner is self):
            found = found.outer
        return found

    def forbid_inside(self) -> None:
        """Raise ConfigurationError within a transaction: whoever writes then waits for a lock that the task itself holds."""
        if self.inside() is not None:
            raise ConfigurationError(
                "inside `transaction()` SQLite's only write lock is held, so that this would wait for itself: "
                "enqueue with conn=tx, and do everything else before or after the block"
            )

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[Open]:
        """A connection inside BEGIN IMMEDIATE. What is not committed at the end of the block is rolled back."""
        self.forbid_inside()
        connection = await self._take()
        outer = _innermost.get()
        lent, keep = Open(self, connection, outer), False
        try:
            await self._lock(connection)
            _innermost.set(lent)
            try:
                yield lent
            finally:
                lent.open = False
                _innermost.set(outer)
                with anyio.CancelScope(shield=True), translated(self._options.path):
                    await connection.rollback()
                keep = True
        finally:
            # Where BEGIN itself was cancelled it may still succeed in the connection's thread: closing undoes it.
            with anyio.CancelScope(shield=True):
                await self._give_back(connection, keep=keep)

    async def close(self) -> None:
        """Close the idle connections; those that are lent are closed when they come back."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()

    async def _take(self) -> aiosqlite.Connection:
        if self._idle:
            return self._idle.pop()
        return await connect_async(self._options, partial(connect, self._options, timeout=_SQLITE_WAITS))

    async def _give_back(self, connection: aiosqlite.Connection, *, keep: bool) -> None:
        if keep and not self._closed and len(self._idle) < _KEPT and connection.isolation_level is None:
            connection.row_factory = None
            connection.text_factory = str
            self._idle.append(connection)
        else:
            await connection.close()

    async def _lock(self, connection: aiosqlite.Connection) -> None:
        """Wait for the write lock."""
        deadline = time.monotonic() + self._options.busy_timeout
        with translated(self._options.path):
            while True:
                try:
                    await connection.execute_fetchall("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    if not is_busy(error) or time.monotonic() >= deadline:
                        raise
                await asyncio.sleep(0.002)
