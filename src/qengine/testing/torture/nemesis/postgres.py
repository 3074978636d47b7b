"""Faults of a PostgreSQL server and of the network before it."""

from __future__ import annotations

import asyncio
import contextlib

from qengine import BackendUnavailable, QEngineError
from qengine.testing.torture.nemesis.fault import Fault, World, to_the_end
from qengine.testing.torture.server import PgBouncer


class OnPostgres(Fault):
    """A fault that only a PostgreSQL can have."""

    @classmethod
    def missing(cls, world: World) -> str | None:
        """See `Fault`."""
        return None if world.kind == "postgres" else "not PostgreSQL"


class TerminateBackends(OnPostgres):
    """`pg_terminate_backend` on some of qengine's connections."""

    name = "terminate backends"
    weight = 2.0
    everybody = True

    async def strike(self) -> None:
        """See `Fault`."""
        store = self.world.store
        assert store is not None
        count = self.random.randint(1, 8)
        self.record(count=count)
        sql = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name <> 'torture' AND pid <> pg_backend_pid() ORDER BY random() LIMIT "
        )
        with contextlib.suppress(BackendUnavailable):
            await store.fetch(sql + str(count))


class Deadlock(OnPostgres):
    """A user's own transaction locks rows of jobs in an order of its own, and holds them for a while."""

    name = "user's locks"
    everybody = True

    async def strike(self) -> None:
        """See `Fault`."""
        store = self.world.store
        assert store is not None
        self.record()
        with contextlib.suppress(QEngineError):  # the other side of a deadlock may win, and the server may be away
            async with store.connect() as connection, connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '4s'")
                found = await connection.fetch(
                    "SELECT id FROM qengine_jobs WHERE status IN ('pending', 'processing', 'failed') AND type <> 'line' "
                    "ORDER BY random() LIMIT 12"
                )
                for row in found:
                    await connection.execute("SELECT 1 FROM qengine_jobs WHERE id = $1 FOR UPDATE", row["id"])
                    await asyncio.sleep(0.1)
        self.over()


class RestartServer(OnPostgres):
    """The server is stopped at once, as in a crash, and comes back after a while."""

    name = "restart server"
    weight = 0.6
    everybody = True

    @classmethod
    def missing(cls, world: World) -> str | None:
        """See `Fault`."""
        return OnPostgres.missing(world) or (None if world.server is not None else "the server is not ours")

    async def strike(self) -> None:
        """See `Fault`."""
        server = self.world.server
        assert server is not None
        away = round(self.random.uniform(0, 1.5 * self.world.lease), 1)
        self.record(away=away)
        server.crash()
        try:
            await asyncio.sleep(away)
        finally:
            await to_the_end(server.start())
            self.over()


class OnTheWire(OnPostgres):
    """A fault of the network between workers and server."""

    everybody = True

    @classmethod
    def missing(cls, world: World) -> str | None:
        """See `Fault`."""
        return OnPostgres.missing(world) or (None if world.proxy is not None else "there is no proxy")


class Cut(OnTheWire):
    """All connections are reset."""

    name = "cut connections"
    weight = 1.5

    async def strike(self) -> None:
        """See `Fault`."""
        assert self.world.proxy is not None
        self.record(connections=self.world.proxy.cut())


class Refuse(OnTheWire):
    """All connections are reset, and new ones are refused for seconds."""

    name = "refuse connections"

    async def strike(self) -> None:
        """See `Fault`."""
        proxy = self.world.proxy
        assert proxy is not None
        proxy.refusing = True
        self.record(connections=proxy.cut())
        try:
            await asyncio.sleep(self.random.uniform(0.5, 1.3 * self.world.lease))
        finally:
            proxy.refusing = False
            self.over()


class HalfOpen(OnTheWire):
    """The server's side of all connections is closed, and the clients are not told."""

    name = "half-open connections"

    async def strike(self) -> None:
        """See `Fault`."""
        assert self.world.proxy is not None
        self.record(connections=self.world.proxy.half_open())


class Forget(OnTheWire):
    """What comes on the present connections is dropped silently, for good."""

    name = "drop silently"

    async def strike(self) -> None:
        """See `Fault`."""
        assert self.world.proxy is not None
        self.record(connections=self.world.proxy.forget())


class Stall(OnTheWire):
    """Nothing passes for seconds; then everything does."""

    name = "stall"

    async def strike(self) -> None:
        """See `Fault`."""
        proxy = self.world.proxy
        assert proxy is not None
        self.record()
        proxy.stall()
        try:
            await asyncio.sleep(self.random.uniform(0.5, 1.5 * self.world.lease))
        finally:
            proxy.flow()
            self.over()


class Delay(OnTheWire):
    """Every packet comes late, for seconds."""

    name = "delay packets"

    async def strike(self) -> None:
        """See `Fault`."""
        proxy = self.world.proxy
        assert proxy is not None
        proxy.delay = self.random.uniform(0.02, 0.4)
        self.record(delay=round(proxy.delay, 3))
        try:
            await asyncio.sleep(self.random.uniform(2, 8))
        finally:
            proxy.delay = 0.0
            self.over()


class RestartBouncer(OnPostgres):
    """PgBouncer, through which one worker works in transaction mode, is killed and started again."""

    name = "restart PgBouncer"
    weight = 0.5
    everybody = True

    @classmethod
    def missing(cls, world: World) -> str | None:
        """See `Fault`."""
        if world.kind == "postgres" and PgBouncer.program() is None:
            return "pgbouncer is not installed, so that nothing ran through it"
        return OnPostgres.missing(world) or (None if world.bouncer is not None else "the server is not ours")

    async def strike(self) -> None:
        """See `Fault`."""
        assert self.world.bouncer is not None
        self.record()
        self.world.bouncer.restart()


FAULTS: tuple[type[Fault], ...] = (
    TerminateBackends,
    Deadlock,
    RestartServer,
    Cut,
    Refuse,
    HalfOpen,
    Forget,
    Stall,
    Delay,
    RestartBouncer,
)
