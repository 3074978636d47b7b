"""What runs in a process of the cluster: `python -m qengine.testing.torture.member ROLE CONFIG [WORDS…]`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from qengine import BackendUnavailable, Engine
from qengine.testing.torture import app, load
from qengine.testing.torture.deathbed import die_with_parent
from qengine.testing.torture.ledger import Ledger
from qengine.testing.torture.options import Config

Role = Callable[[Config, Ledger, list[str]], Coroutine[Any, Any, None]]


async def work(config: Config, ledger: Ledger, words: list[str]) -> None:
    """A worker, until SIGTERM."""
    engine = app.build(config, ledger)
    await opened(engine)
    try:
        worker = asyncio.create_task(engine.run_worker(concurrency=config.concurrency, grace=config.grace))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.cancel)
        ledger.write("working")
        await asyncio.wait([worker])
        if not worker.cancelled():
            worker.result()
        ledger.write("stopped")
    finally:
        await engine.close()


async def opened(engine: Engine) -> None:
    """Open the engine, waiting for a database that is away."""
    while True:
        try:
            await engine.open()
            return
        except BackendUnavailable:
            await asyncio.sleep(0.3)


async def enqueue(config: Config, ledger: Ledger, words: list[str]) -> None:
    """One who enqueues, until killed."""
    engine = app.build(config, ledger)
    await opened(engine)
    connect = _sqlite_connection(config) if config.url.startswith("sqlite") else _postgres_connection(config)
    await load.Enqueuer(engine, ledger, config, connect, f"{config.seed} enqueuer {words[0]}").run()


async def operate(config: Config, ledger: Ledger, words: list[str]) -> None:
    """One who meddles, until killed."""
    engine = app.build(config, ledger)
    await opened(engine)
    await load.Operator(engine, ledger, f"{config.seed} operator {words[0]}").run()


def _sqlite_connection(config: Config) -> Callable[[], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        import aiosqlite

        path = config.url.removeprefix("sqlite:///").partition("?")[0]
        try:
            async with aiosqlite.connect(path, timeout=5, isolation_level=None) as conn:
                await conn.execute("BEGIN IMMEDIATE")
                try:
                    yield conn
                except BaseException:
                    await conn.rollback()
                    raise
                await conn.commit()
        except aiosqlite.Error as error:
            raise BackendUnavailable(f"the application's own transaction failed: {error}") from error

    return connect


def _postgres_connection(config: Config) -> Callable[[], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        import asyncpg  # type: ignore[import-untyped]

        from qengine.backends.postgres.errors import DRIVER_ERRORS

        try:
            conn = await asyncpg.connect(config.url, timeout=5, command_timeout=5, statement_cache_size=0)
        except (asyncpg.PostgresError, OSError) as error:
            raise BackendUnavailable("the application's own connection failed") from error
        try:
            async with conn.transaction():
                yield conn
        except DRIVER_ERRORS as error:
            raise BackendUnavailable(f"the application's own transaction failed: {error}") from error
        finally:
            conn.terminate()

    return connect


ROLES: dict[str, Role] = {"worker": work, "enqueuer": enqueue, "operator": operate}


def main() -> None:
    """Become what the command line says."""
    role, path, *words = sys.argv[1:]
    config = Config.load(Path(path))
    die_with_parent(signal.SIGKILL)
    if os.getppid() != config.parent:
        sys.exit("the run that this process belonged to has ended")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(message)s", datefmt="%H:%M:%S"
    )
    if role in HOLDERS:
        HOLDERS[role](config, words)
        return
    ledger = Ledger(Path(config.folder), role)
    ledger.write("start", name=words[0] if words else role)
    asyncio.run(ROLES[role](config, ledger, words))


# -- processes that only hold something in a SQLite file


def _lock(config: Config, words: list[str]) -> None:
    """Hold the write lock for some seconds."""
    import sqlite3

    connection = sqlite3.connect(words[0], timeout=30, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    time.sleep(float(words[1]))
    connection.execute("ROLLBACK")


def _snapshot(config: Config, words: list[str]) -> None:
    """Hold a snapshot, so that the log cannot be wound back and grows."""
    import sqlite3

    connection = sqlite3.connect(words[0], timeout=30, isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM torture_orders").fetchall()
    time.sleep(float(words[1]))


def _checkpoint(config: Config, words: list[str]) -> None:
    """Do checkpoints without end, to be killed in one."""
    import contextlib
    import sqlite3

    connection = sqlite3.connect(words[0], timeout=5, isolation_level=None)
    while True:
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("INSERT INTO torture_scratch VALUES (hex(randomblob(40000)))")
            connection.execute("DELETE FROM torture_scratch")
            connection.execute("PRAGMA wal_checkpoint(RESTART)")


HOLDERS: dict[str, Callable[[Config, list[str]], None]] = {"lock": _lock, "snapshot": _snapshot, "checkpoint": _checkpoint}

if __name__ == "__main__":
    main()
