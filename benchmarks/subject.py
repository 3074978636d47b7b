"""The process of a subject: `python -m benchmarks.subject MODULE ORDER` does one order and prints the result.

`ready` on a line says that the measuring can begin; it does when a line comes in. The last line is the result as JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import handlers
from benchmarks.orders import Order

RESULT = "RESULT "
FAR, NEAR = 0.02, 0.002
"""Seconds between two looks whether all is done, for subjects that do not end by themselves: before and after all handlers
have run, as far as this process can tell."""


class Subject:
    """A queue that is measured, by its own public API. Module `benchmarks.peers.x` has one as `SUBJECT`."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.handler: Callable[[float, str], Awaitable[None]] = handlers.ALL[order.handler]
        self._draining: asyncio.Task[None] | None = None

    async def setup(self) -> None:
        """Make the schema in an empty database."""

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect."""

    async def enqueue(self, payload: dict[str, Any]) -> None:
        """Enqueue one job of the first type; on return it is durable."""
        raise NotImplementedError

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        """Enqueue many jobs of one type, the fastest way that there is."""
        raise NotImplementedError

    async def serve(self) -> None:
        """Run a worker until cancelled."""
        raise NotImplementedError

    async def unfinished(self) -> bool:
        """Whether any job is not durably done."""
        raise NotImplementedError

    async def drain(self) -> None:
        """Run a worker until all jobs are durably done. Overridden where the queue can do that by itself."""
        self._draining = worker = asyncio.create_task(self.serve())
        seen = -1
        while True:
            near = handlers.ran >= self.order.jobs
            await asyncio.wait([worker], timeout=NEAR if near else FAR)
            if worker.done():
                worker.result()
                raise RuntimeError("the worker ended before the work did")
            if (near or handlers.ran == seen) and not await self.unfinished():
                return
            seen = handlers.ran

    async def left_behind(self) -> int:
        """After a drain: how many jobs are not durably done. Of those that say themselves when they are done."""
        return 0

    async def rest(self) -> None:
        """End the worker of `drain`, which is no part of the draining."""
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.wait([self._draining], timeout=10)


class ThreadedSubject(Subject):
    """A queue without async: calls block, concurrent callers are threads."""

    def enqueue_now(self, payload: dict[str, Any]) -> None:
        """Enqueue one job; on return it is durable."""
        raise NotImplementedError

    async def enqueue(self, payload: dict[str, Any]) -> None:
        """Called one after another, it may block."""
        self.enqueue_now(payload)

    def enqueue_by_threads(self, payloads: list[dict[str, Any]], callers: int) -> None:
        """All payloads, by so many threads."""
        with ThreadPoolExecutor(callers) as threads:
            list(threads.map(self.enqueue_now, payloads))

    def run_handler(self, payload: dict[str, Any]) -> None:
        """The async handler, from code that has no event loop; it must not wait."""
        try:
            self.handler(**payload).send(None)
        except StopIteration:
            return
        raise RuntimeError("this handler waits; a queue without async cannot run it")


def announce_ready() -> None:
    """Tell the harness that the measuring can begin, and wait until it does."""
    print("ready", flush=True)
    sys.stdin.readline()


async def carry_out(subject: Subject) -> dict[str, Any]:
    """Do the subject's order."""
    workload = importlib.import_module(f"benchmarks.workloads.{subject.order.workload}")
    if subject.order.load:
        await subject.setup()
    await subject.open()
    try:
        result: dict[str, Any] = await workload.run(subject)
    finally:
        await subject.rest()
        await subject.close()
    return result | {"ran": handlers.ran}


def main(module: str, order: str) -> None:
    """Do one order and print the result."""
    subject = importlib.import_module(module).SUBJECT(Order.from_json(order))
    loop = "asyncio"
    try:
        import uvloop
    except ImportError:
        result = asyncio.run(carry_out(subject))
    else:
        loop = "uvloop"
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(carry_out(subject))
    print(RESULT + json.dumps(result | {"loop": loop, "python": sys.version.split()[0]}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
