"""Cron: which expressions are valid, when they fire, and what to make of fire times that passed unnoticed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from qengine.errors import ConfigurationError

CatchUp = Literal["skip", "one", "all"]
"""What becomes of fire times that were missed while no worker ran: none, the latest, or each of them is enqueued."""

CATCH_UPS: tuple[CatchUp, ...] = ("skip", "one", "all")

TOLERANCE = dt.timedelta(seconds=60)
"""A fire time is on time for this long, unless the next has come meanwhile; after that it counts as missed."""


class Planned(Protocol):
    """What `plan` needs to know of a schedule."""

    @property
    def cron(self) -> str:
        """Five fields, or six with seconds first."""
        ...

    @property
    def tz(self) -> str:
        """The time zone in which the fields are meant."""
        ...

    @property
    def catch_up(self) -> CatchUp:
        """What to do with missed fire times."""
        ...

    @property
    def next_fire(self) -> dt.datetime:
        """The first fire time not yet dealt with."""
        ...


def validate(cron: str, tz: str) -> None:
    """Raise ConfigurationError, naming the value, for an expression, or time zone, that cannot work or never fires."""
    next_fire(cron, tz, dt.datetime.now(dt.UTC))


def next_fire(cron: str, tz: str, after: dt.datetime) -> dt.datetime:
    """The first time after `after` (aware) at which `cron` fires, in UTC.

    Where the clocks are put forward, a job for a time that is left out fires right after the gap; where they are put
    back, it fires once. Jobs that run every hour or more often go by real time, as in Debian's cron. Raises
    ConfigurationError as `validate`.
    """
    try:
        return next(_fires(cron, tz, after))
    except StopIteration:
        raise ConfigurationError(f"cron {cron!r} never fires; correct its day and month") from None


def plan(schedule: Planned, now: dt.datetime, limit: int = 100) -> tuple[list[dt.datetime], dt.datetime]:
    """Which fire times to enqueue now, in order, and the `next_fire` that the schedule then has (all in UTC).

    Looked at are the fire times from `schedule.next_fire` to `now`. One older than TOLERANCE, or followed by another
    that has come too, was missed: "skip" drops those and keeps the latest if it is on time; "one" gives the latest, on
    time or not; "all" gives each, at most `limit` a call: the rest, being due, is for the next call.
    """
    first = schedule.next_fire.astimezone(dt.UTC)
    if first > now:
        return [], first
    if schedule.catch_up == "all":
        return _all(schedule, first, now, limit)
    latest = _latest(schedule, first, now)
    following = next_fire(schedule.cron, schedule.tz, latest)
    if schedule.catch_up == "skip" and now - latest > TOLERANCE:
        return [], following
    return [latest], following


def _all(schedule: Planned, first: dt.datetime, now: dt.datetime, limit: int) -> tuple[list[dt.datetime], dt.datetime]:
    times: list[dt.datetime] = []
    at = first
    fires = _fires(schedule.cron, schedule.tz, first)
    while at <= now and len(times) < limit:
        times.append(at)
        at = next(fires)
    return times, at


def _latest(schedule: Planned, first: dt.datetime, now: dt.datetime) -> dt.datetime:
    """The last fire time up to `now`. It looks back in growing steps: a year of missed minutes is not walked through."""
    span = dt.timedelta(hours=1)
    while True:
        start = max(first, now - span)
        latest = first if start == first else None
        for at in _fires(schedule.cron, schedule.tz, start):
            if at > now:
                break
            latest = at
        if latest is not None:
            return latest
        span *= 8


def _fires(cron: str, tz: str, after: dt.datetime) -> Iterator[dt.datetime]:
    """The fire times after `after`, in UTC, strictly growing."""
    zone = _zone(tz)
    try:
        simulated = CronSim(cron, after.astimezone(zone))
    except (CronSimError, AttributeError, TypeError) as error:
        raise ConfigurationError(f"cron {cron!r}: {error}; give five fields: minute hour day month weekday") from error
    last = after
    for at in simulated:
        fire = at.astimezone(dt.UTC)
        if fire > last:
            last = fire
            yield fire


def _zone(tz: Any) -> dt.tzinfo:
    if tz == "UTC":
        return dt.UTC
    try:
        return ZoneInfo(tz)
    except Exception as error:  # a bad name raises a different error for each way of being bad
        raise ConfigurationError(
            f"tz {tz!r} is not a known time zone; give a name such as 'Europe/Berlin' (pip install tzdata if it is one)"
        ) from error
