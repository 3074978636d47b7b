"""The schema: brought up to this release, and looked at."""

from __future__ import annotations

from qengine.backends.migrations import load_migrations, pending, require_current
from qengine.backends.postgres.connection import Connection
from qengine.backends.postgres.core import PACKAGE, Core
from qengine.backends.postgres.errors import translated
from qengine.backends.postgres.options import Options
from qengine.backends.protocol import BackendSettings
from qengine.errors import SchemaError


class Schema(Core):
    """migrate, check_schema, migration_sql."""

    def __init__(self, url: str, settings: BackendSettings, options: Options) -> None:
        super().__init__(url, settings, options)
        self._migrations = load_migrations(PACKAGE, self._replace)

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
