"""Enqueueing: one by one, by 50 concurrent callers, or in bulk."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks import handlers
from benchmarks.meter import Meter
from benchmarks.subject import Subject, ThreadedSubject, announce_ready

CALLERS = 50
WARM_UP = 20


async def run(subject: Subject) -> dict[str, Any]:
    """Enqueue as many jobs as the order says, in its way."""
    for _ in range(WARM_UP):
        await subject.enqueue(handlers.payload())
    order = subject.order
    way = {"one": _one_by_one, "callers": _by_callers, "bulk": _in_bulk}[order.kind]
    payloads = [handlers.payload() for _ in range(order.jobs)]
    announce_ready()
    meter = Meter(order.server)
    await way(subject, payloads)
    return meter.stop() | {"jobs": order.jobs}


async def _one_by_one(subject: Subject, payloads: list[dict[str, Any]]) -> None:
    for payload in payloads:
        await subject.enqueue(payload)


async def _by_callers(subject: Subject, payloads: list[dict[str, Any]]) -> None:
    if isinstance(subject, ThreadedSubject):
        subject.enqueue_by_threads(payloads, CALLERS)
        return
    left = iter(payloads)

    async def call() -> None:
        for payload in left:
            await subject.enqueue(payload)

    await asyncio.gather(*(call() for _ in range(CALLERS)))


async def _in_bulk(subject: Subject, payloads: list[dict[str, Any]]) -> None:
    await subject.enqueue_bulk(payloads, subject.order.type_names[0])
