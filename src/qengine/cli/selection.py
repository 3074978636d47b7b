"""Which jobs a command means, how many they are, and whether it may go on."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from qengine import Engine, FailureGroup, Status
from qengine.cli.ask import at_terminal, must_confirm
from qengine.cli.groups import ALL_GROUPS, short_name
from qengine.cli.parse import past_of
from qengine.cli.target import run
from qengine.cli.text import counted

COUNTS_FOR = 3.0
"""Seconds for which jobs are counted one by one, before somebody is asked."""
PAGE = 1_000

Conditions = Mapping[str, Any]
"""What a filter says, by the names of `Engine.requeue`; what it does not say is not in it."""


def conditions_of(
    *,
    status: list[Status] | None = None,
    type: str | None = None,
    queue: str | None = None,
    error: str | None = None,
    text: str | None = None,
    created_after: str | None = None,
    created_before: str | None = None,
) -> dict[str, Any]:
    """The conditions that were given."""
    found: dict[str, Any] = {
        "status": status,
        "type": type,
        "queue": queue,
        "error_group": error,
        "text": text,
        "created_after": past_of("--created-after", created_after),
        "created_before": past_of("--created-before", created_before),
    }
    return {name: value for name, value in found.items() if value}


async def resolved(engine: Engine, conditions: Conditions) -> dict[str, Any]:
    """The conditions with the short name of a group of failures replaced by the group's type and error."""
    name = conditions.get("error_group")
    if name is None or not re.fullmatch("[0-9a-f]{8}", name):
        return dict(conditions)
    groups: list[FailureGroup] = await engine.failures(ALL_GROUPS)
    for group in groups:
        if short_name(group) == name and conditions.get("type") in (None, group.type):
            return {**conditions, "type": group.type, "error_group": group.error}
    return dict(conditions)


def ask_first(where: str | None, act: str, conditions: Conditions, *, yes: bool, undoable: bool) -> int | None:
    """Before `act` is done to all jobs that meet the conditions: ask on a terminal; how many they are, if they were counted.

    Raises CommandError when the answer is no, and, where nobody can be asked, unless it was confirmed with `yes` or can be
    undone.
    """
    if not at_terminal():
        if not (yes or undoable):
            must_confirm(act, act)
        return None
    number, exact = run(where, lambda engine: _counted(engine, conditions))
    if not yes:
        must_confirm(f"{act} {counted(number, 'job') if exact else f'{number} jobs or more'}{_described(conditions)}", act)
    return number if exact else None


async def _counted(engine: Engine, conditions: Conditions) -> tuple[int, bool]:
    """How many jobs meet the conditions, and whether these are all of them."""
    if set(conditions) <= {"status", "type"} or set(conditions) <= {"status", "queue"}:
        stats = await engine.stats()
        lanes: Mapping[str, Mapping[str, int]] = stats.by_type if "type" in conditions else stats.by_queue
        lane = conditions.get("type", conditions.get("queue"))
        counts = stats.by_status if lane is None else lanes.get(lane, {})
        return sum(counts.get(status, 0) for status in conditions.get("status", Status)), True
    until, number, after = time.monotonic() + COUNTS_FOR, 0, None
    chosen = await resolved(engine, conditions)
    while time.monotonic() < until:
        page = await engine.search(**chosen, limit=PAGE, after=after)
        number, after = number + len(page.jobs), page.after
        if after is None:
            return number, True
    return number, False


def _described(conditions: Conditions) -> str:
    statuses = " or ".join(conditions.get("status", ()))
    others = [f"{name.replace('_', ' ')} {value}" for name, value in conditions.items() if name != "status"]
    return (f" ({statuses})" if statuses else "") + (f", {', '.join(others)}" if others else "")
