"""A bare engine on qengine's tables: slots, a buffer claimed ahead, deadlines, batched settling, and no features.

The limit for an engine in asyncio that runs each job in a coroutine, with a timeout, and keeps its row.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from benchmarks.ceilings.raw_postgres import RawPostgres
from benchmarks.ceilings.raw_sqlite import RawSQLite
from benchmarks.orders import Order
from benchmarks.subject import Subject

BATCH = 500
TIMEOUT = 30.0


class BareEngine:
    """Claims and settles at the same time, in batches of what piled up."""

    def __init__(
        self,
        concurrency: int,
        handler: Callable[..., Awaitable[None]],
        claim: Callable[[int], Awaitable[list[Any]]],
        settle: Callable[[list[Any]], Awaitable[None]],
    ) -> None:
        self._concurrency = concurrency
        self._handler = handler
        self._claim = claim
        self._settle = settle
        self._buffer: deque[Any] = deque()
        self._ended: list[Any] = []
        self._deadlines: dict[int, float] = {}
        self._filled = asyncio.Condition()
        self._something_ended = asyncio.Event()
        self._low = asyncio.Event()
        self._over = False
        self._all_ended = False

    async def run(self) -> None:
        """Until there is nothing left."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settler())
            async with asyncio.TaskGroup() as slots:
                slots.create_task(self._fetcher())
                for _ in range(self._concurrency):
                    slots.create_task(self._slot())
            self._all_ended = True
            self._something_ended.set()

    async def _fetcher(self) -> None:
        while claimed := await self._claim(BATCH):
            async with self._filled:
                self._buffer.extend(claimed)
                self._filled.notify_all()
            while len(self._buffer) > BATCH // 2:
                self._low.clear()
                await self._low.wait()
        async with self._filled:
            self._over = True
            self._filled.notify_all()

    async def _slot(self) -> None:
        turned = time.monotonic()
        while True:
            while not self._buffer:
                if self._over:
                    return
                async with self._filled:
                    await self._filled.wait_for(lambda: self._buffer or self._over)
            job = self._buffer.popleft()
            if len(self._buffer) <= BATCH // 2:
                self._low.set()
            now = time.monotonic()
            self._deadlines[job[0]] = now + TIMEOUT
            await self._handler(**msgspec.json.decode(job[2]))
            del self._deadlines[job[0]]
            self._ended.append(job)
            self._something_ended.set()
            if now - turned > 0.005:
                await asyncio.sleep(0)
                turned = now

    async def _settler(self) -> None:
        while True:
            await self._something_ended.wait()
            self._something_ended.clear()
            while self._ended:
                batch, self._ended = self._ended[: 2 * BATCH], self._ended[2 * BATCH :]
                await self._settle(batch)
            if self._all_ended:
                return


class BarePostgres(RawPostgres):
    """Claims on one connection, settles on another."""

    async def drain(self) -> None:
        settling = RawPostgres(self.order)
        await settling.open()
        try:
            await BareEngine(self.order.concurrency, self.handler, self.claim, settling.settle).run()
        finally:
            await settling.close()


class BareSQLite(RawSQLite):
    """Each statement is one hop to the connection's thread."""

    async def open(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._thread = ThreadPoolExecutor(1)
        await asyncio.get_running_loop().run_in_executor(self._thread, asyncio.run, super().open())

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self.connection.close)
        self._thread.shutdown()

    async def _there(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    async def enqueue_bulk(self, payloads: Any, type_name: str) -> None:
        await self._there(asyncio.run, super().enqueue_bulk(payloads, type_name))

    async def drain(self) -> None:
        raw = super()

        async def claim(limit: int) -> list[Any]:
            claimed: list[Any] = await self._there(_finish, raw.claim(limit))
            return claimed

        async def settle(done: list[Any]) -> None:
            await self._there(_finish, raw.settle(done))

        await BareEngine(self.order.concurrency, self.handler, claim, settle).run()

    async def left_behind(self) -> int:
        left: int = await self._there(_finish, super().left_behind())
        return left


def _finish(coroutine: Any) -> Any:
    """The result of a coroutine that does not wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def make(order: Order) -> Subject:
    """The subject for an order."""
    return BareSQLite(order) if order.url.startswith("sqlite") else BarePostgres(order)


SUBJECT = make
