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
SHARE = 20.0
"""A trend is good for so many times what it took: small tables are read each time, large ones now and then."""


class Trends:
    """How many jobs died on each of the last days, of all and of each group, remembered for a while."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[tuple[int, str | None, str | None], tuple[float, list[int]]] = {}
        """By days, type and error, with the time until which it is good."""

    async def one(self, now: dt.datetime, days: int = TREND_DAYS, type: str | None = None, error: str | None = None) -> list[int]:
        """The trend of one group, or of all dead jobs."""
        self._forget()
        return await self._get(now, days, type, error)

    async def of(
        self, groups: Sequence[FailureGroup], now: dt.datetime, seconds: float | None = None
    ) -> dict[tuple[str, str], list[int]]:
        """The trends of the groups, by (type, error), as far as they could be found in so many seconds (TRENDS)."""
        until = time.monotonic() + (TRENDS if seconds is None else seconds)
        self._forget()
        found: dict[tuple[str, str], list[int]] = {}
        for group in groups:
            key = (group.type, group.error)
            if (TREND_DAYS, *key) in self._known or time.monotonic() < until:
                found[key] = await self._get(now, TREND_DAYS, *key)
        return found

    async def _get(self, now: dt.datetime, days: int, type: str | None, error: str | None) -> list[int]:
        if (known := self._known.get((days, type, error))) is not None:
            return known[1]
        began = time.monotonic()
        found = await trend(self._engine, now, days, type, error)
        ended = time.monotonic()
        self._known[days, type, error] = ended + SHARE * (ended - began), found
        return found

    def _forget(self) -> None:
        self._known = {key: known for key, known in self._known.items() if time.monotonic() < known[0]}


async def trend(engine: Engine, now: dt.datetime, days: int, type: str | None = None, error: str | None = None) -> list[int]:
    """How many of the dead jobs died on each of the last `days` days (UTC), today's last."""
    first = (now - dt.timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    by_day = dict(await engine.dead_by_day(first, type, error))
    return [by_day.get(first.date() + dt.timedelta(days=day), 0) for day in range(days)]
