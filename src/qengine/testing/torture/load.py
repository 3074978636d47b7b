"""Who gives the workers something to do, and who meddles: the processes that enqueue, cancel, requeue and pause."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from qengine import BackendUnavailable, Engine, QEngineError
from qengine.backends.inspection import JobFilter
from qengine.job import Status
from qengine.testing.torture.app import CRONS, GUILTY, UNKNOWN
from qengine.testing.torture.ledger import Ledger
from qengine.testing.torture.options import Config

Connect = Callable[[], AbstractAsyncContextManager[Any]]
"""Opens a connection of the application's own, in a transaction that is committed at the end of the block."""

PLANS = (["ok"], ["ok"], ["ok"], ["fail", "ok"], ["fail", "fail", "fail"], ["snooze"], ["retry_after"], ["discard"], ["cancel"])
BREAD = {"plain": 10, "effect": 8, "steps": 2, "ghost": 1, "threaded": 1, UNKNOWN: 0.02}
LANES = ("default", "default", "default", "slow_lane")
LINE = 150
"""Jobs that stand in the line of type `line`, about."""


class Enqueuer:
    """Enqueues in every way there is, each try recorded before and after."""

    def __init__(self, engine: Engine, ledger: Ledger, config: Config, connect: Connect, seed: str) -> None:
        self._engine = engine
        self._ledger = ledger
        self._config = config
        self._connect = connect
        self._random = random.Random(seed)  # noqa: S311 - repeatable, guards nothing
        self._markers = (f"{os.getpid()}.{seed.rpartition(' ')[2]}.{n}" for n in itertools.count())

    async def run(self) -> None:
        """Enqueue at the rate that was asked for, until killed."""
        ways: list[Callable[[], Any]] = [self._one, self._one, self._many, self._unique, self._with_order, self._expiring]
        while True:
            before = self._sent = 0
            await self._random.choice(ways)()
            await asyncio.sleep((self._sent - before) / self._config.rate * self._random.uniform(0.5, 1.5))

    async def _record(self, way: str, jobs: list[dict[str, Any]], call: Callable[[], Any], **facts: Any) -> None:
        markers = [job["marker"] for job in jobs]
        self._sent += len(jobs)
        self._ledger.write("try", way=way, markers=markers, **facts)
        try:
            stored = await call()
        except BackendUnavailable as error:
            self._ledger.write("nack", markers=markers, error=str(error)[:120])
            await asyncio.sleep(0.2)
            return
        stored = stored if isinstance(stored, list) else [stored]
        self._ledger.write("ack", markers=markers, ids=[job.id for job in stored], existed=[job.existed for job in stored])

    def _payload(self, type: str) -> dict[str, Any]:
        payload: dict[str, Any] = {"marker": next(self._markers)}
        if type == "plain":
            payload["plan"] = self._random.choice(PLANS)
        elif type == "steps":
            payload["count"] = self._random.randint(2, 6)
        elif type == "threaded":
            payload["seconds"] = round(self._random.uniform(0.1, 1.5), 2)
        return payload

    def _type(self) -> str:
        return self._random.choices(list(BREAD), list(BREAD.values()))[0]

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"priority": self._random.randint(1, 10), "queue": self._random.choice(LANES)}
        if self._random.random() < 0.2:
            options["delay"] = round(self._random.uniform(0.1, 8), 2)
        return options

    async def _one(self) -> None:
        type = self._type()
        payload, options = self._payload(type), self._options()
        await self._record("one", [payload], lambda: self._engine.enqueue(type, payload, **options), type=type)

    async def _many(self) -> None:
        task = self._engine.registry.get(self._random.choice(("plain", "effect")))
        payloads = [self._payload(task.name) for _ in range(self._random.randint(2, 12))]
        await self._record("many", payloads, lambda: task.enqueue_many(payloads), type=task.name)

    async def _unique(self) -> None:
        payload, key = self._payload("plain"), f"key-{self._random.randrange(8)}"
        await self._record(
            "unique", [payload], lambda: self._engine.enqueue("plain", payload, unique_key=key, delay=0.5), type="plain", key=key
        )

    async def _with_order(self) -> None:
        """Within the application's own transaction: the job exists exactly when the order does."""
        payload = self._payload("effect")
        fails = self._random.random() < 0.3

        async def order() -> Any:
            try:
                async with self._connect() as conn:
                    job = await self._engine.enqueue("effect", payload, conn=conn)
                    await conn.execute(f"INSERT INTO torture_orders (marker) VALUES ('{payload['marker']}')")  # noqa: S608
                    if fails:
                        raise _Rollback
            except _Rollback:
                return []
            return job

        await self._record("order", [payload], order, type="effect", fails=fails)

    async def _expiring(self) -> None:
        payload = self._payload("effect")
        await self._record(
            "one", [payload], lambda: self._engine.enqueue("effect", payload, expires=0.5, delay=0.4), type="effect"
        )


class _Rollback(Exception):
    """Rolls back the application's transaction."""


class Operator:
    """Cancels, requeues, pauses and looks, as operators do; and keeps the line of type `line` long."""

    EXEMPT = (*CRONS, *GUILTY, "line", UNKNOWN)
    """Types that it leaves alone, because what is checked about them would become unclear."""

    def __init__(self, engine: Engine, ledger: Ledger, seed: str) -> None:
        self._engine = engine
        self._ledger = ledger
        self._random = random.Random(seed)  # noqa: S311 - repeatable, guards nothing
        self._markers = (f"line.{os.getpid()}.{seed.rpartition(' ')[2]}.{n}" for n in itertools.count())

    async def run(self) -> None:
        """Meddle about twice a second, until killed."""
        acts: list[Callable[[], Any]] = [self._cancel, self._cancel, self._requeue, self._pause, self._resume, self._look]
        while True:
            try:
                await self._feed_the_line()
                await self._random.choice(acts)()
            except BackendUnavailable:
                await asyncio.sleep(0.3)
            await asyncio.sleep(self._random.uniform(0.2, 0.8))

    async def _feed_the_line(self) -> None:
        standing = len(await self._engine.jobs(type="line", status="pending", limit=LINE))
        for priority in (10, 1, 2):
            wanted = (LINE - standing) // 2 if priority < 3 else 1
            payloads = [{"marker": next(self._markers)} for _ in range(min(wanted, 20))]
            if not payloads:
                continue
            markers = [payload["marker"] for payload in payloads]
            self._ledger.write("try", way="many", markers=markers, type="line")
            jobs = await self._engine.registry.get("line").options(priority=priority).enqueue_many(payloads)
            self._ledger.write("ack", markers=markers, ids=[job.id for job in jobs], existed=[job.existed for job in jobs])

    async def _some(self, *statuses: Status, count: int) -> list[int]:
        jobs = await self._engine.jobs(status=statuses, limit=150, newest_first=True)
        ids = [job.id for job in jobs if job.type not in self.EXEMPT]
        return self._random.sample(ids, min(len(ids), count))

    async def _act(self, act: str, ids: list[int], call: Callable[[JobFilter, int], Any]) -> None:
        if not ids:
            return
        self._ledger.write("asks", act=act, ids=ids)
        done = await call(JobFilter(ids=ids), len(ids))
        self._ledger.write("acts", act=act, ids=list(done))

    async def _cancel(self) -> None:
        ids = await self._some(Status.PENDING, Status.FAILED, Status.PROCESSING, count=self._random.randint(1, 3))
        await self._act("cancel", ids, self._engine.backend.cancel)

    async def _requeue(self) -> None:
        ids = await self._some(Status.DEAD, Status.CANCELLED, count=self._random.randint(1, 4))
        await self._act("requeue", ids, self._engine.backend.requeue)

    async def _pause(self) -> None:
        lane = self._random.choice(({"type": "plain"}, {"type": "steps"}, {"queue": "slow_lane"}))
        self._ledger.write("acts", act="pause", **lane)
        await self._engine.pause(**lane, until=self._random.uniform(0.5, 3))

    async def _resume(self) -> None:
        for lane in ({"type": "plain"}, {"type": "steps"}, {"queue": "slow_lane"}):
            await self._engine.resume(**lane)

    async def _look(self) -> None:
        try:
            await self._engine.stats()
            await self._engine.failures()
        except BackendUnavailable:
            raise
        except QEngineError as error:
            self._ledger.write("trouble", error=repr(error))
