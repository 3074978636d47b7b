"""chancy: the asyncio executor, with eager polling."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from chancy import Chancy, Job, Queue, Worker

from benchmarks.orders import Order
from benchmarks.peers.asking import PsycopgAsker
from benchmarks.subject import Subject


class ChancySubject(Subject):
    """Rows are kept. A job is the import path of a function, so that there is but one type."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        quiet = logging.getLogger("benchmarks.chancy")
        quiet.setLevel(logging.ERROR)
        self.chancy = Chancy(order.url, log=quiet)
        self.asker = PsycopgAsker(order.url)
        self.worker = Worker(self.chancy, register_signal_handlers=False)

    def _queue(self) -> Queue:
        return Queue("default", concurrency=self.order.concurrency, executor=Chancy.Executor.Async, eager_polling=True)

    async def setup(self) -> None:
        async with Chancy(self.order.url, log=self.chancy.log) as chancy:
            await chancy.migrate()
            await chancy.declare(self._queue(), upsert=True)

    async def open(self) -> None:
        await self.chancy.__aenter__()

    async def close(self) -> None:
        await self.asker.close()
        await self.chancy.__aexit__(None, None, None)

    def _job(self, payload: dict[str, Any]) -> Job:
        return Job.from_func(self.handler, kwargs=payload, queue="default")

    async def enqueue(self, payload: dict[str, Any]) -> None:
        await self.chancy.push(self._job(payload))

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        async for _ in self.chancy.push_many([self._job(payload) for payload in payloads]):
            pass

    async def serve(self) -> None:
        async with self.worker:
            await asyncio.Event().wait()

    async def unfinished(self) -> bool:
        # A worker writes what it has settled once a second only.
        await self.worker.flush()
        return await self.asker.exists("chancy_jobs", "state IN ('pending', 'running', 'retrying')")


SUBJECT = ChancySubject
