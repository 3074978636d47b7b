"""dbos: workflows on one queue, which it polls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSClient, EnqueueOptions

from benchmarks.orders import Order
from benchmarks.peers.asking import PsycopgAsker
from benchmarks.subject import Subject

QUEUE = "bench"
POLL = 0.05
CONNECTIONS = 20


class DbosSubject(Subject):
    """Rows are kept. The queue has no limit, with which it was the fastest: any concurrency is the same to it."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.asker = PsycopgAsker(order.url)

    async def setup(self) -> None:
        DBOS.migrate(self.order.url)

    async def open(self) -> None:
        self.client = DBOSClient(system_database_url=self.order.url, system_database_pool_size=CONNECTIONS)
        await self.client.register_queue_async(QUEUE, polling_interval_sec=POLL)

    async def close(self) -> None:
        await self.asker.close()
        self.client.destroy()

    def _options(self, type_name: str) -> EnqueueOptions:
        return {"queue_name": QUEUE, "workflow_name": type_name}

    async def enqueue(self, payload: dict[str, Any]) -> None:
        await self.client.enqueue_async(self._options(self.order.type_names[0]), **payload)

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        engine = sqlalchemy.create_engine(self.order.url.replace("postgresql:", "postgresql+psycopg:", 1))
        options = self._options(type_name)
        with engine.begin() as transaction:
            for payload in payloads:
                self.client.enqueue_in_transaction(transaction, options, **payload)
        engine.dispose()

    async def serve(self) -> None:
        DBOS(config={"name": "bench", "system_database_url": self.order.url, "log_level": "ERROR"})
        for name in self.order.type_names:
            DBOS.workflow(name=name)(self._workflow())
        await asyncio.to_thread(DBOS.launch)
        try:
            await asyncio.Event().wait()
        finally:
            DBOS.destroy()

    def _workflow(self) -> Any:
        async def run(sent: float, pad: str) -> None:
            await self.handler(sent, pad)

        return run

    async def unfinished(self) -> bool:
        return await self.asker.exists("dbos.workflow_status", "status IN ('ENQUEUED', 'PENDING', 'DELAYED')")


SUBJECT = DbosSubject
