"""What a worker counts, what it makes of that for the record, and the database's time, without a database."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from qengine import BackendUnavailable, Status
from qengine.backends.inspection import WAIT_BOUNDS, Activity
from qengine.backends.protocol import Claim, Reclaimed, Settlement
from qengine.worker import activity, database_time, lag
from qengine.worker.activity import ActivityLog
from qengine.worker.database_time import DatabaseTime
from qengine.worker.lag import LoopLag
from qengine.worker.run import Run
from qengine.worker.tally import BATCH_BOUNDS, Histogram, Tally

pytestmark = pytest.mark.anyio

DUE = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
OFFSET = DUE.timestamp() - 1000.0
"""The database's time is DUE when the monotonic clock says 1000."""


def run(job_id: int = 1, type: str = "mail", *, started: float = 1000.0, took: float = 0.0) -> Run:
    claim = Claim(job_id, 1, type, "default", 5, "{}", 1, 3, 0, None, DUE, DUE, None, False, None, None, None, None)
    found = Run(claim, cast("Any", None), started, started)
    found.started, found.ended = started, started + took
    return found


def tally() -> Tally:
    found = Tally("w")
    found.offset = OFFSET
    return found


def bin_of(histogram: Histogram) -> int:
    (index,) = (i for i, n in enumerate(histogram.bins) if n)
    return index


@pytest.mark.parametrize(
    ("settlement", "end"),
    [
        (Settlement(1, 1, Status.COMPLETED), "completed"),
        (Settlement(1, 1, Status.FAILED, delay=1), "failed"),
        (Settlement(1, 1, Status.DEAD), "dead"),
        (Settlement(1, 1, Status.CANCELLED), "cancelled"),
        (Settlement(1, 1, Status.PENDING, delay=1, spent=False), "snoozed"),
        (Settlement(1, 1, Status.PENDING, spent=False, ended=False), "released"),
    ],
)
def test_each_end_is_counted_as_what_it_is(settlement: Settlement, end: Any) -> None:
    found = tally()
    found.settled([settlement], [run()], set())
    assert {kind: runs.count for kind, runs in found.types["mail"].ended.items()} == {end: 1}
    assert found.types["mail"].runs(end) == found.types["mail"].runs() == 1
    found.settled([settlement, settlement], [run(), run(2)], {1})
    assert found.types["mail"].runs("lease_lost") == found.lease_losses == 2  # one settlement is of job 1 in both


def test_waits_and_times_fall_into_the_bins_that_end_with_them() -> None:
    for index, bound in enumerate(WAIT_BOUNDS):
        found = tally()
        found.settled([Settlement(1, 1, Status.COMPLETED)], [run(started=1000 + bound, took=bound)], set())
        assert bin_of(found.types["mail"].of("completed")) in (index, index + 1)  # a sum of floats may be a little more
        assert bin_of(found.types["mail"].waits) in (index, index + 1)
        assert found.types["mail"].waits.sum == pytest.approx(bound, abs=1e-5)
    found = tally()
    found.settled([Settlement(1, 1, Status.COMPLETED)], [run(started=1000 + 10_000, took=10_000)], set())
    assert bin_of(found.types["mail"].waits) == len(WAIT_BOUNDS)


def test_a_run_that_seems_to_begin_before_its_job_was_due_did_not_wait() -> None:
    found = tally()
    found.settled([Settlement(1, 1, Status.COMPLETED)], [run(started=990)], set())
    waits = found.types["mail"].waits
    assert (bin_of(waits), waits.sum, waits.count) == (0, 0.0, 1)


def test_what_was_put_back_without_having_been_started_is_no_run() -> None:
    found = tally()
    found.settled([Settlement(1, 1, Status.PENDING, ended=False)], [run(started=0.0)], set())
    assert found.types == {}
    assert found.batches.count == 1


def test_tallies_add_up() -> None:
    one, other, total = tally(), tally(), Tally()
    one.settled([Settlement(1, 1, Status.COMPLETED)] * 7, [run(took=0.5)] * 7, set())
    other.settled([Settlement(1, 1, Status.DEAD)], [run(took=2)], set())
    other.settled([Settlement(1, 1, Status.COMPLETED)], [run(type="report", took=1)], set())
    other.reclaimed([Reclaimed(3, "mail", 1, False, "w"), Reclaimed(4, "mail", 5, True, "w")])
    total.merge(one)
    total.merge(other)
    mail = total.types["mail"]
    assert (mail.runs(), mail.runs("completed"), mail.runs("dead", "failed")) == (8, 7, 1)
    assert (mail.of("completed").sum, mail.of("dead").sum) == (pytest.approx(3.5), pytest.approx(2))
    assert (mail.reclaimed, mail.crash_loops, mail.waits.count) == (2, 1, 8)
    assert total.types["report"].runs() == 1
    assert (total.batches.count, total.batches.sum) == (3, 9)
    assert total.batches.bins[BATCH_BOUNDS.index(10)] == 1
    histogram = Histogram((1, 2))
    for value in (1, 1.5, 2, 3):
        histogram.add(value)
    assert (histogram.bins, histogram.sum, histogram.count) == ([1, 2, 1], 7.5, 4)


# -- the record


class Book:
    """A backend as far as the record goes."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int, str], Activity] = {}
        self.written: list[Sequence[Activity]] = []
        self.error: Exception | None = None

    async def record_activity(self, rows: Sequence[Activity]) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(rows)
        self.rows |= {(row.step, row.start, row.type): row for row in rows}


class SetTime:
    """A DatabaseTime that says what it is told to."""

    offset = OFFSET

    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time


def log_of(book: Book, found: Tally, at: float) -> tuple[ActivityLog, SetTime]:
    clock = SetTime(at)
    return ActivityLog(cast("Any", book), found, cast("Any", clock)), clock


def complete(found: Tally, count: int = 1) -> None:
    found.settled([Settlement(1, 1, Status.COMPLETED)] * count, [run(took=0.0005)] * count, set())


async def test_each_slot_has_what_was_done_in_it() -> None:
    book, found = Book(), tally()
    record, clock = log_of(book, found, 1800.0)  # a minute and a quarter of an hour begin
    record.look()
    complete(found, 2)
    clock.time = 1810.0
    record.look()
    await record.write()
    assert {slot: row.completed for slot, row in book.rows.items()} == {(60, 1800, "mail"): 2, (900, 1800, "mail"): 2}
    complete(found, 3)
    clock.time = 1860.005  # the minute has ended just now: what was done was done in it
    record.look()
    complete(found)
    clock.time = 1870.0
    record.look()
    await record.write()
    assert {slot: row.completed for slot, row in book.rows.items()} == {
        (60, 1800, "mail"): 5,
        (60, 1860, "mail"): 1,
        (900, 1800, "mail"): 6,
    }
    row = book.rows[60, 1800, "mail"]
    assert (row.worker, sum(row.waits), row.runs[0], sum(row.runs)) == ("w", 5, 5, 5)
    assert len(row.waits) == len(row.runs) == len(WAIT_BOUNDS) + 1


async def test_nothing_new_is_nothing_to_write() -> None:
    book, found = Book(), tally()
    record, clock = log_of(book, found, 1800.0)
    record.look()
    await record.write()
    complete(found)
    await record.finish()
    clock.time = 1900.0
    record.look()
    await record.write()
    clock.time = 5000.0
    await record.finish()
    assert len(book.written) == 1


async def test_other_ends_are_told_apart() -> None:
    book, found = Book(), tally()
    record, _ = log_of(book, found, 1800.0)
    record.look()
    for status in (Status.FAILED, Status.DEAD, Status.CANCELLED, Status.PENDING):
        found.settled([Settlement(1, 1, status)], [run()], set())
    found.ended(run(), "lease_lost")
    await record.finish()
    row = book.rows[60, 1800, "mail"]
    assert (row.completed, row.failed, row.dead, row.other) == (0, 1, 1, 3)


async def test_what_was_reclaimed_from_others_is_no_run_of_ours() -> None:
    book, found = Book(), tally()
    record, _ = log_of(book, found, 1800.0)
    record.look()
    found.reclaimed([Reclaimed(3, "mail", 1, False, "w")])
    await record.finish()
    assert book.written == []


async def test_a_clock_that_is_set_back_loses_nothing() -> None:
    book, found = Book(), tally()
    record, clock = log_of(book, found, 1860.0)
    record.look()
    complete(found)
    record.look()
    await record.write()
    clock.time = 1810.0
    complete(found)
    record.look()
    await record.write()
    assert book.rows[60, 1860, "mail"].completed == 2
    assert sum(row.completed for (step, _, _), row in book.rows.items() if step == 60) == 2


async def test_during_an_outage_it_is_kept_and_written_later(caplog: pytest.LogCaptureFixture) -> None:
    book, found = Book(), tally()
    record, clock = log_of(book, found, 1800.0)
    record.look()
    complete(found)
    book.error = BackendUnavailable("away")
    with pytest.raises(BackendUnavailable):
        await record.finish()
    clock.time = 1870.0
    record.look()
    book.error = None
    await record.write()
    assert book.rows[60, 1800, "mail"].completed == 1
    assert caplog.records == []


async def test_what_cannot_be_written_at_all_is_told_once_and_given_up_after_hours(caplog: pytest.LogCaptureFixture) -> None:
    book, found = Book(), tally()
    record, clock = log_of(book, found, 1800.0)
    record.look()
    complete(found)
    book.error = ValueError("no such table")
    for _ in range(3):
        clock.time += 10
        record.look()
        await record.write()
    assert [record.getMessage()[:32] for record in caplog.records] == ["what this worker does cannot be "]
    assert caplog.records[0].worker == "w"  # type: ignore[attr-defined]
    clock.time += activity.KEPT + 1000
    book.error = None
    record.look()
    await record.write()
    assert book.rows == {}


# -- the database's time


class Asked:
    """A backend that tells the time late, or wrongly."""

    def __init__(self) -> None:
        self.ahead = 50.0
        self.asked = 0

    async def now(self) -> dt.datetime:
        self.asked += 1
        return dt.datetime.fromtimestamp(time.time() + self.ahead, dt.UTC)


async def test_the_databases_time_is_asked_for_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Asked()
    told = DatabaseTime(cast("Any", backend))
    assert abs(told.now() - time.time()) < 1
    await told.ask()
    assert abs(told.now() - time.time() - 50) < 1
    await told.ask()
    assert backend.asked == 1
    monkeypatch.setattr(database_time, "ASK_AGAIN", 0.0)
    await told.ask()
    assert backend.asked == 2


def test_the_best_answer_counts_until_it_may_be_worse_than_a_new_one() -> None:
    told = DatabaseTime(cast("Any", None))
    told._compare(2000.0, 1000.0, 1000.002)  # good to a millisecond
    assert told.offset == pytest.approx(1000.0 - 0.001)
    told._compare(2060.05, 1060.0, 1060.2)  # to a tenth of a second, and it does not contradict: the first is better
    assert told.offset == pytest.approx(1000.0 - 0.001)
    told._compare(2120.0, 1120.0, 1120.001)  # better
    assert told.offset == pytest.approx(1000.0 - 0.0005)
    told._compare(5000.0, 1180.0, 1180.2)  # a clock was set
    assert told.offset == pytest.approx(5000.0 - 1180.1)


# -- the event loop's lag


async def test_the_worst_lag_of_the_last_measurements_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag, "EVERY", 0.01)
    found = Tally()
    task = asyncio.create_task(LoopLag(found).run())
    while found.loop_lag is None:
        await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 - as a handler does that computes
    while found.loop_lag < 0.1:
        await asyncio.sleep(0)
    while found.loop_lag > 0.1:  # it is forgotten in time
        await asyncio.sleep(0)
    task.cancel()
