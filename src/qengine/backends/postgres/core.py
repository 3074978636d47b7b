"""What all families of verbs share: statements by name, the clock, and telling others that there is work."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from qengine.backends.postgres.connection import Connection, Connections, Record
from qengine.backends.postgres.lines import Hints, Line
from qengine.backends.postgres.options import Options
from qengine.backends.postgres.wake import Wakes, channel_of
from qengine.backends.protocol import BackendSettings
from qengine.backends.sqlfile import Statement, load

PACKAGE = "qengine.backends.postgres"
ANY_LINE = ""
"""The notification that jobs came in lines which it does not name."""
_LONGEST = 7000
"""PostgreSQL takes notifications of less than 8000 bytes."""


class Core:
    """The base of the families. One instance belongs to one event loop."""

    def __init__(self, url: str, settings: BackendSettings, options: Options) -> None:
        self._url = url
        self._settings = settings
        self._options = options
        self._replace = {"{schema}": f'"{options.schema}"'}
        self._sql = load(PACKAGE, self._replace)
        for name in ("claim", "claim_one_type", "lines"):
            # The planner takes the suspects' index only if the condition stands in the text.
            self._sql[f"{name}_suspects"] = Statement(self._sql[name].text.replace("crashes < 2", "crashes >= 2"))
        self._channel = channel_of(options.schema)
        self._wakes = Wakes()
        self._hints = Hints()
        self._always: dict[str, Any] = {"ageing": settings.ageing, "channel": self._channel}
        self._pool: Connections

    def _clock(self) -> dt.datetime | None:
        """The time for `:now`: None lets the server take its own."""
        return None if self._settings.clock is None else self._settings.clock.now()

    def _bound(self, statement: Statement, values: dict[str, Any]) -> list[Any]:
        return statement.bind({**self._always, "now": self._clock(), **values})

    async def _fetch(self, verb: str, /, **values: Any) -> list[Record]:
        """The rows of the statement in `sql/<verb>.sql`, which is a transaction of its own."""
        statement = self._sql[verb]
        return await self._pool.fetch(statement.numbered, self._bound(statement, values))

    async def _fetch_on(self, connection: Connection, verb: str, /, **values: Any) -> list[Record]:
        """The same on a given connection, in its transaction if there is one. The driver's errors pass through."""
        statement = self._sql[verb]
        rows: list[Record] = await connection.fetch(statement.numbered, *self._bound(statement, values))
        return rows

    async def _desk(self, verb: str, /, **values: Any) -> list[Record]:
        """The rows of a statement whose best plan depends on its parameters, or which reads everything."""

        async def work(connection: Connection) -> list[Record]:
            await self._plan_freely(connection)
            return await self._fetch_on(connection, verb, **values)

        return await self._pool.in_transaction(work)

    async def _plan_freely(self, connection: Connection) -> None:
        """For the rest of a transaction, plan for the parameters at hand and with every kind of plan."""
        await self._fetch_on(connection, "plan_freely")

    def _enqueued(self, came: Mapping[Line, float]) -> None:
        """Jobs came in these lines, none below these ranks, written by this process."""
        for line, rank in came.items():
            self._hints.came((line,), rank)
        self._wakes.bump()

    def _came_in_line(self) -> None:
        """Some jobs came in line, written by this process: forget the hints and wake those who wait here."""
        self._hints.forget()
        self._wakes.bump()

    def _heard(self, pid: int, message: str) -> None:
        """A notification: the smallest rank, a space and the lines; or empty for lines unknown."""
        if pid in self._pool.pids:
            return
        rank, _, lines = message.partition(" ")
        if not lines:
            self._hints.forget()
        elif rank:
            self._hints.came(named_lines(lines), float(rank))
        self._wakes.bump()

    def _missed(self) -> None:
        """Notifications may have been missed."""
        self._came_in_line()


def line_names(lines: Iterable[tuple[str, str]]) -> str:
    """Lines as the text that a notification carries, queue and type by a tab; empty when they cannot be named like that."""
    parts = [f"{queue}\t{type}" for queue, type in lines]
    text = "\n".join(parts)
    is_plain = text.count("\t") == len(parts) and text.count("\n") == len(parts) - 1
    return text if is_plain and len(text.encode()) < _LONGEST else ANY_LINE


def named_lines(text: str) -> list[tuple[str, str]]:
    """Lines out of the text of a notification."""
    return [(queue, type) for queue, _, type in (line.partition("\t") for line in text.split("\n"))]
