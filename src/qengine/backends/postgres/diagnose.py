"""Looking the server over for what slows or endangers the queue. What the figures mean is said in `findings`."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from asyncpg import LockNotAvailableError  # type: ignore[import-untyped]

from qengine.backends.inspection import Finding
from qengine.backends.postgres import findings
from qengine.backends.postgres.connection import Connection
from qengine.backends.postgres.errors import translated
from qengine.backends.postgres.schema import Schema
from qengine.backends.protocol import LIVE_WITHIN
from qengine.errors import SchemaError

_INDEX = re.compile(r"^CREATE (?:UNIQUE )?INDEX (\w+)", re.MULTILINE)


class Diagnosis(Schema):
    """diagnose."""

    async def diagnose(self) -> list[Finding]:
        """See Inspection."""
        try:
            await self.check_schema()
        except SchemaError as error:
            return [findings.no_schema(str(error))]
        latest = self._migrations[-1]
        facts = await self._facts()
        return [
            Finding("schema", "ok", f"the schema is up to date (version {latest.version}, {latest.name})"),
            *await self._of_server(facts),
            *await self._of_tables(facts),
        ]

    async def _facts(self) -> findings.Facts:
        # Once in vain, so that no time goes into connecting.
        await self._fetch("now")
        before = dt.datetime.now(dt.UTC)
        [row] = await self._fetch("diagnose_server")
        return findings.Facts(row, before, dt.datetime.now(dt.UTC))

    async def _of_server(self, facts: findings.Facts) -> list[Finding]:
        return [
            findings.server(facts.server),
            findings.durability(facts.server, self._options.durability),
            findings.clock(facts),
            findings.connections(facts.server),
            findings.freeze(facts.server),
            findings.transactions(await self._fetch("diagnose_sessions", longer=findings.OPEN)),
            await self._of_wal(),
        ]

    async def _of_wal(self) -> Finding:
        rows = await self._fetch("diagnose_wal")
        size = None
        if rows[0]["listable"]:
            [row] = await self._fetch("diagnose_wal_size")
            size = row["size"]
        return findings.wal(rows, size)

    async def _of_tables(self, facts: findings.Facts) -> list[Finding]:
        waiting = findings.locks(await self._fetch("diagnose_waiting", longer=findings.WAITING))
        with translated():
            async with self._pool.lend() as connection:
                try:
                    async with connection.transaction(isolation="read_committed"):
                        return [waiting, *await self._measured(facts, connection)]
                except LockNotAvailableError:
                    return [findings.shut_out()]

    async def _measured(self, facts: findings.Facts, connection: Connection) -> list[Finding]:
        # Even the size of a table waits for whoever has locked it.
        await self._fetch_on(connection, "diagnose_patience")
        schema: dict[str, Any] = {"schema": self._options.schema}
        tables = await self._fetch_on(connection, "diagnose_tables", **schema)
        indexes = await self._fetch_on(connection, "diagnose_indexes", **schema)
        [jobs] = await self._fetch_on(connection, "diagnose_jobs", live_within=LIVE_WITHIN)
        unhandled = await self._fetch_on(connection, "unhandled", live_within=LIVE_WITHIN)
        return [
            findings.sizes(tables),
            findings.autovacuum(facts.server, tables),
            findings.indexes(indexes, self._needed_indexes()),
            findings.leases(jobs),
            findings.due(jobs),
            findings.unhandled([row["type"] for row in unhandled]),
        ]

    def _needed_indexes(self) -> list[str]:
        return [name for migration in self._migrations for name in _INDEX.findall(migration.sql)]
