"""The listener, at moments that a server and a scheduler choose badly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from qengine.backends.postgres import wake
from qengine.backends.postgres.connection import connect
from qengine.backends.postgres.options import Options
from qengine.backends.postgres.wake import Listener

pytestmark = pytest.mark.anyio


class Watched:
    """A real connection that says who is to be told of its end, and is closed once they have been."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.told: list[Callable[[Any], None]] = []
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def add_termination_listener(self, listener: Callable[[Any], None]) -> None:
        self.told.append(listener)

    def is_closed(self) -> bool:
        return self.closed

    def end(self) -> None:
        self.closed = True
        for listener in self.told:
            listener(self)


async def test_it_ends_when_its_connection_goes_at_the_same_moment(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Watched] = []

    async def watched(url: str, options: Options) -> Watched:
        made.append(Watched(await connect(url, options)))
        return made[-1]

    monkeypatch.setattr(wake, "connect", watched)
    listener = Listener(postgres_url, Options(), "a_channel", heard=lambda pid, payload: None, missed=lambda: None)
    await listener.start()
    assert listener.pid is not None
    made[0].end()
    async with asyncio.timeout(5):
        await listener.stop()
    assert len(made) == 1
