"""Pick-up: the time from before an enqueue to the start of the handler, one job at a time or at a steady load.

`kind`: `both` in one process, or `worker` and `sender` in two.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import Any

from benchmarks import handlers
from benchmarks.subject import Subject, announce_ready

SETTLE_IN = 0.5
"""Seconds that a worker has to come to rest before the first job."""
PATIENCE = 10.0


async def run(subject: Subject) -> dict[str, Any]:
    """Send jobs now and then; the results hold each latency in seconds, and how many jobs a second were sent."""
    kind = subject.order.kind
    if kind == "sender":
        announce_ready()
        return await _send(subject)
    sent: dict[str, Any] = {}
    worker = asyncio.create_task(subject.serve())
    try:
        await asyncio.sleep(SETTLE_IN)
        if worker.done():
            worker.result()
        if kind == "both":
            announce_ready()
            sent = await _send(subject)
        else:
            print("ready", flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        await _until_received(subject.order.jobs)
    finally:
        worker.cancel()
        await asyncio.wait([worker], timeout=10)
    return sent | {"latencies": handlers.latencies}


async def _send(subject: Subject) -> dict[str, Any]:
    """Each job goes at its own time; what is late goes at once, so that the load is kept."""
    order = subject.order
    began = due = time.monotonic()
    for _ in range(order.jobs):
        due += order.gap * random.uniform(0.5, 1.5)
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        await subject.enqueue(handlers.payload())
    return {"fed": order.jobs / (time.monotonic() - began)}


async def _until_received(jobs: int) -> None:
    waited = 0.0
    while len(handlers.latencies) < jobs:
        await asyncio.sleep(0.05)
        waited += 0.05
        if waited > PATIENCE:
            raise RuntimeError(f"only {len(handlers.latencies)} of {jobs} jobs were started")
