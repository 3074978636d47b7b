"""Reclaim: leases that ran out, the crashes they cost, and the end of a job that crashes for ever."""

from __future__ import annotations

import pytest

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import QueueBackend, Reclaimed
from qengine.job import JobError, NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import (
    LEASE,
    WORKER,
    Suite,
    assert_row,
    assert_untouched,
    crash,
    demand,
    done,
    failed,
    place,
    put,
    row,
    rows,
    start,
    start_one,
    together,
)


class TestReclaim(Suite):
    """`reclaim`."""

    async def test_the_job_goes_back_to_its_place(self, backend: QueueBackend, clock: FakeClock) -> None:
        """The whole answer, row and history: pending at its old place, the attempt given back, one crash more."""
        enqueued = clock.now()
        [job_id] = await put(backend, NewJob("a", priority=3))
        clock.advance(7)
        [claim] = await backend.claim(demand())
        before = await row(backend, job_id)
        now = clock.advance(LEASE + 0.5)
        assert await backend.reclaim(10, max_crashes=5, lease=LEASE) == [Reclaimed(job_id, "a", 1, False, WORKER)]
        job = await row(backend, job_id)
        assert_row(
            job,
            before,
            status=Status.PENDING,
            rank=place(enqueued, 3),
            attempts=0,
            crashes=1,
            lease_token=claim.token + 1,
            locked_by=None,
            locked_until=None,
            last_error=job.last_error,
            error_group=job.error_group,
        )
        [error] = await backend.errors(job_id)
        assert error == JobError(job_id, 1, WORKER, before.started_at, now, error.error, None)
        assert error.error

    async def test_a_lease_that_has_not_ended_is_left(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Nor is anything else that is not overdue."""
        early, late = await start(backend, NewJob("a"), NewJob("a"))
        await put(backend, NewJob("a"), NewJob("a", delay=5.0))
        clock.advance(LEASE - 1)
        await backend.extend([late.lease], LEASE)
        before = await rows(backend)
        assert await backend.reclaim(10, max_crashes=5, lease=LEASE) == []
        await assert_untouched(backend, before)
        clock.advance(1.5)
        assert [job.id for job in await backend.reclaim(10, max_crashes=5, lease=LEASE)] == [early.id]
        await assert_untouched(backend, [before[1]])

    async def test_a_retry_is_pending_again(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A crash in the second attempt gives that attempt back, and leaves the first spent."""
        claim = await start_one(backend, NewJob("a", priority=1))
        due = clock.advance(10)
        await backend.settle([failed(claim, 0)], WORKER)
        clock.advance(10)
        await backend.claim(demand())
        clock.advance(LEASE + 1)
        await backend.reclaim(10, max_crashes=5, lease=LEASE)
        job = await row(backend, claim.id)
        assert (job.status, job.attempts, job.crashes, job.scheduled_for, job.rank) == (Status.PENDING, 1, 1, due, place(due, 1))
        assert [error.attempt for error in await backend.errors(claim.id)] == [1, 2]

    async def test_up_to_the_limit(self, backend: QueueBackend, clock: FakeClock) -> None:
        """As many as asked for at a time, until none is left."""
        claims = await start(backend, *[NewJob("a") for _ in range(7)])
        clock.advance(LEASE + 1)
        answers = [await backend.reclaim(3, max_crashes=5, lease=LEASE) for _ in range(4)]
        assert [len(answer) for answer in answers] == [3, 3, 1, 0]
        assert sorted(job.id for answer in answers for job in answer) == sorted(claim.id for claim in claims)

    async def test_crash_loop(self, backend: QueueBackend, clock: FakeClock) -> None:
        """With `max_crashes` crashes in a row the job is dead, out of line and finished."""
        [job_id] = await put(backend)
        await crash(backend, clock, job_id, times=2)
        [claim] = await backend.claim(demand(suspects=True, worker="worker-7"))
        before = await row(backend, job_id)
        now = clock.advance(LEASE + 1)
        assert await backend.reclaim(10, max_crashes=3, lease=LEASE) == [Reclaimed(job_id, "a", 3, True, "worker-7")]
        job = await row(backend, job_id)
        assert_row(
            job,
            before,
            status=Status.DEAD,
            dead_reason="crash_loop",
            attempts=0,
            crashes=3,
            lease_token=claim.token + 1,
            locked_by=None,
            locked_until=None,
            completed_at=now,
            last_error=job.last_error,
            error_group=job.error_group,
        )
        assert [error.worker for error in await backend.errors(job_id)] == [WORKER, WORKER, "worker-7"]
        assert await backend.claim(demand(suspects=True)) == []

    @pytest.mark.parametrize("again", ["failed", "completed and requeued"])
    async def test_a_run_that_ended_starts_the_count_anew(self, backend: QueueBackend, clock: FakeClock, again: str) -> None:
        """Crashes count in a row only."""
        [job_id] = await put(backend, NewJob("a", max_attempts=9))
        await crash(backend, clock, job_id, times=2)
        [claim] = await backend.claim(demand(suspects=True))
        if again == "failed":
            await backend.settle([failed(claim, 0)], WORKER)
        else:
            await backend.settle([done(claim)], WORKER)
            await backend.requeue(JobFilter(ids=[job_id]), 1)
        await backend.claim(demand())
        clock.advance(LEASE + 1)
        assert [(job.crashes, job.dead) for job in await backend.reclaim(10, max_crashes=3, lease=LEASE)] == [(1, False)]

    async def test_two_reclaimers_take_each_job_once(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """Competing backends charge one crash a lost lease."""
        claims = await start(backend, *[NewJob("a") for _ in range(60)])
        clock.advance(LEASE + 1)

        async def take(of: QueueBackend) -> list[int]:
            ids: list[int] = []
            while taken := await of.reclaim(7, max_crashes=5, lease=LEASE):
                ids += [job.id for job in taken]
            return ids

        ours, theirs = await together(take(backend), take(other))
        assert sorted(ours + theirs) == sorted(claim.id for claim in claims)
        assert {(job.crashes, job.attempts, job.lease_token) for job in await rows(backend)} == {(1, 0, claims[0].token + 1)}

    async def test_reclaim_against_a_late_settlement(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """Of a settlement and a reclaim that race for an overdue lease, one wins and the other knows."""
        claims = await start(backend, *[NewJob("a") for _ in range(40)])
        clock.advance(LEASE + 1)
        lost, taken = await together(
            backend.settle([done(claim) for claim in claims], WORKER), other.reclaim(40, max_crashes=5, lease=LEASE)
        )
        assert {lease.id for lease in lost}.isdisjoint({job.id for job in await rows(backend) if job.status is Status.COMPLETED})
        for job in await rows(backend):
            reclaimed = job.id in {one.id for one in taken}
            assert job.status is (Status.PENDING if reclaimed else Status.COMPLETED)
            assert (job.id in {lease.id for lease in lost}) == reclaimed
