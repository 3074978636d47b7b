"""saq: its PostgreSQL queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from saq import Worker
from saq.queue.postgres import PostgresQueue

from benchmarks.orders import Order
from benchmarks.peers.asking import PsycopgAsker
from benchmarks.subject import Subject

CALLERS = 50


class SaqSubject(Subject):
    """Rows are kept for ten minutes. It has no enqueue in bulk: fifty calls at a time take its place."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        logging.getLogger("saq").setLevel(logging.ERROR)
        self.asker = PsycopgAsker(order.url)

    async def open(self) -> None:
        self.queue = PostgresQueue(url=self.order.url)
        await self.queue.connect()

    async def close(self) -> None:
        await self.asker.close()
        await self.queue.disconnect()

    async def enqueue(self, payload: dict[str, Any]) -> None:
        await self.queue.enqueue(self.order.type_names[0], **payload)

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        left = iter(payloads)

        async def call() -> None:
            for payload in left:
                await self.queue.enqueue(type_name, **payload)

        await asyncio.gather(*(call() for _ in range(CALLERS)))

    async def serve(self) -> None:
        async def run(ctx: Any, sent: float, pad: str) -> None:
            await self.handler(sent, pad)

        queue = PostgresQueue(url=self.order.url)
        functions = [(name, run) for name in self.order.type_names]
        worker = Worker(queue, functions=functions, concurrency=self.order.concurrency)
        worker.SIGNALS = []
        await queue.connect()
        try:
            await worker.start()
        finally:
            await worker.stop()
            await queue.disconnect()

    async def unfinished(self) -> bool:
        return await self.asker.exists("saq_jobs", "status NOT IN ('complete', 'failed', 'aborted')")


SUBJECT = SaqSubject
