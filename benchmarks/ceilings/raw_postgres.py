"""asyncpg and nothing else: the statements that any queue on these tables has to run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from benchmarks import handlers
from benchmarks.ceilings import tables
from benchmarks.orders import Order
from benchmarks.subject import Subject

INSERT = """
INSERT INTO qengine_jobs (queue, type, priority, payload, max_attempts, scheduled_for, rank, created_at, updated_at)
SELECT 'default', $1, 5, $2::json, 3, now(), extract(epoch FROM now()) + 3000, now(), now() RETURNING id"""
INSERT_AND_NOTIFY = f"WITH stored AS ({INSERT}) SELECT id, pg_notify('bare', '') FROM stored"
INSERT_MANY = """
INSERT INTO qengine_jobs (queue, type, priority, payload, max_attempts, scheduled_for, rank, created_at, updated_at)
SELECT 'default', $1, 5, payload, 3, now(), extract(epoch FROM now()) + 3000, now(), now() FROM unnest($2::json[]) AS payload
RETURNING id"""
CLAIM = """
UPDATE qengine_jobs SET status = 'processing', rank = NULL, attempts = attempts + 1, lease_token = lease_token + 1,
  locked_by = 'raw', locked_until = now() + interval '60 s', started_at = now(), updated_at = now()
WHERE id = ANY(ARRAY(
  SELECT id FROM qengine_jobs WHERE queue = 'default' AND type = $1 AND rank IS NOT NULL AND crashes < 2
  ORDER BY rank, id LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING id, lease_token, payload"""
SETTLE = """
UPDATE qengine_jobs AS j SET status = 'completed', crashes = 0, locked_by = NULL, locked_until = NULL,
  lease_token = j.lease_token + 1, completed_at = now(), updated_at = now()
FROM unnest($1::bigint[], $2::bigint[]) AS s (id, token) WHERE j.id = s.id AND j.lease_token = s.token"""
LEFT = "SELECT count(*) FROM qengine_jobs WHERE status <> 'completed'"
CHUNK = 1000


class RawPostgres(Subject):
    """One connection; jobs are claimed and settled in batches of `order.batch`."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.type = order.type_names[0]
        self._group: list[tuple[str, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def setup(self) -> None:
        await tables.make(self.order.url)

    async def open(self) -> None:
        self.connection = await asyncpg.connect(self.order.url)
        # As qengine's own connections: statistics of an empty table would make a plan for an empty table.
        await self.connection.execute("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")

    async def close(self) -> None:
        await self.connection.close()

    async def enqueue(self, payload: dict[str, Any]) -> None:
        text = msgspec.json.encode(payload).decode()
        if self.order.kind == "callers":
            await self._enqueue_in_group(text)
        else:
            await self.connection.fetch(INSERT, self.type, text)

    async def _enqueue_in_group(self, text: str) -> None:
        """The least that shares a statement between those who come at the same time."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._group.append((text, stored))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_groups())
        await stored

    async def _write_groups(self) -> None:
        while self._group:
            group, self._group = self._group, []
            await self.connection.fetch(INSERT_MANY, self.type, [text for text, _ in group])
            for _, stored in group:
                stored.set_result(None)
        self._writing = None

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        async with self.connection.transaction():
            for start in range(0, len(payloads), CHUNK):
                await self.insert(payloads[start : start + CHUNK], type_name)

    async def insert(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        """Store them in one statement."""
        texts = [msgspec.json.encode(payload).decode() for payload in payloads]
        await self.connection.fetch(INSERT_MANY, type_name, texts)

    async def claim(self, limit: int) -> list[Any]:
        """Up to so many jobs, each with id, token and payload."""
        return list(await self.connection.fetch(CLAIM, self.type, limit))

    async def settle(self, done: Sequence[Any]) -> None:
        """Complete them."""
        await self.connection.execute(SETTLE, [row[0] for row in done], [row[1] for row in done])

    async def drain(self) -> None:
        while claimed := await self.claim(self.order.batch):
            handlers.ran += len(claimed)
            await self.settle(claimed)

    async def left_behind(self) -> int:
        return int(await self.connection.fetchval(LEFT))

    async def serve(self) -> None:
        """Wait for a notification, claim, and run what came. For the round trip."""
        listening = await asyncpg.connect(self.order.url)
        came = asyncio.Event()
        await listening.add_listener("bare", lambda *_: came.set())
        try:
            while True:
                await came.wait()
                came.clear()
                while claimed := await self.claim(self.order.batch):
                    for row in claimed:
                        await self.handler(**msgspec.json.decode(row[2]))
                    await self.settle(claimed)
        finally:
            await listening.close()


class RoundTrip(RawPostgres):
    """Enqueueing tells a listener, which claims: the least that a pick-up takes."""

    async def open(self) -> None:
        await super().open()
        self.sender = await asyncpg.connect(self.order.url)

    async def close(self) -> None:
        await self.sender.close()
        await super().close()

    async def enqueue(self, payload: dict[str, Any]) -> None:
        await self.sender.fetch(INSERT_AND_NOTIFY, self.type, msgspec.json.encode(payload).decode())


def make(order: Order) -> Subject:
    """The subject for an order."""
    return RoundTrip(order) if order.workload == "pickup" else RawPostgres(order)


SUBJECT = make
