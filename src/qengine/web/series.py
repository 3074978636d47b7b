"""What the overview's charts draw: the workers' records of a stretch of time, as numbers slot by slot."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qengine.backends.inspection import WAIT_BOUNDS, Activity

HOUR = (60, 60)
"""Slots of a minute, and how many of them: the last hour."""
DAY = (900, 96)
"""Slots of a quarter of an hour, and how many of them: the last day."""
EMPTY = [0, 0, None, None, None]
"""What a slot holds in which nothing was done."""
DIGITS = 6
"""Decimals of a latency, seconds: a microsecond is finer than it was measured."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What all workers did in one slot; as in `Series`."""

    start: dt.datetime
    completed: int
    failed: int
    failure_rate: float | None
    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Series:
    """What all workers did in each slot, the earliest first. The last slot is the one that has not ended yet."""

    step: int
    """The length of a slot, seconds."""
    start: tuple[int, ...]
    """When each slot began, unix seconds."""
    completed: tuple[int, ...]
    """Runs that completed their job."""
    failed: tuple[int, ...]
    """Runs that failed, whether their job is tried again or dead."""
    failure_rate: tuple[float | None, ...]
    """Failed runs, per cent of those that completed or failed; None where there were none."""
    p50: tuple[float | None, ...]
    """The pick-up latency, seconds, that half of the runs did not exceed; None where nothing was started."""
    p99: tuple[float | None, ...]
    """The pick-up latency, seconds, that 99 of 100 runs did not exceed."""

    def as_dict(self) -> dict[str, Any]:
        """The same in plain JSON values."""
        return asdict(self)

    @property
    def slots(self) -> list[Slot]:
        """The slots in which anything was done, the latest first."""
        columns = (self.completed, self.failed, self.failure_rate, self.p50, self.p99)
        rows = zip(self.start, *columns, strict=True)
        return [Slot(dt.datetime.fromtimestamp(start, dt.UTC), *row) for start, *row in rows if row != EMPTY][::-1]

    @property
    def totals(self) -> tuple[int, int]:
        """How many runs completed and how many failed, in all."""
        return sum(self.completed), sum(self.failed)


def beginning(now: float, shape: tuple[int, int]) -> int:
    """When the first slot of such a series begins, unix seconds, if it is `now`."""
    step, slots = shape
    return (int(now // step) - slots + 1) * step


def series(rows: Iterable[Activity], now: float, shape: tuple[int, int]) -> Series:
    """The series up to `now` (unix seconds) of the activity of any types and workers; what is out of its time is left out."""
    step, slots = shape
    first = beginning(now, shape)
    completed, failed = [0] * slots, [0] * slots
    waits = [[0] * (len(WAIT_BOUNDS) + 1) for _ in range(slots)]
    for row in rows:
        slot = (row.start - first) // step
        if row.step != step or not 0 <= slot < slots:
            continue
        completed[slot] += row.completed
        failed[slot] += row.failed + row.dead
        for index, count in enumerate(row.waits[: len(WAIT_BOUNDS) + 1]):
            waits[slot][index] += count
    return Series(
        step=step,
        start=tuple(range(first, first + slots * step, step)),
        completed=tuple(completed),
        failed=tuple(failed),
        failure_rate=tuple(_percent(bad, good + bad) for good, bad in zip(completed, failed, strict=True)),
        p50=tuple(quantile(bins, 0.5) for bins in waits),
        p99=tuple(quantile(bins, 0.99) for bins in waits),
    )


def quantile(bins: Sequence[int], share: float) -> float | None:
    """The value, seconds, that `share` (0 to 1) of those counted in bins of WAIT_BOUNDS do not exceed; None for no counts.

    Within a bin the values are taken to be spread evenly. Of the last bin, which has no end, only its beginning is known.
    """
    rank = share * sum(bins)
    if rank <= 0:
        return None
    below = 0
    for index, count in enumerate(bins[: len(WAIT_BOUNDS)]):
        if below + count >= rank:
            lower = WAIT_BOUNDS[index - 1] if index else 0.0
            return round(lower + (WAIT_BOUNDS[index] - lower) * (rank - below) / count, DIGITS)
        below += count
    return WAIT_BOUNDS[-1]


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 2) if whole else None
