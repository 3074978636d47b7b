"""Claiming: small statements within one transaction, because each of them costs SQLite next to nothing, while one statement
for all of it would build a dozen temporary tables every time."""

from __future__ import annotations

import sqlite3
from typing import Any

from qengine.backends.protocol import Demand
from qengine.backends.sqlite import rows
from qengine.backends.sqlite.statements import SQL


def claim(connection: sqlite3.Connection, demand: Demand, now: float) -> list[tuple[Any, ...]]:
    """Take the first jobs in line; the rows of `claimed.sql`, in the order of the line. Belongs inside a transaction."""
    lane = "_suspects" if demand.suspects else ""
    paused = {(kind, name) for kind, name, _ in connection.execute(SQL["pauses"], {"now": now})}
    queues = _waiting(connection, lane) if demand.queues is None else dict.fromkeys(demand.queues)
    open_queues = rows.as_json([name for name in queues if ("queue", name) not in paused])
    free = {name: n for name, n in demand.types.items() if n > 0 and ("type", name) not in paused}

    def heads(types: list[str], limit: int) -> str:
        values = {"queues": open_queues, "types": rows.as_json(types), "limit": limit}
        [(ids,)] = connection.execute(SQL["claim_heads" + lane], values)
        return str(ids)

    # Types that have room for all of it go together; each of the others can only give its own number.
    line = heads([name for name, n in free.items() if n >= demand.limit], demand.limit)
    bound = [heads([name], n) for name, n in free.items() if n < demand.limit]
    if bound:
        [(line,)] = connection.execute(SQL["claim_merge"], {"lines": f"[{line},{','.join(bound)}]", "limit": demand.limit})
    if line == "[]":
        return []
    values = {"ids": line, "worker": demand.worker, "lease": demand.lease, "now": now}
    connection.execute(SQL["claim"], values)
    return connection.execute(SQL["claimed"], values).fetchall()


def _waiting(connection: sqlite3.Connection, lane: str) -> list[str]:
    """The queues in which any job is in line."""
    found: list[str] = []
    text, least = SQL["line_queues" + lane], ""
    while True:
        [(queue,)] = connection.execute(text, {"least": least})
        if queue is None:
            return found
        found.append(queue)
        least = queue + "\0"  # the text that comes right after it
