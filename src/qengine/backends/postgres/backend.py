"""The backend as a whole: made from a URL, opened, migrated, closed. Its verbs come by families, one module each."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from qengine.backends.migrations import load_migrations, pending, require_current
from qengine.backends.postgres.admin import Admin
from qengine.backends.postgres.connection import TUNED, Connection, Connections
from qengine.backends.postgres.core import PACKAGE
from qengine.backends.postgres.errors import translated
from qengine.backends.postgres.inspection import Inspection
from qengine.backends.postgres.jobs import Jobs
from qengine.backends.postgres.options import Options, read_options
from qengine.backends.postgres.upkeep import Upkeep
from qengine.backends.postgres.wake import Listener
from qengine.backends.protocol import CONTRACT_VERSION, BackendSettings, Capabilities
from qengine.errors import SchemaError

_OLDEST = 130000


class PostgresBackend(Jobs, Upkeep, Admin, Inspection):
    """Jobs in PostgreSQL 13 or later, by asyncpg. See `QueueBackend` for what the verbs promise, `Options` for the options."""

    contract: ClassVar[int] = CONTRACT_VERSION

    def __init__(self, url: str, settings: BackendSettings, options: Options, *, wakes: bool = True) -> None:
        super().__init__(url, settings, options)
        self._pool = Connections(url, options, size=options.pool_size, settings=TUNED)
        self._handlers = Connections(url, options, size=options.pool_size)
        self._migrations = load_migrations(PACKAGE, self._replace)
        self._listener = (
            Listener(url, options, self._channel, heard=self._heard, missed=self._missed) if options.listen and wakes else None
        )
        self.capabilities = Capabilities(push=self._listener is not None, server_clock=True, caller_connection=True)

    @classmethod
    def from_url(cls, url: str, settings: BackendSettings, options: Mapping[str, Any]) -> Self:
        """See QueueBackend."""
        driver_url, read = read_options(url, options)
        return cls(driver_url, settings, read)

    def sibling(self) -> PostgresBackend:
        """See QueueBackend."""
        return PostgresBackend(self._url, self._settings, dataclasses.replace(self._options, pool_size=1), wakes=False)

    def __repr__(self) -> str:
        return f"<PostgresBackend schema={self._options.schema}>"

    # -- lifecycle

    async def open(self) -> None:
        """See QueueBackend."""
        self._pool.open()
        self._handlers.open()
        try:
            async with self._pool.lend() as connection:
                version = connection.get_server_version()
            if version.major * 10000 < _OLDEST:
                raise SchemaError(f"the server is PostgreSQL {version.major}; qengine needs {_OLDEST // 10000} or later")
            if self._listener is not None:
                await self._listener.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """See QueueBackend."""
        if self._listener is not None:
            await self._listener.stop()
        await self._handlers.close()
        await self._pool.close()

    async def migrate(self) -> list[str]:
        """See QueueBackend."""
        # Looked at first without the lock: a user who may not create anything can start when there is nothing to do.
        if not pending(self._migrations, await self._version()):
            return []
        return await self._pool.in_transaction(self._migrate)

    async def _migrate(self, connection: Connection) -> list[str]:
        schema = self._options.schema
        await connection.execute("SET LOCAL enable_seqscan TO DEFAULT")
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"qengine {schema}", timeout=3600)
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema):
            await connection.execute(f'CREATE SCHEMA "{schema}"')
        applied = []
        for migration in pending(self._migrations, await self._version_on(connection)):
            await connection.execute(migration.sql, timeout=3600)
            await self._fetch_on(connection, "set_version", version=str(migration.version))
            applied.append(migration.name)
        return applied

    async def check_schema(self) -> None:
        """See QueueBackend."""
        require_current(self._migrations, await self._version())

    async def _version(self) -> int:
        with translated():
            async with self._pool.lend() as connection:
                return await self._version_on(connection)

    async def _version_on(self, connection: Connection) -> int:
        if await connection.fetchval("SELECT to_regclass($1)", f'"{self._options.schema}".qengine_meta') is None:
            return 0
        rows = await self._fetch_on(connection, "version")
        if not rows:
            return 0
        if not rows[0]["value"].isdecimal():
            raise SchemaError(f"the schema version in {self._options.schema}.qengine_meta is no number: {rows[0]['value']!r}")
        return int(rows[0]["value"])

    def migration_sql(self) -> str:
        """See QueueBackend."""
        schema = self._options.schema
        parts = ["BEGIN;", *([] if schema == "public" else [f'CREATE SCHEMA IF NOT EXISTS "{schema}";'])]
        for migration in self._migrations:
            version = self._sql["set_version"].text.replace(":version::text", f"'{migration.version}'")
            parts += [f"-- {migration.name}", migration.sql.strip(), version.strip()]
        return "\n\n".join([*parts, "COMMIT;"]) + "\n"

    async def now(self) -> dt.datetime:
        """See QueueBackend."""
        [row] = await self._fetch("now")
        now: dt.datetime = row["now"]
        return now

    # -- waking

    @property
    def wakes(self) -> int:
        """See QueueBackend."""
        return self._wakes.count

    async def wake(self, seen: int) -> int:
        """See QueueBackend."""
        return await self._wakes.after(seen)
