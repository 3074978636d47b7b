"""Connections: made with our settings, lent for one statement or one transaction, dropped when broken."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import asyncpg  # type: ignore[import-untyped]

from qengine.backends.postgres.errors import BROKEN, CONFLICTS, DRIVER_ERRORS, translate, translated
from qengine.backends.postgres.options import Options
from qengine.errors import BackendUnavailable, ConfigurationError

T = TypeVar("T")
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Record: TypeAlias = asyncpg.Record

TUNED = "SET enable_seqscan = off; SET jit = off; SET default_transaction_isolation = 'read committed'"
"""Prepared statements keep the plan that was best when the table was small, until the next ANALYZE. Every statement of
the engine itself is meant to walk an index, so the planner is offered nothing else. For the same reason their joins are
written `id = ANY(ARRAY[s.id])`: an index serves it, and no join that reads a whole index to get at it does. All of them
are short: to compile one (jit) would take longer."""

_TRIES = 6
_CLOSE = 5.0


def session(options: Options, settings: str = "") -> str:
    """The SET statements that make a session ours; none where we are told to use no sessions.

    They are not start-up parameters, as poolers refuse those that they do not know.
    """
    if not options.listen:
        return ""
    relaxed = "SET synchronous_commit = off" if options.durability == "relaxed" else ""
    return "; ".join(filter(None, (settings, relaxed)))


async def connect(url: str, options: Options, settings: str = "") -> Connection:
    """A new connection. Raises an error of qengine; never waits longer than `connect_timeout` for one."""
    try:
        made: Connection = await asyncpg.connect(
            url,
            timeout=options.connect_timeout,
            command_timeout=options.command_timeout,
            statement_cache_size=256 if options.listen else 0,
            max_cached_statement_lifetime=0,
        )
        if settings:
            await execute_or_cut(made, settings)
    except TimeoutError as error:
        raise BackendUnavailable(f"PostgreSQL did not answer within {options.connect_timeout:g} s") from error
    except DRIVER_ERRORS as error:
        raise translate(error) from error
    except ValueError as error:
        # The text of such an error may quote the URL, and so a password.
        raise ConfigurationError(f"the PostgreSQL URL cannot be used ({type(error).__name__})") from None
    return made


async def execute_or_cut(connection: Connection, sql: str) -> None:
    """Run settings; a connection that does not take them is cut."""
    try:
        await connection.execute(sql)
    except BaseException:
        connection.terminate()
        raise


async def close_quietly(connection: Connection) -> None:
    """Say goodbye to the server if it listens; in any case the connection is closed within seconds."""
    try:
        await connection.close(timeout=_CLOSE)
    except DRIVER_ERRORS:
        connection.terminate()


class Connections:
    """At most `size` connections, opened when they are needed and lent one caller at a time.

    The driver's own pool asks the server to reset a connection at each return, a round trip; ours carry no state.
    """

    def __init__(self, url: str, options: Options, *, size: int, settings: str = "") -> None:
        self._url = url
        self._options = options
        self._session = session(options, settings)
        self._room = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self.closed = True
        self.pids: set[int] = set()
        """The server processes behind our connections: what they notify, we know already."""

    def open(self) -> None:
        """Begin to lend."""
        self.closed = False

    async def close(self) -> None:
        """Close every connection; those that are lent are cut."""
        self.closed = True
        for connection in list(self._lent):
            connection.terminate()
        while self._idle:
            self._drop(self._idle.pop())
        if self._closing:
            await asyncio.wait(self._closing)

    async def fetch(self, sql: str, values: Sequence[Any]) -> list[Record]:
        """The rows of one statement; done again when the server gave it up for another's sake (a deadlock)."""
        tries = 0
        while True:
            connection = await self._take()
            try:
                rows: list[Record] = await connection.fetch(sql, *values)
            except CONFLICTS as error:
                self._give_back(connection)
                tries += 1
                if tries == _TRIES:
                    raise translate(error) from error
                await _pause(tries)
            except BaseException as error:
                self._give_back(connection, error)
                if isinstance(error, DRIVER_ERRORS):
                    raise translate(error) from error
                raise
            else:
                self._give_back(connection)
                return rows

    async def in_transaction(
        self, work: Callable[[Connection], Awaitable[T]], *, conflicts: tuple[type[Exception], ...] = CONFLICTS
    ) -> T:
        """Do `work` in one transaction, and again from the start after a conflict with another."""
        tries = 0
        while True:
            try:
                async with self.lend() as connection, connection.transaction(isolation="read_committed"):
                    return await work(connection)
            except conflicts as error:
                tries += 1
                if tries == _TRIES:
                    raise translate(error) from error
            except DRIVER_ERRORS as error:
                raise translate(error) from error
            await _pause(tries)

    @asynccontextmanager
    async def lend(self, *, reset: bool = False) -> AsyncIterator[Connection]:
        """A connection for the block. The driver's errors pass through as they are.

        With `reset`, whatever the block did to the session (settings, locks, cursors) is undone afterwards.
        """
        connection = await self._take()
        failure: BaseException | None = None
        try:
            try:
                yield connection
            except BaseException as error:
                failure = error
                raise
            finally:
                if reset and self._options.listen and _is_sound(failure) and not connection.is_closed():
                    failure = await self._reset(connection)
        finally:
            self._give_back(connection, failure)

    async def _reset(self, connection: Connection) -> BaseException | None:
        try:
            await connection.reset()
            if self._session:
                await connection.execute(self._session)
        except DRIVER_ERRORS as error:
            return error
        except BaseException:
            connection.terminate()
            raise
        return None

    async def _take(self) -> Connection:
        await self._room.acquire()
        try:
            if self.closed:
                raise BackendUnavailable("the backend is not open")
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    break
            else:
                with translated():
                    connection = await connect(self._url, self._options, self._session)
                self._remember(connection)
        except BaseException:
            self._room.release()
            raise
        self._lent.add(connection)
        return connection

    def _give_back(self, connection: Connection, error: BaseException | None = None) -> None:
        self._lent.discard(connection)
        self._room.release()
        if connection.is_closed():
            return
        if _is_sound(error) and not self.closed and not connection.is_in_transaction():
            self._idle.append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        # A call that was cut short (cancelled, timed out) left an answer on its way: the connection is not used
        # again, and closed aside, as that may wait for the answer.
        task = asyncio.create_task(close_quietly(connection))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _remember(self, connection: Connection) -> None:
        # The number is bound here: a connection that has ended no longer knows it.
        pid = connection.get_server_pid()
        self.pids.add(pid)
        connection.add_termination_listener(lambda _: self.pids.discard(pid))


def _is_sound(error: BaseException | None) -> bool:
    """Whether a connection is good for another call after this one's end."""
    return error is None or (isinstance(error, Exception) and not isinstance(error, BROKEN))


async def _pause(tries: int) -> None:
    await asyncio.sleep(random.uniform(0.001, 0.02) * 2**tries)  # noqa: S311 - spreads retries, guards nothing
