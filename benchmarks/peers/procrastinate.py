"""procrastinate: the psycopg connector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import procrastinate

from benchmarks.orders import Order
from benchmarks.peers.asking import PsycopgAsker
from benchmarks.subject import Subject

CHUNK = 1000


class ProcrastinateSubject(Subject):
    """Rows are kept."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=order.url, min_size=4, max_size=20))
        self.tasks = {name: self.app.task(name=name)(self.handler) for name in order.type_names}
        self.asker = PsycopgAsker(order.url)

    async def setup(self) -> None:
        async with self.app.open_async():
            await self.app.schema_manager.apply_schema_async()

    async def open(self) -> None:
        await self.app.open_async()

    async def close(self) -> None:
        await self.asker.close()
        await self.app.close_async()

    async def enqueue(self, payload: dict[str, Any]) -> None:
        await self.tasks[self.order.type_names[0]].defer_async(**payload)

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        for start in range(0, len(payloads), CHUNK):
            await self.tasks[type_name].batch_defer_async(*payloads[start : start + CHUNK])

    async def serve(self) -> None:
        await self.app.run_worker_async(concurrency=self.order.concurrency, install_signal_handlers=False)

    async def unfinished(self) -> bool:
        return await self.asker.exists("procrastinate_jobs", "status IN ('todo', 'doing')")


SUBJECT = ProcrastinateSubject
