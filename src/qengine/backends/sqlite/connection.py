"""Connections: the options of a database file, how one is opened, and the thread that does all the writing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote

import aiosqlite

from qengine.backends.sqlite.errors import is_busy, is_undecodable, lenient, translate, translated
from qengine.errors import BackendUnavailable, ConfigurationError

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

MINIMUM = (3, 37, 0)
"""The first SQLite with STRICT tables."""

_GROUP = 256
"""How many operations may share one commit, so that other processes get the write lock in between."""
_SHORTEST, _LONGEST = 0.0002, 0.003
"""Seconds between two tries for the write lock. SQLite's own waiting goes up to 0.1 s and starves beside a busy writer."""


@dataclass(frozen=True, slots=True)
class Options:
    """What can be said about a database file, in its URL or as backend options."""

    path: str
    """Absolute."""
    durability: str = "normal"
    """`normal`: a commit survives the death of the process; `full`: also a power cut."""
    busy_timeout: float = 30.0
    """Seconds to wait for the write lock while others hold it."""
    poll: float = 0.01
    """Seconds between two looks for the writes of other processes while someone waits; 0: never look."""

    @classmethod
    def parse(cls, url: str, options: Mapping[str, Any]) -> Options:
        """Read a URL and its options, which win over those of the URL's query."""
        location, _, query = url.partition("://")[2].partition("?")
        path = _path(unquote(location))
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
        except ValueError as error:
            raise ConfigurationError(f"the options in the SQLite URL cannot be read: {error}") from error
        given = {**dict(pairs), **options}
        unknown = sorted(set(given) - {"durability", "busy_timeout", "poll"})
        if unknown:
            raise ConfigurationError(f"unknown option {unknown[0]!r} for SQLite; it knows durability, busy_timeout and poll")
        durability = given.get("durability", "normal")
        if durability not in ("normal", "full"):
            raise ConfigurationError(f"durability={durability!r}: write normal or full")
        return cls(
            path=path,
            durability=durability,
            busy_timeout=_seconds("busy_timeout", given.get("busy_timeout", 30.0)),
            poll=_seconds("poll", given.get("poll", 0.01)),
        )


def _path(location: str) -> str:
    if location in ("", "/", ":memory:", "/:memory:") or location.startswith("/file:"):
        raise ConfigurationError(
            "qengine needs a database file, which several connections share: write sqlite:///path/to/file.db"
        )
    if not location.startswith("/"):
        raise ConfigurationError("a SQLite URL has three slashes for a relative path (sqlite:///file.db), four for an absolute")
    if "\0" in location:
        raise ConfigurationError("the path in the SQLite URL holds a NUL character, which no file name can")
    return os.path.abspath(location[1:])


def _seconds(name: str, value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if isinstance(value, bool) or not 0 <= seconds <= 86400:
        raise ConfigurationError(f"{name}={value!r}: give a number of seconds from 0 to 86400")
    return seconds


def refuse(path: str) -> None:
    """Raise ConfigurationError for what can never be opened, in clearer words than SQLite has."""
    if sqlite3.sqlite_version_info < MINIMUM:
        needed = ".".join(map(str, MINIMUM))
        raise ConfigurationError(f"this Python has SQLite {sqlite3.sqlite_version}, qengine needs {needed} or newer")
    if os.path.isdir(path):
        raise ConfigurationError(f"{path} is a folder; name a file in it")
    if not os.path.isdir(os.path.dirname(path)):
        raise ConfigurationError(f"the folder {os.path.dirname(path)} does not exist; create it first")


def connect(options: Options, *, timeout: float = 0.0) -> sqlite3.Connection:
    """Open the file, in the calling thread. `timeout`: seconds that SQLite itself waits for a lock."""
    connection = sqlite3.connect(options.path, timeout=timeout, isolation_level=None, cached_statements=256)
    try:
        synchronous = f"PRAGMA synchronous = {'FULL' if options.durability == 'full' else 'NORMAL'}"
        # This reads the file, which is locked for a moment while another process makes it.
        patiently(lambda: connection.execute(synchronous), options.busy_timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_ours(options: Options, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the file for statements of our own only. A writer waits with `patiently`."""
    connection = connect(options, timeout=options.busy_timeout if read_only else 0.0)
    # After an ANALYZE the planner would build an index of its own for each claim rather than use ours.
    connection.execute("PRAGMA automatic_index = OFF")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    else:
        # For what undoes a batch of updates, which would go to a file. It is small; what a reader has to sort may not be.
        connection.execute("PRAGMA temp_store = MEMORY")
    return connection


async def connect_async(options: Options, connector: Callable[[], sqlite3.Connection]) -> aiosqlite.Connection:
    """Open the file as the driver does, in a thread that does not keep a program alive which forgets to close."""
    connection = aiosqlite.Connection(connector, 64)
    thread: Any = getattr(connection, "_thread", connection)  # before 0.22 a connection is itself the thread
    thread.daemon = True
    with translated(options.path):
        return await connection


def patiently(attempt: Callable[[], T], timeout: float, stop: threading.Event | None = None) -> T:
    """Call until no lock of others is in the way, for `timeout` seconds at most, or until `stop` is set."""
    deadline, pause = time.monotonic() + timeout, _SHORTEST
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline or (stop is not None and stop.is_set()):
                raise
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads contenders, hides nothing
        pause = min(pause * 1.5, _LONGEST)


class Mergeable:
    """An operation of which several can be run as one, for less than they would cost one by one."""

    def __call__(self, connection: sqlite3.Connection) -> Any:
        """Run it alone."""
        raise NotImplementedError

    def together(self, connection: sqlite3.Connection, operations: Sequence[Any]) -> list[Any]:
        """Run several of its kind, itself among them; their results in order. Fails for all when it fails for one."""
        raise NotImplementedError


class _Call(NamedTuple):
    operation: Operation[Any]
    single: bool
    future: asyncio.Future[Any]


class _Answer(NamedTuple):
    future: asyncio.Future[Any]
    value: Any
    error: BaseException | None


class Writer:
    """The one connection that writes, in a thread of its own.

    Operations are functions of the connection. What has piled up while the last commit ran shares the next one
    (group commit); each is isolated from the failure of the others, and hears of its result after the commit.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    async def start(self) -> None:
        """Start the thread and connect; raises what connecting raises."""
        ready = asyncio.get_running_loop().create_future()
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="qengine-sqlite-writer", daemon=True)
        self._thread.start()
        await ready

    async def run(self, operation: Operation[T], *, single: bool = False) -> T:
        """Run `operation` in the thread and wait until it is committed.

        `single` says that it is one statement, which SQLite itself makes atomic; any other is put into a transaction
        or a savepoint. When the caller is cancelled the operation may still happen.
        """
        if self._thread is None or self._stop.is_set():
            raise BackendUnavailable(f"the SQLite database {self._options.path} is not open")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put(_Call(operation, single, future))
        return await future

    async def stop(self) -> None:
        """Finish what was handed over, close the connection and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            self._calls.put(None)
            await asyncio.get_running_loop().run_in_executor(None, thread.join)

    # -- in the thread

    def _serve(self, ready: asyncio.Future[None]) -> None:
        try:
            connection = connect_ours(self._options)
        except BaseException as error:
            _deliver([_Answer(ready, None, translate(error, self._options.path))])
            return
        with contextlib.closing(connection):
            _deliver([_Answer(ready, None, None)])
            while calls := self._take():
                _deliver(self._perform(connection, calls))

    def _take(self) -> list[_Call]:
        """The next group; empty when the thread is to end."""
        calls: list[_Call] = []
        while len(calls) < _GROUP:
            try:
                call = self._calls.get(block=not calls)
            except Empty:
                break
            if call is None:
                if calls:
                    self._calls.put(None)  # for the next round
                break
            if not call.future.cancelled():
                calls.append(call)
        return calls

    def _perform(self, connection: sqlite3.Connection, calls: list[_Call]) -> list[_Answer]:
        try:
            if len(calls) == 1 and calls[0].single:
                call = calls[0]
                return [_Answer(call.future, self._patiently(lambda: call.operation(connection)), None)]
            return self._group(connection, calls)
        except Exception as error:
            if is_undecodable(error) and connection.text_factory is str:
                connection.text_factory = lenient
                return self._perform(connection, calls)
            return [_Answer(call.future, None, translate(error, self._options.path)) for call in calls]

    def _group(self, connection: sqlite3.Connection, calls: list[_Call]) -> list[_Answer]:
        if connection.in_transaction:  # a rollback failed
            connection.execute("ROLLBACK")
        self._patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            if len(calls) == 1:
                answers = [_Answer(calls[0].future, calls[0].operation(connection), None)]
            else:
                answers = self._several(connection, calls)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return answers

    def _several(self, connection: sqlite3.Connection, calls: list[_Call]) -> list[_Answer]:
        alike = [call for call in calls if isinstance(call.operation, Mergeable)]
        if len(alike) < 2:
            return [self._isolated(connection, call) for call in calls]
        rest = [call for call in calls if not isinstance(call.operation, Mergeable)]
        return self._merged(connection, alike) + [self._isolated(connection, call) for call in rest]

    def _merged(self, connection: sqlite3.Connection, calls: list[_Call]) -> list[_Answer]:
        operations: list[Any] = [call.operation for call in calls]
        as_one = _Call(lambda connection: operations[0].together(connection, operations), False, calls[0].future)
        done = self._isolated(connection, as_one)
        if done.error is not None:
            return [self._isolated(connection, call) for call in calls]
        return [_Answer(call.future, value, None) for call, value in zip(calls, done.value, strict=True)]

    def _isolated(self, connection: sqlite3.Connection, call: _Call) -> _Answer:
        """One operation of several: when it fails, what it did is undone and the others are not touched."""
        if not call.single:
            connection.execute("SAVEPOINT operation")
        try:
            value = call.operation(connection)
        except Exception as error:
            if not connection.in_transaction:  # SQLite gave up on the whole transaction (disk full, for one)
                raise
            if is_undecodable(error) and connection.text_factory is str:  # all of it is done again
                raise
            if not call.single:
                connection.execute("ROLLBACK TO operation")
                connection.execute("RELEASE operation")
            return _Answer(call.future, None, translate(error, self._options.path))
        if not call.single:
            connection.execute("RELEASE operation")
        return _Answer(call.future, value, None)

    def _patiently(self, attempt: Callable[[], T]) -> T:
        return patiently(attempt, self._options.busy_timeout, self._stop)


def _deliver(answers: Iterable[_Answer]) -> None:
    answers = list(answers)
    # A RuntimeError says that the loop is closed: nobody waits any more.
    with contextlib.suppress(RuntimeError):
        answers[0].future.get_loop().call_soon_threadsafe(_resolve, answers)


def _resolve(answers: list[_Answer]) -> None:
    for future, value, error in answers:
        if future.done():
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
