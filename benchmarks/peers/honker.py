"""honker: a queue for each type, claimed and acknowledged in batches."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import honker

from benchmarks.orders import Order
from benchmarks.subject import Subject

FALLBACK = 5.0
"""Seconds after which it looks without having been woken, as its own worker does."""


class HonkerSubject(Subject):
    """Rows are deleted when they are done. Its own worker takes one job at a time; batches are its faster way."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.name = f"worker-{os.getpid()}"

    async def open(self) -> None:
        self.db = honker.open(self.order.url.removeprefix("sqlite:///"))
        self.queues = {name: self.db.queue(name) for name in self.order.type_names}

    async def close(self) -> None:
        self.db.close()

    async def enqueue(self, payload: dict[str, Any]) -> None:
        self.queues[self.order.type_names[0]].enqueue(payload)

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        with self.db.transaction() as transaction:
            for payload in payloads:
                self.queues[type_name].enqueue(payload, tx=transaction)

    async def drain(self) -> None:
        for queue in self.queues.values():
            while jobs := queue.claim_batch(self.name, self.order.concurrency):
                await asyncio.gather(*(self.handler(**job.payload) for job in jobs))
                queue.ack_batch([job.id for job in jobs], self.name)

    async def serve(self) -> None:
        updates = self.db.update_events()
        while True:
            await self.drain()
            try:
                await asyncio.wait_for(anext(updates), FALLBACK)
            except TimeoutError:
                continue


SUBJECT = HonkerSubject
