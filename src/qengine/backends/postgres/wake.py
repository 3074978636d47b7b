"""Waking those who wait for work: LISTEN on a connection of its own, and directly for what this process writes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from qengine.backends.postgres.connection import close_quietly, connect
from qengine.backends.postgres.options import Options

logger = logging.getLogger("qengine.backends.postgres")

_CHECK = 30.0
_CHECK_TIMEOUT = 10.0
_BACKOFF = (0.1, 10.0)


class Wakes:
    """Counts wake-ups, and lets any number of callers wait for the next. Works without a connection."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: list[asyncio.Future[None]] = []

    def bump(self) -> None:
        """One more; everyone who waits goes on."""
        self.count += 1
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def after(self, seen: int) -> int:
        """Wait until the count is more than `seen`, and return it."""
        while self.count <= seen:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            try:
                await future
            finally:
                if future in self._waiting:
                    self._waiting.remove(future)
        return self.count


class Listener:
    """Keeps a LISTEN alive: connects again whenever it is lost, and says so once.

    `missed` is called whenever it begins to listen: what was notified before was not heard.
    """

    def __init__(
        self, url: str, options: Options, channel: str, *, heard: Callable[[int, str], None], missed: Callable[[], None]
    ) -> None:
        self._url = url
        self._options = options
        self._channel = channel
        self._heard = heard
        self._missed = missed
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.pid: int | None = None
        """The server process that listens for us now; None while there is none."""

    async def start(self) -> None:
        """Begin; returns when it listens or the first attempt has failed."""
        if self._task is not None:
            return
        self._ready.clear()
        self._task = asyncio.create_task(self._run(), name="qengine listener")
        await self._ready.wait()

    async def stop(self) -> None:
        """End, and close the connection."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        lost = False
        wait = _BACKOFF[0]
        while True:
            try:
                await self._listen(after_loss=lost)
                wait = _BACKOFF[0]
                reason = "the connection was lost"
            except Exception as error:  # whatever it is, listening goes on
                if self.pid is not None:
                    wait = _BACKOFF[0]
                reason = str(error)
            if self.pid is not None or not lost:
                logger.warning("not listening for new jobs (%s); trying again until it works", reason)
            lost = True
            self.pid = None
            self._ready.set()
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            wait = min(wait * 2, _BACKOFF[1])

    async def _listen(self, after_loss: bool) -> None:
        connection = await connect(self._url, self._options)
        try:
            gone = asyncio.Event()
            connection.add_termination_listener(lambda _: gone.set())
            await connection.add_listener(self._channel, self._received)
            self.pid = connection.get_server_pid()
            self._ready.set()
            if after_loss:
                logger.info("listening for new jobs again")
            self._missed()
            while not connection.is_closed():
                try:
                    async with asyncio.timeout(_CHECK):
                        await gone.wait()
                except TimeoutError:
                    # A peer that vanished without a word is noticed by asking it.
                    await connection.execute("SELECT 1", timeout=_CHECK_TIMEOUT)
        finally:
            await close_quietly(connection)

    def _received(self, _connection: Any, pid: int, _channel: str, payload: Any) -> None:
        self._heard(pid, str(payload))


def channel_of(schema: str) -> str:
    """The channel on which the writers of a schema notify."""
    return f"qengine_{schema}"
