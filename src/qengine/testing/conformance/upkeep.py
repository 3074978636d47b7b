"""Upkeep: what comes due, what expires, what nobody knows, what is old; and when to look next."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import LIVE_WITHIN, QueueBackend, Settlement
from qengine.job import NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import (
    LEASE,
    WORKER,
    Suite,
    after,
    assert_row,
    assert_untouched,
    buried,
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
from qengine.testing.conformance.workers import worker


class TestPromoteDue(Suite):
    """`promote_due`."""

    async def test_what_is_due_goes_in_line(self, backend: QueueBackend, clock: FakeClock) -> None:
        """The whole row: only its place in line changes, and what is not due stays."""
        due, later = await put(backend, NewJob("a", priority=2, delay=10.0), NewJob("a", delay=11.0))
        claim = await start_one(backend, NewJob("b", priority=3))
        await backend.settle([failed(claim, 5.0)], WORKER)
        before = {job.id: job for job in await rows(backend)}
        assert await backend.promote_due(10) == 0
        await assert_untouched(backend, list(before.values()))
        clock.advance(10.5)
        assert await backend.promote_due(10) == 2
        assert_row(await row(backend, due), before[due], rank=place(after(clock, -0.5), 2))
        assert_row(await row(backend, claim.id), before[claim.id], rank=place(after(clock, -5.5), 3))
        await assert_untouched(backend, [before[later]])
        assert await backend.promote_due(10) == 0

    async def test_earliest_first_up_to_the_limit(self, backend: QueueBackend, clock: FakeClock) -> None:
        """The limit takes those that came due first, whatever their priority."""
        ids = await put(backend, *[NewJob("a", priority=10 - n, delay=float(10 - n)) for n in range(8)])
        clock.advance(20)
        assert await backend.promote_due(3) == 3
        assert [job.id for job in await rows(backend) if job.rank is not None] == ids[5:]
        assert [await backend.promote_due(3) for _ in range(3)] == [3, 2, 0]

    async def test_only_what_waits(self, backend: QueueBackend, clock: FakeClock) -> None:
        """What was cancelled before its time, or runs, or has ended, does not come due."""
        [cancelled] = await put(backend, NewJob("a", delay=10.0))
        await backend.cancel(JobFilter(ids=[cancelled]), 1)
        await start(backend, NewJob("a"), NewJob("b"))
        before = await rows(backend)
        clock.advance(20)
        assert await backend.promote_due(10) == 0
        await assert_untouched(backend, before)

    async def test_two_at_once(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """Each due job is counted by one of them."""
        await put(backend, *[NewJob("a", delay=1.0) for _ in range(50)])
        clock.advance(2)

        async def all_of_it(of: QueueBackend) -> int:
            total = 0
            while n := await of.promote_due(6):
                total += n
            return total

        assert sum(await together(all_of_it(backend), all_of_it(other))) == 50
        assert all(job.rank is not None for job in await rows(backend))


class TestNextDeadline(Suite):
    """`next_deadline`."""

    async def test_nothing_to_wait_for(self, backend: QueueBackend) -> None:
        """None for an empty database, for jobs in line, and for finished ones."""
        assert await backend.next_deadline() is None
        claim = await start_one(backend)
        await backend.settle([done(claim)], WORKER)
        await put(backend)
        assert await backend.next_deadline() is None

    async def test_the_nearest_of_due_times_and_lease_ends(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Seconds until a job comes due or a lease ends, whichever is first."""
        ids = await put(backend, NewJob("a", delay=500.0), NewJob("a", delay=300.0))
        assert await backend.next_deadline() == pytest.approx(300)
        clock.advance(10)
        assert await backend.next_deadline() == pytest.approx(290)
        claim = await start_one(backend, NewJob("b"), lease=40.5)
        assert await backend.next_deadline() == pytest.approx(40.5)
        await backend.extend([claim.lease], 400.0)
        assert await backend.next_deadline() == pytest.approx(290)
        await backend.cancel(JobFilter(ids=ids), 10)
        assert await backend.next_deadline() == pytest.approx(400)
        await backend.settle([failed(claim, 20.0)], WORKER)
        assert await backend.next_deadline() == pytest.approx(20)

    async def test_what_is_past_is_now(self, backend: QueueBackend, clock: FakeClock) -> None:
        """0 while something overdue has not been dealt with, a due job or a lease."""
        await put(backend, NewJob("a", delay=10.0))
        clock.advance(30)
        assert await backend.next_deadline() == 0
        await backend.promote_due(10)
        assert await backend.next_deadline() is None
        await backend.claim(demand())
        clock.advance(LEASE + 30)
        assert await backend.next_deadline() == 0
        await backend.reclaim(10, max_crashes=5, lease=LEASE)
        assert await backend.next_deadline() is None


class TestBuryExpired(Suite):
    """`bury_expired`."""

    async def test_what_waited_too_long_is_dead(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Pending or failed, in line or not: dead, out of line, finished now; nothing else is touched."""
        ids = await put(
            backend, NewJob("a", expires=10.0), NewJob("a", delay=50.0, expires=after(clock, 10)), NewJob("a", expires=20.0)
        )
        retried = await start_one(backend, NewJob("b", expires=10.0))
        await backend.settle([failed(retried, 100.0)], WORKER)
        running = await start_one(backend, NewJob("c", expires=10.0))
        before = {job.id: job for job in await rows(backend)}
        assert await backend.bury_expired(10) == 0
        now = clock.advance(10.5)
        assert await backend.bury_expired(10) == 3
        for job_id in (ids[0], ids[1], retried.id):
            job = await row(backend, job_id)
            changes = {"status": Status.DEAD, "dead_reason": "expired", "rank": None, "completed_at": now}
            told = {"lease_token": job.lease_token, "last_error": job.last_error, "error_group": job.error_group}
            assert_row(job, before[job_id], **changes, **told)
            assert job.lease_token >= before[job_id].lease_token
        await assert_untouched(backend, [before[ids[2]], before[running.id]])
        assert await backend.bury_expired(10) == 0
        assert [claim.id for claim in await backend.claim(demand("a", "b"))] == [ids[2]]

    async def test_up_to_the_limit(self, backend: QueueBackend, clock: FakeClock) -> None:
        """As many as asked for at a time."""
        await put(backend, *[NewJob("a", expires=1.0) for _ in range(7)])
        clock.advance(2)
        assert [await backend.bury_expired(3) for _ in range(4)] == [3, 3, 1, 0]


class TestBuryUnknown(Suite):
    """`bury_unknown`."""

    async def settle_in(self, backend: QueueBackend, clock: FakeClock, seconds: float, *infos: Mapping[str, object]) -> None:
        """Have these workers live for so long."""
        for _ in range(2):
            for info in infos:
                await backend.heartbeat(worker(**info))
            clock.advance(seconds / 2)
        for info in infos:
            await backend.heartbeat(worker(**info))

    async def test_a_type_that_nobody_serves(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Dead once a worker of its queue has been up that long without the handler; known types are left."""
        unknown, known = await put(backend, NewJob("x"), NewJob("a"))
        before = {job.id: job for job in await rows(backend)}
        await self.settle_in(backend, clock, 20, {"types": ["a"]})
        assert await backend.bury_unknown(30.0, 10) == 0
        await self.settle_in(backend, clock, 20, {"types": ["a"]})
        now = clock.now()
        assert await backend.bury_unknown(30.0, 10) == 1
        job = await row(backend, unknown)
        changes = {"status": Status.DEAD, "dead_reason": "unknown_type", "rank": None, "completed_at": now}
        told = {"lease_token": job.lease_token, "last_error": job.last_error, "error_group": job.error_group}
        assert_row(job, before[unknown], **changes, **told)
        await assert_untouched(backend, [before[known]])

    async def test_not_before_it_has_waited(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A job that came due less than that ago waits, however long the workers have been up; one not due anyway."""
        await self.settle_in(backend, clock, 40, {"types": ["a"]})
        await put(backend, NewJob("x"), NewJob("x", delay=500.0))
        assert await backend.bury_unknown(30.0, 10) == 0
        await self.settle_in(backend, clock, 40, {"types": ["a"]})
        assert await backend.bury_unknown(30.0, 10) == 1

    async def test_not_before_a_worker_has_been_up(self, backend: QueueBackend, clock: FakeClock) -> None:
        """However long the job has waited: the worker that knows it may be just about to start, too."""
        await put(backend, NewJob("x"))
        clock.advance(500)
        await backend.heartbeat(worker())
        assert await backend.bury_unknown(30.0, 10) == 0
        await self.settle_in(backend, clock, 31, {})
        assert await backend.bury_unknown(30.0, 10) == 1

    async def test_without_a_worker_nothing_is_unknown(self, backend: QueueBackend, clock: FakeClock) -> None:
        """When no worker lives nobody can tell; one that died does not count."""
        await put(backend, NewJob("x"))
        clock.advance(500)
        assert await backend.bury_unknown(30.0, 10) == 0
        await self.settle_in(backend, clock, 40, {"types": ["a"]})
        clock.advance(LIVE_WITHIN + 1)
        assert await backend.bury_unknown(30.0, 10) == 0

    async def test_a_worker_that_knows_it_saves_it(self, backend: QueueBackend, clock: FakeClock) -> None:
        """One live worker of the queue with the handler is enough, and it need not have been up for long."""
        await put(backend, NewJob("x"))
        await self.settle_in(backend, clock, 40, {"id": "old", "types": ["a"]})
        await backend.heartbeat(worker(id="new", types=["a", "x"]))
        assert await backend.bury_unknown(30.0, 10) == 0

    async def test_each_queue_for_itself(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A worker speaks for the queues it serves; one that serves all, for all."""
        mail, bulk = await put(backend, NewJob("x", queue="mail"), NewJob("x", queue="bulk"))
        knows = {"id": "knows", "types": ["x"], "queues": ["bulk"]}
        lacks = {"id": "lacks", "types": ["a"], "queues": ["mail"]}
        await self.settle_in(backend, clock, 40, knows)
        assert await backend.bury_unknown(30.0, 10) == 0
        await self.settle_in(backend, clock, 40, knows, lacks)
        assert await backend.bury_unknown(30.0, 10) == 1
        assert [(await row(backend, job_id)).status for job_id in (mail, bulk)] == [Status.DEAD, Status.PENDING]

    async def test_up_to_the_limit(self, backend: QueueBackend, clock: FakeClock) -> None:
        """As many as asked for at a time."""
        await put(backend, *[NewJob("x") for _ in range(7)])
        await self.settle_in(backend, clock, 40, {"types": ["a"]})
        assert [await backend.bury_unknown(30.0, 3) for _ in range(4)] == [3, 3, 1, 0]


class TestPrune(Suite):
    """`prune`."""

    async def test_each_status_by_its_own_age(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Only what ended longer ago than its status's seconds goes, with its history; a status not named stays."""
        ends = (Status.COMPLETED, Status.CANCELLED, Status.DEAD)
        ids: dict[str, list[int]] = {}
        for age in ("old", "new"):
            claims = await start(backend, *[NewJob("a") for _ in ends])
            ids[age] = [claim.id for claim in claims]
            told = [
                Settlement(claim.id, claim.token, end, error="e", logged=True) for claim, end in zip(claims, ends, strict=True)
            ]
            await backend.settle(told, WORKER)
            clock.advance(50)
        await put(backend, NewJob("a"), NewJob("a", delay=99.0))
        await start_one(backend, NewJob("b"))
        assert await backend.prune({Status.COMPLETED: 80.0, Status.CANCELLED: 120.0}, 100) == 1
        assert await backend.get(ids["old"][0]) is None
        assert await backend.errors(ids["old"][0]) == []
        assert len(await backend.errors(ids["new"][0])) == 1
        assert await backend.prune({Status.COMPLETED: 20.0, Status.CANCELLED: 60.0}, 100) == 2
        assert [job.status for job in await rows(backend)] == [
            Status.DEAD,
            Status.CANCELLED,
            Status.DEAD,
            Status.PENDING,
            Status.PENDING,
            Status.PROCESSING,
        ]
        assert await backend.prune({}, 100) == 0

    async def test_up_to_the_limit(self, backend: QueueBackend, clock: FakeClock) -> None:
        """As many as asked for at a time, over all statuses."""
        claims = await start(backend, *[NewJob("a") for _ in range(7)])
        await backend.settle([done(claim) for claim in claims[:4]] + [buried(claim) for claim in claims[4:]], WORKER)
        clock.advance(10)
        retention = {Status.COMPLETED: 5.0, Status.DEAD: 5.0}
        assert [await backend.prune(retention, 3) for _ in range(4)] == [3, 3, 1, 0]
        assert await rows(backend) == []

    async def test_a_requeued_job_is_young_again(self, backend: QueueBackend, clock: FakeClock) -> None:
        """It counts from when a job ended last."""
        claim = await start_one(backend)
        await backend.settle([buried(claim)], WORKER)
        clock.advance(100)
        await backend.requeue(JobFilter(ids=[claim.id]), 1)
        assert await backend.prune({Status.DEAD: 50.0, Status.PENDING: 1.0}, 10) == 0
        [claim] = await backend.claim(demand())
        await backend.settle([buried(claim)], WORKER)
        assert await backend.prune({Status.DEAD: 50.0}, 10) == 0
        clock.advance(51)
        assert await backend.prune({Status.DEAD: 50.0}, 10) == 1
