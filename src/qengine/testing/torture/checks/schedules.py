"""Schedules: no fire doubled, none lost, each at its time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from qengine.testing.torture.checks.violation import Violation
from qengine.testing.torture.history import History, Row

SETTLING_DOWN = 30.0
"""Seconds of the calm until every worker is back and every schedule on time."""
ON_TIME = 60.0
"""Seconds for which a fire time counts as on time (`qengine.schedule.TOLERANCE`)."""
SLACK = 12.0
"""Seconds by which a fire may be late on a busy machine."""


def schedules_fire_once(history: History) -> Iterator[Violation]:
    """No fire is doubled, and none is lost against its catch-up policy."""
    for name, catch_up in history.rules.crons.items():
        fired = sorted(time for schedule, time in history.fires if schedule == name)
        rows = [row for row in history.rows.values() if row.type == name]
        for time, count in Counter(row.due for row in rows).items():
            if count > 1:
                yield Violation("no fire is doubled", f"{name} was enqueued {count} times for {time:.0f}")
        if {round(row.due) for row in rows} != {round(time) for time in fired}:
            odd = {round(row.due) for row in rows} ^ {round(time) for time in fired}
            yield Violation("no fire is lost", f"{name}: fires without a job, or jobs without a fire: {sorted(odd)[:10]}")
        yield from _fire_times(history, name, fired)
        if catch_up == "all":
            yield from _every_fire(history, name, fired)
        if catch_up == "skip":
            yield from _skipped(history, rows)
        yield from _fires_in_the_calm(history, name, {round(time) for time in fired})


def _fire_times(history: History, name: str, fired: list[float]) -> Iterator[Violation]:
    for time in fired:
        if abs(time / history.rules.cron_period - round(time / history.rules.cron_period)) > 1e-6:
            yield Violation("a schedule fires at its times", f"{name} fired for {time}")


def _every_fire(history: History, name: str, fired: list[float]) -> Iterator[Violation]:
    for one, next_ in itertools.pairwise(fired):
        if next_ - one > history.rules.cron_period + 0.5:
            yield Violation("no fire is lost", f"{name} (catch-up all) fired for {one:.0f} and next for {next_:.0f}")


def _skipped(history: History, rows: list[Row]) -> Iterator[Violation]:
    jumps = [event.at for event in history.faults if event.facts["name"] == "clock jump"]
    made = {change.job: change.at for change in history.changes if change.before is None}
    for row in rows:
        late = row.created - row.due
        at = made.get(row.id)
        jumped = at is None or any(-5 < at - jump < 5 for jump in jumps)
        if late > ON_TIME + SLACK and not jumped:
            yield Violation("missed fires are skipped", f"job {row.id} ({row.type}) was enqueued {late:.0f} s late", row.id)


def _fires_in_the_calm(history: History, name: str, fired: set[int]) -> Iterator[Violation]:
    if history.rules.calm is None:
        return
    period = round(history.rules.cron_period)
    begin, end = history.rules.calm[0] + SETTLING_DOWN, history.rules.calm[1] - SLACK
    first = -(-int(begin) // period) * period
    missed = [time for time in range(first, int(end), period) if time not in fired]
    if missed:
        yield Violation("no fire is lost", f"{name} was not fired for {missed[:10]}, when nothing was broken any more")
