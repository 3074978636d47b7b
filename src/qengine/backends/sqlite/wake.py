"""Waking those who wait for work: at once after writes of this process, by a look at the file after those of others."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable

from qengine.backends.sqlite.connection import Options, connect_ours
from qengine.backends.sqlite.inotify import Inotify

_COMMIT = 0.001
"""Seconds from the first write of a commit until it can be seen, usually."""
_EAGER = 0.003
"""Seconds between two looks while each finds new jobs, or other pauses. Where others find nothing new, as when this process's
own worker completes jobs, the time between two doubles, up to `poll`."""
_AGAIN = (0.01, 0.03, 0.1)
"""Seconds between further looks, for a commit that takes longer (an fsync in it, for one): its last step tells of no write."""
_SAFETY = 1.0
"""Seconds after which it looks although nothing was told."""
_DEAF = 3
"""Where so many changes in a row were not told of, the file system has no inotify, and polling begins."""


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

    It asks for `PRAGMA data_version`, which costs microseconds and reads no page. When that has changed, `news` says
    whether the change can matter: jobs were added, pauses changed, or some job is in line. Where the system tells of
    writes to the file, it only asks after such; elsewhere it asks every `poll` seconds.
    """

    def __init__(self, options: Options, news: str, loop: asyncio.AbstractEventLoop, bump: Callable[[], None]) -> None:
        self._options = options
        self._news = news
        self._loop = loop
        self._bump = bump
        self._wanted = threading.Event()
        self._stop = threading.Event()
        self._inotify: Inotify | None = None
        self._version: int | None = None
        self._known: list[object] = [None, "[]"]
        """What `news` says of an empty database."""
        self._ready = loop.create_future()
        self._thread = threading.Thread(target=self._run, name="qengine-sqlite-watcher", daemon=True)

    async def start(self) -> None:
        """Start the thread and let it have a first look; then it sleeps until it is wanted."""
        self._thread.start()
        await self._ready

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
        if self._inotify is not None:
            self._inotify.ring()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        if self._inotify is not None:
            self._inotify.close()

    # -- in the thread

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with contextlib.closing(connect_ours(self._options, read_only=True)) as connection:
                    self._watch(connection)
            except sqlite3.Error:
                # Who is woken looks for work and meets the trouble himself, where it is handled.
                self._version = None
                self._call(_resolve, self._ready)
                self._tell()
                self._stop.wait(1.0)
            self._wanted.wait()

    def _watch(self, connection: sqlite3.Connection) -> None:
        with contextlib.suppress(sqlite3.OperationalError):  # there are no tables yet
            self._look(connection)
        # That was a read, and so there is a -wal file now. Without inotify polling does as well.
        with contextlib.suppress(OSError):
            self._inotify = self._inotify or Inotify(f"{self._options.path}-wal")
        self._call(_resolve, self._ready)
        self._wanted.wait()
        poll = self._options.poll
        missed, step, silent, spacing = 0, len(_AGAIN), False, poll
        while not self._stop.is_set():
            known = self._known
            if self._look(connection) and silent:
                missed += 1
            looked, silent = time.monotonic(), False
            spacing = min(2 * spacing if self._known == known else _EAGER, poll)
            if self._inotify is None or missed >= _DEAF:
                self._stop.wait(poll)
            elif self._inotify.wait(_AGAIN[step] if step < len(_AGAIN) else _SAFETY):
                quiet = step > 0
                self._stop.wait(_COMMIT if quiet else max(_COMMIT, looked + spacing - time.monotonic()))
                missed, step = 0, 0
            elif step < len(_AGAIN):
                step += 1
            else:
                silent = self._wanted.is_set()
            self._wanted.wait()

    def _look(self, connection: sqlite3.Connection) -> bool:
        """Tell the loop what matters to it; whether anything was committed since the last look."""
        [(version,)] = connection.execute("PRAGMA data_version")
        if version == self._version:
            return False
        [(*known, in_line)] = connection.execute(self._news)
        if in_line or known != self._known:
            self._tell()
        self._version, self._known = version, known
        return True

    def _tell(self) -> None:
        self._call(self._bump)

    def _call(self, function: Callable[..., object], *values: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *values)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
