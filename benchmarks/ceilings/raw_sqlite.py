"""sqlite3 in the calling thread and nothing else: the statements that any queue on these tables has to run."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks import handlers
from benchmarks.ceilings import tables
from benchmarks.orders import Order
from benchmarks.subject import Subject

COLUMNS = "queue, type, priority, payload, max_attempts, scheduled_for, rank, created_at, updated_at"
INSERT = f"""INSERT INTO qengine_jobs ({COLUMNS})
VALUES ('default', :type, 5, :payload, 3, :now, :now + 3000, :now, :now) RETURNING id"""
INSERT_MANY = f"""INSERT INTO qengine_jobs ({COLUMNS})
SELECT 'default', :type, 5, value, 3, :now, :now + 3000, :now, :now FROM json_each(:payloads) WHERE true RETURNING id"""
CLAIM = """
UPDATE qengine_jobs SET status = 'processing', rank = NULL, attempts = attempts + 1, lease_token = lease_token + 1,
  locked_by = 'raw', locked_until = :now + 60, started_at = :now, updated_at = :now
WHERE id IN (
  SELECT id FROM qengine_jobs WHERE queue = 'default' AND type = :type AND rank IS NOT NULL AND crashes < 2
  ORDER BY rank, id LIMIT :limit)
RETURNING id, lease_token, payload"""
SETTLE = """
UPDATE qengine_jobs SET status = 'completed', crashes = 0, locked_by = NULL, locked_until = NULL,
  lease_token = lease_token + 1, completed_at = :now, updated_at = :now
FROM json_each(:done) AS done WHERE qengine_jobs.id = done.key AND lease_token = done.value"""
LEFT = "SELECT count(*) FROM qengine_jobs WHERE status <> 'completed'"
CHUNK = 1000


class RawSQLite(Subject):
    """One connection with `synchronous=NORMAL`, as qengine's; jobs are claimed and settled in batches of `order.batch`."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.type = order.type_names[0]
        self._group: list[tuple[str, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._served: asyncio.Event = asyncio.Event()

    async def setup(self) -> None:
        await tables.make(self.order.url)

    async def open(self) -> None:
        self.connection = sqlite3.connect(self.order.url.removeprefix("sqlite:///"), isolation_level=None)
        self.connection.execute("PRAGMA synchronous = NORMAL")

    async def close(self) -> None:
        self.connection.close()

    def run(self, statement: str, **values: Any) -> list[Any]:
        """The rows of a statement, which is a transaction of its own."""
        return self.connection.execute(statement, {"now": time.time(), "type": self.type, **values}).fetchall()

    async def enqueue(self, payload: dict[str, Any]) -> None:
        text = msgspec.json.encode(payload).decode()
        if self.order.kind == "callers":
            await self._enqueue_in_group(text)
        else:
            self.run(INSERT, payload=text)
            self._served.set()

    async def _enqueue_in_group(self, text: str) -> None:
        """The least that shares a commit between those who come at the same time."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._group.append((text, stored))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_group())
        await stored

    async def _write_group(self) -> None:
        group, self._group, self._writing = self._group, [], None
        self.run(INSERT_MANY, payloads=msgspec.json.encode([text for text, _ in group]).decode())
        for _, stored in group:
            stored.set_result(None)

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        for start in range(0, len(payloads), CHUNK):
            await self.insert(payloads[start : start + CHUNK], type_name)
        self.connection.execute("COMMIT")

    async def insert(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        """Store them in one statement."""
        texts = [msgspec.json.encode(payload).decode() for payload in payloads]
        self.run(INSERT_MANY, payloads=msgspec.json.encode(texts).decode(), type=type_name)

    async def claim(self, limit: int) -> list[Any]:
        """Up to so many jobs, each with id, token and payload."""
        return self.run(CLAIM, limit=limit)

    async def settle(self, done: Sequence[Any]) -> None:
        """Complete them."""
        self.run(SETTLE, done=msgspec.json.encode({row[0]: row[1] for row in done}).decode())

    async def drain(self) -> None:
        while claimed := await self.claim(self.order.batch):
            handlers.ran += len(claimed)
            await self.settle(claimed)

    async def left_behind(self) -> int:
        [(left,)] = self.run(LEFT)
        return int(left)

    async def serve(self) -> None:
        """Claim and run what was enqueued in this process. For the least that a pick-up takes."""
        while True:
            await self._served.wait()
            self._served.clear()
            while claimed := await self.claim(self.order.batch):
                for row in claimed:
                    await self.handler(**msgspec.json.decode(row[2]))
                await self.settle(claimed)


SUBJECT = RawSQLite
