"""Waking those who wait for work: at once after writes of this process, by a look at the file after those of others."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable

from qengine.backends.sqlite.connection import Options, connect


class Wakes:
    """A counter that can be waited for. Belongs to one event loop."""

    def __init__(self, waiting: Callable[[bool], None]) -> None:
        self.count = 0
        self._waiting = waiting
        self._waiters = 0
        self._bumped = asyncio.Event()

    def bump(self) -> None:
        """Count one more, and wake everybody."""
        self.count += 1
        self._bumped.set()
        self._bumped = asyncio.Event()

    async def wait(self, seen: int) -> int:
        """Wait until there have been more than `seen`; how many there have been."""
        while self.count <= seen:
            bumped = self._bumped
            self._waiters += 1
            if self._waiters == 1:
                self._waiting(True)
            try:
                await bumped.wait()
            finally:
                self._waiters -= 1
                if self._waiters == 0:
                    self._waiting(False)
        return self.count


class Watcher:
    """A thread that notices what other connections have committed, while someone waits for it.

    It asks for `PRAGMA data_version`, which costs microseconds and reads no page. When that has changed, `news`
    tells whether the change can matter: jobs were added, or some job is in line.
    """

    def __init__(self, options: Options, news: str, loop: asyncio.AbstractEventLoop, bump: Callable[[], None]) -> None:
        self._options = options
        self._news = news
        self._loop = loop
        self._bump = bump
        self._wanted = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="qengine-sqlite-watcher", daemon=True)

    def start(self) -> None:
        """Start the thread; it sleeps until it is wanted."""
        self._thread.start()

    def wanted(self, yes: bool) -> None:
        """Say whether anybody waits."""
        if yes:
            self._wanted.set()
        else:
            self._wanted.clear()

    async def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._wanted.set()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    # -- in the thread

    def _watch(self) -> None:
        connection: sqlite3.Connection | None = None
        version, jobs = None, None
        while not self._stop.is_set():
            self._wanted.wait()
            try:
                if connection is None:
                    connection = connect(self._options, read_only=True)
                seen = connection.execute("PRAGMA data_version").fetchone()[0]
                if seen != version:
                    last, in_line = connection.execute(self._news).fetchone()
                    if in_line or last != jobs:
                        self._tell()
                    version, jobs = seen, last
            except sqlite3.Error:
                # Who is woken looks for work and meets the trouble himself, where it is handled.
                if connection is not None:
                    connection.close()
                    connection, version = None, None
                self._tell()
                self._stop.wait(1.0)
            self._stop.wait(self._options.poll)
        if connection is not None:
            connection.close()

    def _tell(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._bump)
