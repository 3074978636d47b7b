"""What every family of verbs stands on: the connections, the statements, the clock, the wake-ups."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Self, TypeVar

import aiosqlite

from qengine.backends.migrations import load_migrations, pending, require_current
from qengine.backends.protocol import CONTRACT_VERSION, BackendSettings, Capabilities
from qengine.backends.sqlite.connection import Operation, Options, Writer, connect_async, connect_ours, refuse
from qengine.backends.sqlite.errors import is_undecodable, lenient, translated
from qengine.backends.sqlite.statements import PACKAGE, SQL
from qengine.backends.sqlite.transaction import Transactions
from qengine.backends.sqlite.wake import Wakes, Watcher
from qengine.errors import BackendUnavailable, ConfigurationError

T = TypeVar("T")


class Core:
    """Lifecycle and plumbing of the SQLite backend."""

    contract: ClassVar[int] = CONTRACT_VERSION

    def __init__(self, options: Options, settings: BackendSettings, *, sibling: bool = False) -> None:
        self.options = options
        self.settings = settings
        self.capabilities = Capabilities(push=options.poll > 0 and not sibling, server_clock=False, caller_connection=True)
        self._is_sibling = sibling
        self._writer: Writer | None = None
        self._reader: aiosqlite.Connection | None = None
        self._patient_reader: aiosqlite.Connection | None = None
        self._watcher: Watcher | None = None
        self._transactions = Transactions(options)
        self._wakes = Wakes(self._watch)

    @classmethod
    def from_url(cls, url: str, settings: BackendSettings, options: Mapping[str, Any]) -> Self:
        """See `QueueBackend.from_url`."""
        return cls(Options.parse(url, options), settings)

    def sibling(self) -> Self:
        """See `QueueBackend.sibling`."""
        return type(self)(self.options, self.settings, sibling=True)

    # -- lifecycle

    async def open(self) -> None:
        """See `QueueBackend.open`."""
        if self._writer is not None:
            return
        refuse(self.options.path)
        self._transactions = Transactions(self.options)
        self._writer = Writer(self.options)
        try:
            await self._writer.start()
            if self._is_sibling:
                return
            await self._writer.run(self._use_wal, single=True)
            self._reader = await self._connect_reader()
            self._patient_reader = await self._connect_reader()
            if self.options.poll > 0:
                self._watcher = Watcher(self.options, SQL["news"], asyncio.get_running_loop(), self._wakes.bump)
                await self._watcher.start()
        except BaseException:
            await self.close()
            raise

    async def _connect_reader(self) -> aiosqlite.Connection:
        return await connect_async(self.options, partial(connect_ours, self.options, read_only=True))

    async def close(self) -> None:
        """See `QueueBackend.close`."""
        watcher, self._watcher = self._watcher, None
        readers = [self._reader, self._patient_reader]
        self._reader = self._patient_reader = None
        writer, self._writer = self._writer, None
        if watcher is not None:
            await watcher.stop()
        self._wakes.bump()
        await self._transactions.close()
        for reader in readers:
            if reader is not None:
                await reader.close()
        if writer is not None:
            await writer.stop()

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise ConfigurationError(
                f"the SQLite database {self.options.path} cannot be switched to WAL (it stays {mode}); use a local file system"
            )

    async def migrate(self) -> list[str]:
        """See `QueueBackend.migrate`."""
        missing = pending(load_migrations(PACKAGE), await self._write(schema_version, single=True))
        return await self._write(self._migrate) if missing else []

    def _migrate(self, connection: sqlite3.Connection) -> list[str]:
        steps = pending(load_migrations(PACKAGE), schema_version(connection))
        for step in steps:
            for statement in split(step.sql):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO qengine_meta (key, value) VALUES ('schema_version', :version) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                {"version": str(step.version)},
            )
        return [step.name for step in steps]

    async def check_schema(self) -> None:
        """See `QueueBackend.check_schema`."""
        require_current(load_migrations(PACKAGE), await self._write(schema_version, single=True))

    def migration_sql(self) -> str:
        """See `QueueBackend.migration_sql`."""
        parts = []
        for step in load_migrations(PACKAGE):
            version = f"INSERT INTO qengine_meta (key, value) VALUES ('schema_version', '{step.version}')"  # noqa: S608 - a number
            parts.append(
                f"-- {step.name}\nBEGIN IMMEDIATE;\n\n{step.sql.strip()}\n\n"
                f"{version}\nON CONFLICT (key) DO UPDATE SET value = excluded.value;\n\nCOMMIT;\n"
            )
        return "\n".join(parts)

    async def now(self) -> dt.datetime:
        """See `QueueBackend.now`."""
        clock = self.settings.clock
        return dt.datetime.now(dt.UTC) if clock is None else clock.now()

    # -- plumbing

    def _now(self) -> float:
        clock = self.settings.clock
        return time.time() if clock is None else clock.now().timestamp()

    async def _write(self, operation: Operation[T], *, single: bool = False) -> T:
        """Have the writer run `operation`; see `Writer.run`."""
        self._transactions.forbid_inside()
        if self._writer is None:
            raise self._closed()
        return await self._writer.run(operation, single=single)

    async def _write_one(self, verb: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Have the writer run one statement; the rows that it returns."""
        text = SQL[verb]
        return await self._write(lambda connection: connection.execute(text, values).fetchall(), single=True)

    async def _change(self, verb: str, values: Mapping[str, Any]) -> int:
        """Have the writer run one statement; how many rows it touched."""
        text = SQL[verb]
        return await self._write(lambda connection: connection.execute(text, values).rowcount, single=True)

    async def _read(self, verb: str, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """The rows of a statement that only reads; never waits for writers."""
        return await self._read_over(self._reader, verb, values)

    async def _read_at_length(self, verb: str, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """The same for what has no bound, over a connection of its own: what has one does not wait for it."""
        return await self._read_over(self._patient_reader, verb, values)

    async def _read_over(
        self, reader: aiosqlite.Connection | None, verb: str, values: Mapping[str, Any]
    ) -> Sequence[tuple[Any, ...]]:
        text = SQL[verb]
        if reader is not None:
            with translated(self.options.path):
                try:
                    return list(await reader.execute_fetchall(text, values))  # type: ignore[arg-type]
                except sqlite3.OperationalError as error:
                    if not is_undecodable(error):
                        raise
                    reader.text_factory = lenient
                    return list(await reader.execute_fetchall(text, values))  # type: ignore[arg-type]
        if self._writer is None:
            raise self._closed()
        return await self._writer.run(lambda connection: connection.execute(text, values).fetchall(), single=True)

    def _closed(self) -> BackendUnavailable:
        return BackendUnavailable(f"the SQLite database {self.options.path} is not open")

    # -- waking

    @property
    def wakes(self) -> int:
        """See `QueueBackend.wakes`."""
        return self._wakes.count

    async def wake(self, seen: int) -> int:
        """See `QueueBackend.wake`."""
        return await self._wakes.wait(seen)

    def _watch(self, yes: bool) -> None:
        if self._watcher is not None:
            self._watcher.wanted(yes)


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of the last migration that was applied; 0 for a database without qengine."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'qengine_meta'").fetchone() is None:
        return 0
    row = connection.execute("SELECT value FROM qengine_meta WHERE key = 'schema_version'").fetchone()
    return 0 if row is None else int(row[0])


def split(script: str) -> list[str]:
    """The statements of a script. The driver's own `executescript` would commit first."""
    statements, text = [], ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            statements.append(text.strip())
            text = ""
    assert not text.strip() or text.strip().startswith("--"), f"unfinished statement: {text!r}"
    return statements
