"""huey on SQLite: two threads, which was its fastest, without results."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from huey import SqliteHuey
from huey.consumer import Consumer

from benchmarks import handlers
from benchmarks.orders import Order
from benchmarks.subject import ThreadedSubject

THREADS = 2


class HueySubject(ThreadedSubject):
    """A row is deleted before its handler runs, so that only handlers can be counted. There is no enqueue in bulk."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        logging.getLogger("huey").setLevel(logging.ERROR)
        self.huey = SqliteHuey(filename=order.url.removeprefix("sqlite:///"), results=False)

        def run(sent: float, pad: str) -> None:
            self.run_handler({"sent": sent, "pad": pad})

        self.tasks = {name: self.huey.task(name=name)(run) for name in order.type_names}

    def enqueue_now(self, payload: dict[str, Any]) -> None:
        self.tasks[self.order.type_names[0]](**payload)

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        for payload in payloads:
            self.tasks[type_name](**payload)

    async def serve(self) -> None:
        consumer = Consumer(self.huey, workers=THREADS, periodic=False, initial_delay=0.005, max_delay=0.005, backoff=1.0)
        consumer.start()
        try:
            await asyncio.Event().wait()
        finally:
            consumer.stop()

    async def unfinished(self) -> bool:
        return handlers.ran < self.order.jobs


SUBJECT = HueySubject
