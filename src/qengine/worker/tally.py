"""What a worker has done, counted in its own process: what metrics, dashboards and the record in the database are made from.

A run is counted when its outcome is durable, with the other runs of its batch: a slot that runs jobs counts nothing. It
is counted once, whatever became of it; a job that was claimed and put back without having been started is no run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from typing import Literal

from qengine.backends.inspection import WAIT_BOUNDS
from qengine.backends.protocol import Reclaimed, Settlement
from qengine.job import Status
from qengine.worker.run import Run

Ended = Literal["completed", "failed", "dead", "cancelled", "snoozed", "released", "lease_lost"]
"""How a run ended. `failed`: it is tried again. `released`: put back at shutdown. `lease_lost`: it was no longer ours when
it ended, as it was reclaimed, cancelled, requeued or deleted meanwhile, or its end could not be written down."""

BATCH_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
"""Upper ends of the bins of `Tally.batches`."""

_ENDS: dict[Status, Ended] = {
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.DEAD: "dead",
    Status.CANCELLED: "cancelled",
    Status.PENDING: "snoozed",
}


def how_it_ended(settlement: Settlement, gone: Collection[int]) -> Ended:
    """How the run ended that was to be written down so; `gone` are the ids of those that were not written."""
    if gone and settlement.id in gone:
        return "lease_lost"
    end = _ENDS[settlement.status]
    return end if end != "snoozed" or settlement.ended else "released"


class Histogram:
    """How many values fell into each bin, and their sum. A value equal to the upper end of a bin belongs to it."""

    __slots__ = ("bins", "bounds", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        """The upper ends of the bins but the last, which has none."""
        self.bins = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.bins)

    def add(self, value: float) -> None:
        """Count one value."""
        self.bins[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def merge(self, other: Histogram) -> None:
        """Add what another of the same bounds has counted."""
        self.bins = [mine + theirs for mine, theirs in zip(self.bins, other.bins, strict=True)]
        self.sum += other.sum


class TypeTally:
    """What a worker has done with the jobs of one type. Times are in seconds, bins are by WAIT_BOUNDS."""

    __slots__ = ("crash_loops", "ended", "reclaimed", "waits")

    def __init__(self) -> None:
        self.ended: dict[Ended, Histogram] = {}
        """How long the runs took, from the slot that took the job to the end of its handler, by how they ended."""
        self.waits = Histogram(WAIT_BOUNDS)
        """How long the runs' jobs had been due when a slot took them."""
        self.reclaimed = 0
        """Jobs whose lease this worker found to have ended, whoever held them: each is a crash."""
        self.crash_loops = 0
        """How many of them had crashed too often and are dead."""

    def runs(self, *ends: Ended) -> int:
        """How many runs ended in one of these ways; in any way, when none is given."""
        return sum(found.count for end, found in self.ended.items() if not ends or end in ends)

    def of(self, end: Ended) -> Histogram:
        """How long the runs took that ended so."""
        found = self.ended.get(end)
        if found is None:
            found = self.ended[end] = Histogram(WAIT_BOUNDS)
        return found

    def merge(self, other: TypeTally) -> None:
        """Add what another has counted."""
        for end, runs in other.ended.items():
            self.of(end).merge(runs)
        self.waits.merge(other.waits)
        self.reclaimed += other.reclaimed
        self.crash_loops += other.crash_loops


class Tally:
    """What one worker has done since it started. It only grows, but for `loop_lag`."""

    def __init__(self, worker: str = "") -> None:
        self.worker = worker
        """Its id; empty for the sum of those that have ended."""
        self.types: dict[str, TypeTally] = {}
        """By job type; a type of which nothing ended is absent."""
        self.batches = Histogram(BATCH_BOUNDS)
        """How many outcomes were written at once."""
        self.loop_lag: float | None = None
        """Seconds by which its event loop was late, the worst of the last ten seconds; None: not measured yet."""
        self.offset = 0.0
        """What is added to this process's monotonic clock to have the database's, in unix seconds."""

    def of(self, type: str) -> TypeTally:
        """What was done with a type."""
        found = self.types.get(type)
        if found is None:
            found = self.types[type] = TypeTally()
        return found

    @property
    def lease_losses(self) -> int:
        """Runs whose lease was gone when they ended."""
        return sum(found.runs("lease_lost") for found in self.types.values())

    def settled(self, settlements: Sequence[Settlement], runs: Sequence[Run], gone: Collection[int]) -> None:
        """Count the runs of a batch that was written; `gone` are the ids whose lease did not hold."""
        self.batches.add(len(settlements))
        for settlement, run in zip(settlements, runs, strict=True):
            if run.started:  # else it was put back from the buffer
                self.ended(run, how_it_ended(settlement, gone))

    def ended(self, run: Run, end: Ended) -> None:
        """Count one run."""
        claim, started = run.claim, run.started
        found = self.types.get(claim.type) or self.of(claim.type)
        runs = found.ended.get(end) or found.of(end)
        seconds = run.ended - started
        runs.bins[bisect_left(WAIT_BOUNDS, seconds)] += 1
        runs.sum += seconds
        # Two machines' clocks, compared through `offset`, agree to some milliseconds: what comes out below 0 was no wait.
        wait = started + self.offset - claim.scheduled_for.timestamp()
        waits = found.waits
        if wait > 0:
            waits.bins[bisect_left(WAIT_BOUNDS, wait)] += 1
            waits.sum += wait
        else:
            waits.bins[0] += 1

    def reclaimed(self, jobs: Sequence[Reclaimed]) -> None:
        """Count jobs that were taken back from a worker whose lease had ended."""
        for job in jobs:
            found = self.of(job.type)
            found.reclaimed += 1
            found.crash_loops += job.dead

    def merge(self, other: Tally) -> None:
        """Add what another has counted."""
        for type, counts in other.types.items():
            self.of(type).merge(counts)
        self.batches.merge(other.batches)
