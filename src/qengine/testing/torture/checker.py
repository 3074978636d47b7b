"""The judgement: pure functions from a history to the promises that were broken.

Each check is a generator of violations; `CHECKS` is all of them. What the database's triggers recorded is judged
where it is there; the ledgers and the rows at the end are judged always.
"""

from __future__ import annotations

from qengine.testing.torture.checks import crashes, leases, life, order, schedules, stored
from qengine.testing.torture.checks.violation import Check, Violation
from qengine.testing.torture.history import History

CHECKS: tuple[Check, ...] = (
    stored.nothing_is_lost,
    stored.nothing_is_invented,
    stored.orders_and_jobs_agree,
    stored.all_comes_to_rest,
    stored.unknown_types_wait,
    life.changes_are_legal,
    leases.one_holder,
    leases.stale_writes_are_refused,
    leases.writes_carry_their_token,
    leases.checkpoints_last,
    leases.an_end_is_an_end,
    stored.effects_happen_once,
    crashes.only_the_guilty_crash_loop,
    crashes.suspects_run_alone,
    schedules.schedules_fire_once,
    order.nobody_starves,
    crashes.workers_end_well,
)


def check(history: History) -> list[Violation]:
    """All that is wrong."""
    return [violation for one in CHECKS for violation in one(history)]
