"""Draining: how fast a worker gets through jobs that wait for it. A job counts when it is durably done."""

from __future__ import annotations

from typing import Any

from benchmarks import handlers
from benchmarks.meter import Meter, resident
from benchmarks.subject import Subject, announce_ready


async def run(subject: Subject) -> dict[str, Any]:
    """Load, wait for the sign, drain."""
    order = subject.order
    if order.load:
        await load(subject)
    announce_ready()
    meter = Meter(order.server)
    await subject.drain()
    figures = meter.stop() | {"jobs": order.jobs, "memory_mb": resident()}
    if left := await subject.left_behind():
        raise RuntimeError(f"{left} jobs are not durably done")
    return figures


async def load(subject: Subject) -> None:
    """Enqueue the jobs, spread over the types."""
    order = subject.order
    names = order.type_names
    for place, name in enumerate(names):
        count = len(range(place, order.jobs, len(names)))
        if count:
            await subject.enqueue_bulk([handlers.payload() for _ in range(count)], name)
