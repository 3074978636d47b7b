"""One run, from an empty database to the verdict."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from qengine import BackendUnavailable, ConfigurationError, Engine
from qengine.testing.torture import app, ledger
from qengine.testing.torture.checker import check
from qengine.testing.torture.clock import SharedClock
from qengine.testing.torture.cluster import Cluster
from qengine.testing.torture.disk import SmallDisk
from qengine.testing.torture.history import History, Rules
from qengine.testing.torture.nemesis import FAULTS, Nemesis, World
from qengine.testing.torture.options import Config, Options
from qengine.testing.torture.proxy import Proxy
from qengine.testing.torture.report import Outcome
from qengine.testing.torture.server import PgBouncer, Server
from qengine.testing.torture.store import PostgresStore, SQLiteStore, Store

T = TypeVar("T")
CALM = 50.0
"""Seconds for which the cluster goes on after the faults, at the least, when faults were random."""
ENQUEUERS = 2
IMPATIENT = {"command_timeout": 3.0, "connect_timeout": 3.0}
"""Options of the PostgreSQL backend: a connection that was forgotten is to be noticed within the lease."""


class Run:
    """A run. `go` does it all; whatever was started is stopped when it returns, or raises."""

    def __init__(self, options: Options, folder: Path, disk: SmallDisk | None, no_disk: str | None) -> None:
        if unknown := [name for name in options.faults if name not in FAULTS]:
            raise ConfigurationError(f"there is no fault {unknown[0]!r}; there are: {', '.join(FAULTS)}")
        self._options = options
        self._folder = folder
        self._disk = disk
        self._no_disk = no_disk
        self._kind: Literal["sqlite", "postgres"] = "sqlite" if options.backend.startswith("sqlite") else "postgres"
        self._clock: SharedClock | None = None
        self._highest = 0.0

    async def go(self) -> Outcome:
        """Break, let rest, judge."""
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            world, store, nemesis = await self._set_up(stack)
            await self._storm(world, nemesis)
            rested, calm = await self._rest(world, store)
            await world.cluster.stop("worker")
            for text in (*world.cluster.odd_ends, *nemesis.broken):
                world.ledger.write("odd", text=text)
            history = await self._read(store, rested, calm)
            database = await self._database(store)
        violations = check(history)
        noticed = _noticed(self._folder / "logs")
        return Outcome(self._options, database, time.monotonic() - began, history, violations, nemesis.not_run, noticed)

    # -- setting up

    async def _set_up(self, stack: AsyncExitStack) -> tuple[World, Store, Nemesis]:
        rng = random.Random(self._options.seed)  # noqa: S311 - repeatable, guards nothing
        nemesis_ledger = ledger.Ledger(self._folder, "nemesis")
        cluster = Cluster(self._folder, nemesis_ledger, rng)
        world = World(self._kind, self._options.lease, cluster, nemesis_ledger, rng, Engine("sqlite:///unused"), Path())
        base = await (self._sqlite(world) if self._kind == "sqlite" else self._postgres(world, stack))
        clock = self._clock
        world.engine = Engine(base.url, clock=clock, backend_options=base.backend_options, max_attempts=3)
        await stack.enter_async_context(world.engine)
        store: Store = world.store if world.store is not None else SQLiteStore(str(world.sqlite_path))
        await store.prepare()
        stack.callback(cluster.close)
        watching = asyncio.create_task(cluster.run())
        stack.push_async_callback(_cancelled, watching)
        self._people(world, base)
        faults = [FAULTS[name] for name in self._options.faults or FAULTS]
        faults = [fault for fault in faults if fault.missing(world) not in ("not SQLite", "not PostgreSQL")]
        return world, store, Nemesis(world, faults, self._options.pace)

    async def _sqlite(self, world: World) -> Config:
        if self._options.backend == "sqlite":
            path = self._folder / "disk" / "queue.db"
            path.parent.mkdir(exist_ok=True)
            world.disk = self._disk
        else:
            path = Path(self._options.backend.removeprefix("sqlite:///"))
            if path.exists():
                raise ConfigurationError(f"{path} is there already; name a file that is not")
        world.no_disk = self._no_disk
        world.sqlite_path = str(path)
        self._clock = world.clock = SharedClock(self._folder / "clock")
        return self._config(f"sqlite:///{path}", clock=str(self._folder / "clock"))

    async def _postgres(self, world: World, stack: AsyncExitStack) -> Config:
        if self._options.backend == "postgres":
            folder = stack.enter_context(_folder_for_all())
            world.server = Server(folder, self._folder)
            stack.callback(world.server.close)
            await world.server.start()
            url, upstream = world.server.url, ("127.0.0.1", world.server.port)
            world.proxy = Proxy(upstream)
            await world.proxy.start()
            stack.push_async_callback(world.proxy.stop)
            if PgBouncer.program() is not None:
                world.bouncer = PgBouncer(folder, world.server.port)
                world.bouncer.start()
                stack.callback(world.bouncer.close)
        else:
            url = self._options.backend
        world.store = PostgresStore(url)
        return self._config(url, options=IMPATIENT)

    def _config(self, url: str, clock: str | None = None, options: dict[str, float] | None = None) -> Config:
        chosen = self._options
        return Config(
            url, str(self._folder), chosen.lease, chosen.concurrency, chosen.rate / ENQUEUERS, chosen.seed, os.getpid(), clock,
            backend_options=dict(options or {}),
        )  # fmt: skip

    def _people(self, world: World, base: Config) -> None:
        """Say which processes there are to be, and by which way each reaches the database."""
        direct = self._saved("direct", base)
        world.config = direct
        through_proxy = direct
        if world.proxy is not None:
            url = f"postgresql://postgres@127.0.0.1:{world.proxy.port}/postgres?sslmode=disable"
            through_proxy = self._saved("proxied", replace(base, url=url))
        for number in range(self._options.workers):
            world.cluster.want("worker", f"worker-{number}", lambda: through_proxy)
        if world.bouncer is not None:
            pooled = self._saved("pooled", replace(base, url=world.bouncer.url, backend_options={**IMPATIENT, "listen": False}))
            world.cluster.want("worker", f"worker-{self._options.workers - 1}", lambda: pooled)
        world.cluster.want("enqueuer", "enqueuer-0", lambda: through_proxy)
        world.cluster.want("enqueuer", "enqueuer-1", lambda: direct)
        world.cluster.want("operator", "operator-0", lambda: direct)

    def _saved(self, name: str, config: Config) -> Path:
        path = self._folder / f"{name}.json"
        config.save(path)
        return path

    # -- the three parts of a run

    async def _storm(self, world: World, nemesis: Nemesis) -> None:
        await asyncio.sleep(3)
        seconds = self._options.minutes * 60
        watch_clock = asyncio.create_task(self._watch_clock())
        try:
            await (nemesis.in_order(seconds) if self._options.faults else nemesis.at_random(seconds))
        finally:
            await _cancelled(watch_clock)

    async def _watch_clock(self) -> None:
        while self._clock is not None:
            self._highest = max(self._highest, self._clock.time())
            await asyncio.sleep(0.1)

    async def _rest(self, world: World, store: Store) -> tuple[bool, tuple[float, float] | None]:
        """Let everything come to rest: no more faults, no more jobs, and the clock past all that was ever due."""
        for role in ("enqueuer", "operator"):
            world.cluster.unwant(role)
            for member in world.cluster.alive(role):
                world.cluster.kill(member, "the load ends")
        if self._clock is not None:
            self._clock.set(max(self._clock.offset, self._highest + 20 - time.time()))
        for pause in await patiently(world.engine.pauses):
            await patiently(partial(world.engine.resume, **{pause.kind: pause.name}))
        began, end = time.monotonic(), time.monotonic() + self._options.rest
        calm = 0.0 if self._options.faults else CALM
        calm_since = self._now()
        while time.monotonic() < end:
            live = await patiently(store.live)
            left = {key: count for key, count in live.items() if key[0] != app.UNKNOWN and key[0] not in app.CRONS}
            if not left and time.monotonic() - began >= calm:
                return True, (calm_since, self._now())
            await asyncio.sleep(0.5)
        return False, None

    def _now(self) -> float:
        return time.time() if self._clock is None else self._clock.time()

    async def _read(self, store: Store, rested: bool, calm: tuple[float, float] | None) -> History:
        config = Config("", "", 0, 0, 0, 0, 0)
        rules = Rules(config.max_crashes, config.ageing, app.CRONS, app.CRON_PERIOD, app.GUILTY, app.UNKNOWN, config.grace, calm)
        return History(
            rules,
            await patiently(store.rows),
            await patiently(store.changes),
            ledger.read(self._folder),
            await patiently(store.fires),
            await patiently(store.effects),
            await patiently(store.orders),
            rested,
        )

    async def _database(self, store: Store) -> str:
        if self._kind == "sqlite":
            return f"SQLite {sqlite3.sqlite_version}"
        [[version]] = await store.fetch("SHOW server_version")
        return f"PostgreSQL {version}"


async def patiently(call: Callable[[], Awaitable[T]], seconds: float = 60.0) -> T:
    """Call, and again while the database is away: the faults are over, and it comes back."""
    end = time.monotonic() + seconds
    while True:
        try:
            return await call()
        except BackendUnavailable:
            if time.monotonic() > end:
                raise
        await asyncio.sleep(0.5)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@contextmanager
def _folder_for_all() -> Iterator[Path]:
    """A temporary folder that any user may enter: as root, the servers run as another, to whom the evidence may be closed."""
    with tempfile.TemporaryDirectory(prefix="qengine-torture-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


_ODD = re.compile(r"^\S+ (ERROR|CRITICAL) (\S+) (.*)$")
_EXPECTED = re.compile(r"crash \d+: it is dead|ignores its cancellation|away|has ended|cannot be extended until")


def _noticed(logs: Path) -> Sequence[str]:
    """Distinct errors in the logs, numbers left out, with how often each came."""
    found: Counter[str] = Counter()
    for log in sorted(logs.glob("worker-*.log")):
        for line in log.read_text(errors="replace").splitlines():
            match = _ODD.match(line)
            if match and not _EXPECTED.search(match[3]):
                found[f"{match[1]} {match[2]} {re.sub(r'[0-9a-f-]{36}|0?x[0-9a-f]+|[0-9]+', '#', match[3])[:220]}"] += 1
    return [f"  {count:5} x {text}" for text, count in found.most_common(20)]
