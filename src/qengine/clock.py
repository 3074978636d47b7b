"""Where the time comes from, for backends that have no clock of their own and for tests."""

from __future__ import annotations

import datetime as dt
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Leases, due times and schedules are judged by it; it is never used to sleep."""

    def now(self) -> dt.datetime:
        """The present, as an aware datetime."""
        ...


class SystemClock:
    """The clock of this machine, in UTC."""

    def now(self) -> dt.datetime:
        """The present by the operating system's clock, as an aware UTC datetime."""
        return dt.datetime.now(dt.UTC)
