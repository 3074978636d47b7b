"""How late the worker's event loop is: what a handler that computes without awaiting does to all the others."""

from __future__ import annotations

import asyncio
from collections import deque

from qengine.worker.tally import Tally

EVERY = 1.0
"""Seconds between measurements."""
REMEMBERED = 10
"""Measurements of which the worst is told."""


class LoopLag:
    """Measures by how much a sleep of a second is longer than that."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._last: deque[float] = deque(maxlen=REMEMBERED)

    async def run(self) -> None:
        """Do it for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY
            await asyncio.sleep(EVERY)
            self._last.append(max(0.0, loop.time() - due))
            self._tally.loop_lag = max(self._last)
