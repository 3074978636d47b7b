"""What time it is for the database, told by this process's own clock: so that due times can be compared with what runs here."""

from __future__ import annotations

import math
import time

from qengine.backends.protocol import QueueBackend

ASK_AGAIN = 60.0
"""Seconds between questions to the database."""
DRIFT = 1e-4
"""By how much two clocks may drift apart, at the most, in seconds a second."""


class DatabaseTime:
    """The database's clock, as this process's monotonic one plus an offset.

    An answer to "what is the time?" is good to half of the time that it took. The best answer is kept until it may have
    drifted to be worse than a new one, or until the two contradict each other, because a clock was set.
    """

    def __init__(self, backend: QueueBackend) -> None:
        self._backend = backend
        self._asked = -math.inf
        self._doubt = math.inf
        self.offset = time.time() - time.monotonic()
        """What to add to `time.monotonic()` to have the database's unix time; by this machine's clock until it was asked."""

    def now(self) -> float:
        """The database's unix time."""
        return time.monotonic() + self.offset

    async def ask(self) -> float:
        """Ask the database, unless that was done a short while ago; the offset."""
        before = time.monotonic()
        if before - self._asked >= ASK_AGAIN:
            answer = await self._backend.now()
            self._compare(answer.timestamp(), before, time.monotonic())
        return self.offset

    def _compare(self, answer: float, before: float, after: float) -> None:
        offset, doubt = answer - (before + after) / 2, (after - before) / 2
        known = self._doubt + DRIFT * (after - self._asked) if self._doubt < math.inf else math.inf
        self._asked = after
        if doubt <= known or abs(offset - self.offset) > doubt + known:
            self.offset, self._doubt = offset, doubt
        else:
            self._doubt = known
