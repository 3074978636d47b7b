"""Idling: what a worker that has nothing to do costs, with the server."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.meter import Meter
from benchmarks.subject import Subject, announce_ready

SETTLE_IN = 2.0


async def run(subject: Subject) -> dict[str, Any]:
    """Let a worker wait for as long as the order says."""
    worker = asyncio.create_task(subject.serve())
    try:
        await asyncio.sleep(SETTLE_IN)
        announce_ready()
        meter = Meter(subject.order.server)
        await asyncio.sleep(subject.order.seconds)
        result = meter.stop()
        if worker.done():
            worker.result()
    finally:
        worker.cancel()
        await asyncio.wait([worker], timeout=10)
    return result
