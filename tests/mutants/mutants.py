"""Deliberate breakages, each of a line that guards an invariant, and the tests that must notice.

`python tests/mutants/run.py` applies them one at a time to a copy. `tests/mutants/test_list.py` sees to it that the list
does not rot.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    invariant: int
    """Its number in tests/README.md."""
    file: str
    """Below src/qengine."""
    old: str
    new: str
    tests: str
    """Arguments of pytest."""


SQLITE = "tests/test_conformance_sqlite.py"
POSTGRES = "tests/test_conformance_postgres.py"
LIFE = "tests/integration/test_worker_life.py"
SL, PG = "backends/sqlite/sql", "backends/postgres/sql"

MUTANTS = (
    Mutant(
        "a batch of outcomes loses its first",
        1,
        "worker/settler.py",
        "lost = await self._backend.settle(batch, self._worker)",
        "lost = await self._backend.settle(batch[1:], self._worker)",
        "tests/integration/test_engine.py -k dead_letters",
    ),
    Mutant(
        "enqueue answers before it has written",
        1,
        "backends/sqlite/connection.py",
        'connection.execute("COMMIT")',
        'connection.execute("ROLLBACK")',
        f"{SQLITE} -k TestUnique",
    ),
    Mutant(
        "settling without the fence, SQLite",
        2,
        f"{SL}/settle_completed.sql",
        " AND lease_token = done.value",
        "",
        f"{SQLITE} -k TestSettleUnderTheFence",
    ),
    Mutant(
        "settling without the fence, PostgreSQL",
        2,
        f"{PG}/settle_completed.sql",
        " AND j.lease_token = s.token",
        "",
        f"{POSTGRES} -k 'TestSettleUnderTheFence or TestTransaction'",
    ),
    Mutant(
        "failing without the fence, SQLite",
        2,
        f"{SL}/settle.sql",
        " AND lease_token = done.token",
        "",
        f"{SQLITE} -k TestSettleUnderTheFence",
    ),
    Mutant(
        "failing without the fence, PostgreSQL",
        2,
        f"{PG}/settle.sql",
        " AND j.lease_token = s.token",
        "",
        f"{POSTGRES} -k TestSettleUnderTheFence",
    ),
    Mutant(
        "extending without the fence, SQLite",
        2,
        f"{SL}/extend.sql",
        " AND lease_token = held.value",
        "",
        f"{SQLITE} -k TestExtend",
    ),
    Mutant(
        "extending without the fence, PostgreSQL",
        2,
        f"{PG}/extend.sql",
        " AND j.lease_token = s.token",
        "",
        f"{POSTGRES} -k TestExtend",
    ),
    Mutant("saving without the fence, SQLite", 2, f"{SL}/save.sql", " AND lease_token = :token", "", f"{SQLITE} -k TestSave"),
    Mutant(
        "saving without the fence, PostgreSQL",
        2,
        f"{PG}/save.sql",
        " AND lease_token = :token::bigint",
        "",
        f"{POSTGRES} -k TestSave",
    ),
    Mutant(
        "a transaction commits although its fence is broken",
        3,
        "backends/postgres/jobs.py",
        "if not completed:",
        "if False:",
        f"{POSTGRES} -k TestTransaction",
    ),
    Mutant(
        "a crash costs an attempt, SQLite",
        4,
        f"{SL}/reclaim.sql",
        "attempts = max(attempts - 1, 0), ",
        "",
        f"{SQLITE} -k TestReclaim",
    ),
    Mutant(
        "a crash costs an attempt, PostgreSQL",
        4,
        f"{PG}/reclaim.sql",
        "attempts = greatest(j.attempts - 1, 0), crashes",
        "crashes",
        f"{POSTGRES} -k TestReclaim",
    ),
    Mutant(
        "a snooze costs an attempt, SQLite",
        4,
        f"{SL}/settle.sql",
        "attempts = CASE WHEN done.spent THEN attempts ELSE max(attempts - 1, 0) END,",
        "",
        f"{SQLITE} -k TestSettle",
    ),
    Mutant(
        "crashes are not forgiven, PostgreSQL",
        4,
        f"{PG}/settle.sql",
        "crashes = CASE WHEN s.ended THEN 0 ELSE j.crashes END,",
        "",
        f"{POSTGRES} -k 'TestSettle or TestReclaim'",
    ),
    Mutant(
        "shutting down costs an attempt",
        4,
        "worker/runner.py",
        "Status.PENDING, spent=False, ended=False)",
        "Status.PENDING, ended=False)",
        f"{LIFE} -k shutdown",
    ),
    Mutant(
        "suspects run side by side",
        5,
        "worker/fetcher.py",
        "return self._holder is None",
        "return True",
        f"{LIFE} -k suspect",
    ),
    Mutant(
        "priority counts for nothing",
        6,
        f"{SL}/promote_due.sql",
        "rank = scheduled_for + priority * :ageing",
        "rank = scheduled_for",
        f"{SQLITE} -k 'TestOrder or TestPromoteDue'",
    ),
    Mutant(
        "the claim goes against the line, PostgreSQL",
        6,
        f"{PG}/claim_one_type.sql",
        "ORDER BY j.rank, j.id",
        "ORDER BY j.rank DESC, j.id",
        f"{POSTGRES} -k 'TestOrder or TestClaim'",
    ),
    Mutant(
        "a type takes more than its room",
        7,
        "worker/fetcher.py",
        "free = room if limit is None else limit - self._bench.in_hand[name]",
        "free = room",
        f"{LIFE} -k limit_of_its_own",
    ),
    Mutant(
        "due before its time, PostgreSQL",
        8,
        f"{PG}/promote_due.sql",
        " AND scheduled_for <= coalesce(:now::timestamptz, statement_timestamp())",
        "",
        f"{POSTGRES} -k TestPromoteDue",
    ),
    Mutant(
        "claims wait for each other",
        9,
        f"{PG}/claim_one_type.sql",
        "FOR UPDATE OF j SKIP LOCKED",
        "",
        f"{POSTGRES} -k TestClaimsAtTheSameTime",
    ),
    Mutant(
        "an outage ends a loop",
        10,
        "worker/supervisor.py",
        "            contact.broken()\n            if time",
        "            raise\n            if time",
        "tests/integration/test_outages.py -k 'cut_again or answer_was_lost'",
    ),
    Mutant(
        "leases are kept on the event loop of the handlers",
        2,
        "worker/lease.py",
        "                if self._stopped.is_set() or not (nudged or time.monotonic() >= due):",
        "                answered = threading.Event()\n                self._tell_host(answered.set)\n"
        "                answered.wait(30)\n"
        "                if self._stopped.is_set() or not (nudged or time.monotonic() >= due):",
        f"{LIFE} -k blocks_the_event_loop",
    ),
    Mutant(
        "fires are dropped",
        1,
        "worker/cron.py",
        "times, following = plan(schedule, now, CATCH_UP_BATCH)",
        "times, following = [], schedule.next_fire",
        "tests/integration/test_engine.py -k caught_up",
    ),
)
