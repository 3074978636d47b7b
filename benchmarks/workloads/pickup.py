"""Pick-up: the time from before an enqueue to the start of the handler, with nothing else to do.

`kind`: `both` in one process, or `worker` and `sender` in two.
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Any

from benchmarks import handlers
from benchmarks.subject import Subject, announce_ready

SETTLE_IN = 0.5
"""Seconds that a worker has to come to rest before the first job."""
PATIENCE = 10.0


async def run(subject: Subject) -> dict[str, Any]:
    """Send jobs now and then; the result holds each latency in seconds."""
    kind = subject.order.kind
    if kind == "sender":
        announce_ready()
        await _send(subject)
        return {"jobs": subject.order.jobs}
    worker = asyncio.create_task(subject.serve())
    try:
        await asyncio.sleep(SETTLE_IN)
        if worker.done():
            worker.result()
        if kind == "both":
            announce_ready()
            await _send(subject)
            await _until_received(subject.order.jobs)
        else:
            print("ready", flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
            await _until_received(subject.order.jobs)
    finally:
        worker.cancel()
        await asyncio.wait([worker], timeout=10)
    return {"latencies": handlers.latencies, "jobs": subject.order.jobs}


async def _send(subject: Subject) -> None:
    gap = subject.order.gap
    for _ in range(subject.order.jobs):
        await asyncio.sleep(gap * random.uniform(0.5, 1.5))
        await subject.enqueue(handlers.payload())


async def _until_received(jobs: int) -> None:
    waited = 0.0
    while len(handlers.latencies) < jobs:
        await asyncio.sleep(0.05)
        waited += 0.05
        if waited > PATIENCE:
            raise RuntimeError(f"only {len(handlers.latencies)} of {jobs} jobs were started")
