"""qengine itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from benchmarks.orders import Order
from benchmarks.subject import Subject
from qengine import Engine

TIMEOUT = 30.0


class QEngine(Subject):
    """An engine with its default options, and a timeout for every job."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.engine = Engine(order.url, timeout=TIMEOUT)
        self.tasks = {name: self.engine.task(name)(self.handler) for name in order.type_names}
        self.first = self.tasks[order.type_names[0]]

    async def open(self) -> None:
        await self.engine.open()

    async def close(self) -> None:
        await self.engine.close()

    async def enqueue(self, payload: dict[str, Any]) -> None:
        await self.first.enqueue(**payload)

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        await self.tasks[type_name].enqueue_many(payloads)

    async def serve(self) -> None:
        async with self.engine.worker(concurrency=self.order.concurrency):
            await asyncio.Event().wait()

    async def drain(self) -> None:
        await self.engine.run_worker(concurrency=self.order.concurrency, until_idle=True)


SUBJECT = QEngine
