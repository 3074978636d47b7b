"""Memory: what a worker holds after many jobs, by how many it has run. The jobs come from another process, in portions."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks import handlers
from benchmarks.meter import resident
from benchmarks.subject import Subject, announce_ready
from benchmarks.workloads.fill import fill_from_outside

PORTIONS = 10
AT_REST = 0.2
"""Seconds after the last handler of a portion until its outcomes are stored and the memory is read."""


async def run(subject: Subject) -> dict[str, Any]:
    """One worker drains all portions; the result holds its resident MB after each."""
    order = subject.order
    portion = order.jobs // PORTIONS
    worker = asyncio.create_task(subject.serve())
    found = []
    announce_ready()
    try:
        for number in range(1, PORTIONS + 1):
            await fill_from_outside(order.url, "waiting", portion - 1)
            await subject.enqueue(handlers.payload())  # which wakes the worker
            await _until_run(number * portion, worker)
            await asyncio.sleep(AT_REST)
            found.append(resident())
    finally:
        worker.cancel()
        await asyncio.wait([worker], timeout=10)
    return {"jobs": portion * PORTIONS, "resident": found}


async def _until_run(jobs: int, worker: asyncio.Task[None]) -> None:
    began = time.monotonic()
    while handlers.ran < jobs:
        await asyncio.wait([worker], timeout=0.05)
        if worker.done():
            worker.result()
            raise RuntimeError("the worker ended before the work did")
        if time.monotonic() - began > 120:
            raise RuntimeError(f"only {handlers.ran} of {jobs} jobs were run")
