"""oban: one queue, a psycopg pool."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from oban import Oban, worker
from oban.schema import install
from psycopg_pool import AsyncConnectionPool

from benchmarks.orders import Order
from benchmarks.peers.asking import PsycopgAsker
from benchmarks.subject import Subject

CHUNK = 1000


class ObanSubject(Subject):
    """Rows are kept."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        handler = self.handler

        class Work:
            async def process(self, job: Any) -> None:
                await handler(**job.args)

        self.workers = {name: worker(queue="default")(type(name, (Work,), {})) for name in order.type_names}
        self.asker = PsycopgAsker(order.url)

    async def setup(self) -> None:
        async with AsyncConnectionPool(self.order.url, min_size=1, open=False) as pool:
            await install(pool)

    async def open(self) -> None:
        self.pool = AsyncConnectionPool(self.order.url, min_size=4, max_size=20, open=False)
        await self.pool.open()
        self.client = Oban(pool=self.pool, name="client")

    async def close(self) -> None:
        await self.asker.close()
        await self.pool.close()

    async def enqueue(self, payload: dict[str, Any]) -> None:
        await self.client.enqueue(self.workers[self.order.type_names[0]].new(payload))

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        new = self.workers[type_name].new
        for start in range(0, len(payloads), CHUNK):
            await self.client.enqueue_many([new(payload) for payload in payloads[start : start + CHUNK]])

    async def serve(self) -> None:
        async with Oban(pool=self.pool, queues={"default": self.order.concurrency}):
            await asyncio.Event().wait()

    async def unfinished(self) -> bool:
        return await self.asker.exists("oban_jobs", "state IN ('available', 'executing', 'scheduled', 'retryable')")


SUBJECT = ObanSubject
