"""Faults of a SQLite file, and of the engine's clock, which is this machine's there."""

from __future__ import annotations

import asyncio
import contextlib

from qengine.testing.torture.disk import limit_files
from qengine.testing.torture.nemesis.fault import Fault, World

HOUR = 3600.0


class OnSQLite(Fault):
    """A fault that only a SQLite file can have."""

    everybody = True

    @classmethod
    def missing(cls, world: World) -> str | None:
        """See `Fault`."""
        return None if world.kind == "sqlite" else "not SQLite"

    async def hold(self, what: str, seconds: float) -> None:
        """Let another process hold something for so long."""
        path = self.world.sqlite_path
        assert path is not None
        member = self.world.cluster.start(what, f"{what}-holder", self.world.config, path, str(seconds))
        member.doom = self.name
        try:
            await asyncio.sleep(seconds + 0.5)
        finally:
            self.world.cluster.kill(member, self.name)


class JumpClock(OnSQLite):
    """The clock jumps an hour, forth or back."""

    name = "clock jump"

    @classmethod
    def missing(cls, world: World) -> str | None:
        """See `Fault`."""
        return None if world.clock is not None else "the database has its own clock"

    async def strike(self) -> None:
        """See `Fault`."""
        clock = self.world.clock
        assert clock is not None
        before = clock.offset
        step = self.random.choice((HOUR, -HOUR)) if abs(before) < HOUR else -before
        self.record(seconds=step, offset=before + step)
        clock.set(before + step)


class HoldWriteLock(OnSQLite):
    """Another process holds the write lock for seconds."""

    name = "hold write lock"

    async def strike(self) -> None:
        """See `Fault`."""
        seconds = round(self.random.uniform(1, 1.6 * self.world.lease), 1)
        self.record(seconds=seconds)
        try:
            await self.hold("lock", seconds)
        finally:
            self.over()


class GrowLog(OnSQLite):
    """Another process holds a snapshot, so that the write-ahead log cannot be wound back and grows."""

    name = "grow WAL"

    async def strike(self) -> None:
        """See `Fault`."""
        seconds = round(self.random.uniform(5, 15), 1)
        self.record(seconds=seconds)
        await self.hold("snapshot", seconds)


class KillInCheckpoint(OnSQLite):
    """A process that does one checkpoint after another is killed in the middle of one."""

    name = "kill in checkpoint"

    async def strike(self) -> None:
        """See `Fault`."""
        path = self.world.sqlite_path
        assert path is not None
        member = self.world.cluster.start("checkpoint", "checkpoint-holder", self.world.config, path)
        member.doom = self.name
        try:
            await asyncio.sleep(self.random.uniform(0.8, 2.5))
        finally:
            self.record(victim=member.pid, kill=True)
            self.world.cluster.kill(member, self.name)


class FillDisk(OnSQLite):
    """The disk is full for seconds: a small tmpfs as root, else a limit on the size of the workers' files."""

    name = "full disk"

    async def strike(self) -> None:
        """See `Fault`."""
        seconds = round(self.random.uniform(0.5, 4), 1)
        disk = self.world.disk
        self.record(seconds=seconds, by="tmpfs" if disk is not None else "RLIMIT_FSIZE")
        try:
            if disk is not None:
                disk.fill()
            else:
                self._limit(512 * 1024)
            await asyncio.sleep(seconds)
        finally:
            if disk is not None:
                disk.clear()
            else:
                self._limit(None)
            self.over()

    def _limit(self, size: int | None) -> None:
        for member in self.world.cluster.alive("worker"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                limit_files(member.pid, size)


FAULTS: tuple[type[Fault], ...] = (JumpClock, HoldWriteLock, GrowLog, KillInCheckpoint, FillDisk)
