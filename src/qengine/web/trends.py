"""How many jobs died on which day."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence

from qengine.backends.protocol import FailureGroup
from qengine.engine import Engine

TREND_DAYS = 14
TRENDS = 0.25
"""Seconds that a page spends on trends; those left out are there at one of the next looks."""
TREND_AGE = 60.0
"""Seconds for which a trend is good."""


class Trends:
    """How many jobs of each group died on which day, remembered for a while."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[tuple[str | None, str | None], tuple[float, list[int]]] = {}

    async def of(
        self, groups: Sequence[FailureGroup], now: dt.datetime, seconds: float | None = None
    ) -> dict[tuple[str, str], list[int]]:
        """The trends of the groups, by (type, error), as far as they could be found in so many seconds (TRENDS)."""
        found: dict[tuple[str, str], list[int]] = {}
        until = time.monotonic() + (TRENDS if seconds is None else seconds)
        self._known = {key: known for key, known in self._known.items() if time.monotonic() - known[0] < TREND_AGE}
        for group in groups:
            key = (group.type, group.error)
            if key not in self._known and time.monotonic() < until:
                self._known[key] = time.monotonic(), await trend(self._engine, now, TREND_DAYS, *key)
            if key in self._known:
                found[key] = self._known[key][1]
        return found


async def trend(engine: Engine, now: dt.datetime, days: int, type: str | None = None, error: str | None = None) -> list[int]:
    """How many of the dead jobs died on each of the last `days` days (UTC), today's last."""
    first = (now - dt.timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    by_day = dict(await engine.dead_by_day(first, type, error))
    return [by_day.get(first.date() + dt.timedelta(days=day), 0) for day in range(days)]
