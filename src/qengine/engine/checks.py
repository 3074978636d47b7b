"""What an engine's options may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from qengine.errors import ConfigurationError
from qengine.job import Status
from qengine.worker.options import DAY

KEEP = {Status.COMPLETED: 7 * DAY, Status.CANCELLED: 7 * DAY}
"""How long ended jobs are kept unless `retention` says otherwise: dead ones for ever."""


def as_names(option: str, names: Iterable[str] | None) -> tuple[str, ...] | None:
    """The names as a tuple. Raises ConfigurationError for a single text."""
    if isinstance(names, str):
        raise ConfigurationError(f"{option}={names!r}: give a list of names")
    return None if names is None else tuple(names)


def check_positive(name: str, value: float, *, zero: bool = False) -> None:
    """Raise ConfigurationError unless `value` is a number of seconds: more than 0, or, with `zero`, 0 or more."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (value == 0 and not zero):
        raise ConfigurationError(f"{name}={value!r}: give a number of seconds, {'0 or more' if zero else 'more than 0'}")


def check_count(name: str, value: int) -> None:
    """Raise ConfigurationError unless `value` is a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name}={value!r}: give a whole number, 1 or more")


def kept(given: Mapping[str, float | None] | None) -> dict[Status, float]:
    """How long ended jobs are kept, in seconds: `given` over the defaults; those kept for ever are left out.

    Raises ConfigurationError for a status in which no job ends.
    """
    found: dict[Status, float | None] = dict(KEEP)
    for name, seconds in (given or {}).items():
        if name not in (Status.COMPLETED, Status.CANCELLED, Status.DEAD):
            raise ConfigurationError(f"retention of {name!r}: jobs end as completed, cancelled or dead")
        if seconds is not None:
            check_positive(f"retention[{name!r}]", seconds, zero=True)
        found[Status(name)] = seconds
    return {status: float(seconds) for status, seconds in found.items() if seconds is not None}
