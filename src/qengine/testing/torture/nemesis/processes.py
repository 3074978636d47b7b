"""Faults of processes and handlers, on any database."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from qengine.testing.torture.nemesis.fault import Fault

AT_WORK = 1.5
"""Seconds after which a worker has surely begun to work."""


class KillWorker(Fault):
    """SIGKILL a worker."""

    name = "kill worker"
    weight = 6.0

    async def strike(self) -> None:
        """See `Fault`."""
        if victim := self.world.cluster.some("worker"):
            self.record(victim=victim.pid, kill=True)
            self.world.cluster.kill(victim, self.name)


class KillEnqueuer(Fault):
    """SIGKILL a process in the middle of enqueueing."""

    name = "kill enqueuer"
    weight = 1.5
    role: ClassVar[str] = "enqueuer"

    async def strike(self) -> None:
        """See `Fault`."""
        if victim := self.world.cluster.some(self.role):
            self.record(victim=victim.pid, kill=True)
            self.world.cluster.kill(victim, self.name)


class KillOperator(KillEnqueuer):
    """SIGKILL a process in the middle of cancelling, requeueing or pausing."""

    name = "kill operator"
    weight = 0.5
    role = "operator"


class TerminateWorker(Fault):
    """SIGTERM a worker in the middle of its jobs."""

    name = "terminate worker"
    weight = 2.0

    async def strike(self) -> None:
        """See `Fault`."""
        if victim := self.world.cluster.some("worker", older_than=AT_WORK):
            self.record(victim=victim.pid)
            self.world.cluster.ask_to_stop(victim, self.name)


class FreezeWorker(Fault):
    """SIGSTOP a worker for longer than its leases, then SIGCONT."""

    name = "freeze worker"
    weight = 3.0

    async def strike(self) -> None:
        """See `Fault`."""
        victim = self.world.cluster.some("worker", older_than=AT_WORK)
        if victim is None:
            return
        seconds = self.world.lease * self.random.uniform(1.2, 2.0)
        # On SQLite it may hold the write lock meanwhile, for which all others wait.
        self.record(victim=victim.pid, seconds=round(seconds, 1), everybody_waits=self.world.kind == "sqlite")
        self.world.cluster.freeze(victim)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.world.cluster.thaw(victim)
            victim.excused += seconds
            self.over(victim=victim.pid)


class Stutter(Fault):
    """SIGSTOP a worker for moments only, again and again."""

    name = "stutter"

    async def strike(self) -> None:
        """See `Fault`."""
        victim = self.world.cluster.some("worker")
        if victim is None:
            return
        self.record(victim=victim.pid)
        try:
            for _ in range(8):
                self.world.cluster.freeze(victim)
                await asyncio.sleep(self.random.uniform(0.05, 0.4))
                self.world.cluster.thaw(victim)
                await asyncio.sleep(self.random.uniform(0.05, 0.3))
        finally:
            self.world.cluster.thaw(victim)
            victim.excused += 3
            self.over(victim=victim.pid)


class BlockLoop(Fault):
    """A handler that blocks its worker's event loop for longer than the lease."""

    name = "block event loop"

    async def strike(self) -> None:
        """See `Fault`."""
        seconds = round(self.world.lease * self.random.uniform(1.2, 1.8), 2)
        self.record(seconds=seconds)
        await self.enqueue("blocker", seconds=seconds)


class SwallowCancellation(Fault):
    """A handler that times out, ignores its cancellation, and goes on writing."""

    name = "swallow cancellation"

    async def strike(self) -> None:
        """See `Fault`."""
        self.record()
        await self.enqueue("stubborn")


class Poison(Fault):
    """A job that kills the process it runs in."""

    name = "poison"
    weight = 0.7

    async def strike(self) -> None:
        """See `Fault`."""
        self.record()
        await self.enqueue("poison")


class Hog(Fault):
    """A job that takes memory until its process is killed by a limit."""

    name = "memory hog"
    weight = 0.4

    async def strike(self) -> None:
        """See `Fault`."""
        self.record()
        await self.enqueue("hog", megabytes=900)


class StopTwice(Fault):
    """SIGTERM, and SIGKILL before it has ended."""

    name = "kill while stopping"

    async def strike(self) -> None:
        """See `Fault`."""
        victim = self.world.cluster.some("worker", older_than=AT_WORK)
        if victim is None:
            return
        self.world.cluster.ask_to_stop(victim, self.name)
        await asyncio.sleep(self.random.uniform(0.05, 2))
        if victim.process.poll() is None:
            self.record(victim=victim.pid, kill=True)
            self.world.cluster.kill(victim, self.name)


FAULTS: tuple[type[Fault], ...] = (
    KillWorker,
    KillEnqueuer,
    KillOperator,
    TerminateWorker,
    FreezeWorker,
    Stutter,
    BlockLoop,
    SwallowCancellation,
    Poison,
    Hog,
    StopTwice,
)
