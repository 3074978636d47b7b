"""A clock that stands still until it is told to move."""

from __future__ import annotations

import datetime as dt
import threading

START = dt.datetime(2040, 1, 2, 12, 0, tzinfo=dt.UTC)
"""Where a FakeClock begins: a whole second, in the future of any database server it is used with."""


class FakeClock:
    """A `qengine.clock.Clock` for tests, to be given to `Engine(clock=…)` or `BackendSettings(clock=…)`.

    It may be read and moved from any thread. It moves nothing but itself: whatever waits for the real time to pass
    (`job.wait`, a worker's sleep) does not notice.
    """

    def __init__(self, start: dt.datetime = START) -> None:
        self._lock = threading.Lock()
        self._now = _aware(start)

    def now(self) -> dt.datetime:
        """The time it was last moved to, in UTC."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> dt.datetime:
        """Move on by `seconds` (back, when negative) and return the new time."""
        with self._lock:
            self._now += dt.timedelta(seconds=seconds)
            return self._now

    def set(self, moment: dt.datetime) -> None:
        """Move to `moment`. Raises ValueError unless it is aware."""
        moment = _aware(moment)
        with self._lock:
            self._now = moment


def _aware(moment: dt.datetime) -> dt.datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; write datetime(…, tzinfo=datetime.UTC)")
    return moment.astimezone(dt.UTC)
