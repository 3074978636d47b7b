"""The event loop alone: coroutines that take the next job from a list in memory and run its handler. No database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from benchmarks.orders import Order
from benchmarks.subject import Subject


class EventLoop(Subject):
    """As many coroutines as the concurrency says, which live as long as there are jobs."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.jobs: list[dict[str, Any]] = []

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        self.jobs.extend(payloads)

    async def drain(self) -> None:
        waiting = iter(self.jobs)

        async def slot() -> None:
            for payload in waiting:
                await self.handler(**payload)

        await asyncio.gather(*(slot() for _ in range(self.order.concurrency)))


SUBJECT = EventLoop
