"""absurd: tasks on one queue, which it polls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import absurdctl
import psycopg
from absurd_sdk import AsyncAbsurd

from benchmarks.orders import Order
from benchmarks.peers.asking import PsycopgAsker
from benchmarks.subject import Subject

POLL = 0.05
CALLERS = 10
"""Connections that concurrent callers share."""
WORKERS = 2
"""Clients that share the work of one process: with one, all that it settles waits in one line for the disk."""


class AbsurdSubject(Subject):
    """Rows are kept. A client has one connection, so there are several."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.clients = [AsyncAbsurd(order.url) for _ in range(CALLERS)]
        self.turn = 0
        self.asker = PsycopgAsker(order.url)

    async def setup(self) -> None:
        async with await psycopg.AsyncConnection.connect(self.order.url, autocommit=True) as connection:
            await connection.execute(absurdctl.BUNDLED_SCHEMA_SQL)
            await AsyncAbsurd(connection).create_queue()

    async def close(self) -> None:
        await self.asker.close()
        for client in self.clients:
            await client.close()

    async def enqueue(self, payload: dict[str, Any]) -> None:
        self.turn += 1
        client = self.clients[self.turn % CALLERS if self.order.kind == "callers" else 0]
        await client.spawn(self.order.type_names[0], payload, queue="default")

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        async with await psycopg.AsyncConnection.connect(self.order.url) as transaction:
            client = AsyncAbsurd(transaction)
            for payload in payloads:
                await client.spawn(type_name, payload, queue="default")

    async def serve(self) -> None:
        async def run(params: dict[str, Any], context: Any) -> None:
            await self.handler(**params)

        async def work(client: AsyncAbsurd) -> None:
            for name in self.order.type_names:
                client.register_task(name)(run)
            await client.start_worker(concurrency=-(-self.order.concurrency // WORKERS), poll_interval=POLL)

        workers = [AsyncAbsurd(self.order.url) for _ in range(WORKERS)]
        try:
            await asyncio.gather(*(work(client) for client in workers))
        finally:
            for client in workers:
                await client.close()

    async def unfinished(self) -> bool:
        return await self.asker.exists("absurd.r_default", "state IN ('pending', 'running', 'sleeping')")


SUBJECT = AbsurdSubject
