"""What a fault is, and what it can reach."""

from __future__ import annotations

import abc
import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from qengine import Engine
from qengine.testing.torture.clock import SharedClock
from qengine.testing.torture.cluster import Cluster
from qengine.testing.torture.disk import SmallDisk
from qengine.testing.torture.ledger import Ledger
from qengine.testing.torture.proxy import Proxy
from qengine.testing.torture.server import PgBouncer, Server
from qengine.testing.torture.store import PostgresStore


@dataclass
class World:
    """What a run consists of."""

    kind: Literal["sqlite", "postgres"]
    lease: float
    cluster: Cluster
    ledger: Ledger
    random: random.Random
    engine: Engine
    """An engine of this process, to enqueue trouble with. It knows no tasks and is never broken on purpose."""
    config: Path
    """The configuration for helpers."""
    sqlite_path: str | None = None
    clock: SharedClock | None = None
    disk: SmallDisk | None = None
    no_disk: str | None = None
    """Why there is no small disk."""
    store: PostgresStore | None = None
    server: Server | None = None
    proxy: Proxy | None = None
    bouncer: PgBouncer | None = None


class Fault(abc.ABC):
    """One way to break something. A new object strikes each time."""

    name: ClassVar[str]
    weight: ClassVar[float] = 1.0
    """How often it is picked, relative to the others."""
    everybody: ClassVar[bool] = False
    """Whether it may cost any worker its leases, and not only the one that it strikes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random

    @classmethod
    def missing(cls, world: World) -> str | None:
        """What is missing for it to be run in this world; None: nothing."""
        return None

    @abc.abstractmethod
    async def strike(self) -> None:
        """Do it, and undo it. Cancelled when the storm ends: what it broke must be whole again then."""

    def record(self, **facts: Any) -> None:
        """Write down that it strikes now."""
        self.world.ledger.write("fault", name=self.name, everybody=self.everybody, **facts)

    def over(self, **facts: Any) -> None:
        """Write down that it is over."""
        self.world.ledger.write("healed", name=self.name, **facts)

    async def enqueue(self, type: str, **payload: Any) -> None:
        """Enqueue trouble, as an application would."""
        marker = f"nemesis.{self.name}.{self.random.randrange(1 << 40)}".replace(" ", "-")
        payload["marker"] = marker
        await attempt_enqueue(self.world.ledger, marker, type, lambda: self.world.engine.enqueue(type, payload, priority=1))


async def attempt_enqueue(ledger: Ledger, marker: str, type: str, call: Callable[[], Awaitable[Any]]) -> None:
    """Enqueue one job, recorded before and after."""
    from qengine import BackendUnavailable

    ledger.write("try", way="one", markers=[marker], type=type)
    try:
        job = await call()
    except BackendUnavailable as error:
        ledger.write("nack", markers=[marker], error=str(error)[:120])
    else:
        ledger.write("ack", markers=[marker], ids=[job.id], existed=[job.existed])


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do what undoes a fault, whole, even when the fault is cancelled meanwhile."""
    task = asyncio.create_task(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError
