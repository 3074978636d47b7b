"""One job changed by hand: its payload, its priority, its time."""

from __future__ import annotations

import json

import pytest

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import QueueBackend
from qengine.job import NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import (
    HOSTILE,
    WORKER,
    Suite,
    after,
    assert_row,
    assert_untouched,
    buried,
    crash,
    demand,
    done,
    failed,
    place,
    put,
    row,
    start,
    start_one,
    together,
)


class TestAmend(Suite):
    """`amend`."""

    async def test_a_payload(self, backend: QueueBackend, clock: FakeClock) -> None:
        """The job as it was before is the answer; the row has the new payload, and keeps its place in line."""
        [job_id] = await put(backend, NewJob("a", '{"n": 1}', priority=3, unique_key="k", expires=500.0))
        before = await row(backend, job_id)
        clock.advance(30)
        assert await backend.amend(job_id, payload='{"n": 2}') == before
        job = await row(backend, job_id)
        assert_row(job, before, payload={"n": 2}, lease_token=job.lease_token)
        assert job.lease_token > before.lease_token
        [claim] = await backend.claim(demand())
        assert (claim.id, claim.payload.replace(" ", ""), claim.token > job.lease_token) == (job_id, '{"n":2}', True)

    async def test_a_priority(self, backend: QueueBackend) -> None:
        """The place in line follows at once, or when the time comes."""
        first, second, scheduled = await put(backend, NewJob("a"), NewJob("a"), NewJob("a", delay=60.0))
        before = {job_id: await row(backend, job_id) for job_id in (second, scheduled)}
        for job_id in (second, scheduled):
            assert await backend.amend(job_id, priority=1) == before[job_id]
        due = before[second].scheduled_for
        assert due is not None
        job = await row(backend, second)
        assert_row(job, before[second], priority=1, rank=place(due, 1), lease_token=job.lease_token)
        job = await row(backend, scheduled)
        assert_row(job, before[scheduled], priority=1, rank=None, lease_token=job.lease_token)
        assert [claim.id for claim in await backend.claim(demand())] == [second, first]

    async def test_due_now(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A job for later, or one that waits for its retry, is due now and in line; a failed one stays failed."""
        claim = await start_one(backend)
        await backend.settle([failed(claim, 300.0)], WORKER)
        [scheduled] = await put(backend, NewJob("a", delay=600.0, priority=2))
        now = clock.advance(10)
        for job_id, priority in ((claim.id, 5), (scheduled, 2)):
            before = await row(backend, job_id)
            assert await backend.amend(job_id, due_now=True) == before
            job = await row(backend, job_id)
            assert_row(job, before, scheduled_for=now, rank=place(now, priority), lease_token=job.lease_token)
        assert [claim.id for claim in await backend.claim(demand())] == [scheduled, claim.id]

    async def test_what_was_due_keeps_its_time(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Whether it is in line or only about to be: being due now does not put it back."""
        waiting, overdue = await put(backend, NewJob("a"), NewJob("a", delay=5.0))
        before = {job_id: await row(backend, job_id) for job_id in (waiting, overdue)}
        clock.advance(60)
        for job_id, job in before.items():
            assert await backend.amend(job_id, due_now=True) == job
            due = job.scheduled_for
            assert due is not None
            now = await row(backend, job_id)
            assert_row(now, job, rank=place(due), lease_token=now.lease_token)

    async def test_all_at_once(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Payload, priority and time in one change."""
        [job_id] = await put(backend, NewJob("a", delay=600.0))
        before = await row(backend, job_id)
        await backend.amend(job_id, payload="[1]", priority=10, due_now=True)
        job, now = await row(backend, job_id), clock.now()
        changed = {"payload": [1], "priority": 10, "scheduled_for": now, "rank": place(now, 10)}
        assert_row(job, before, lease_token=job.lease_token, **changed)

    @pytest.mark.parametrize("status", [Status.DEAD, Status.CANCELLED])
    async def test_the_payload_of_an_ended_job(self, backend: QueueBackend, status: Status) -> None:
        """It can be mended before a requeue, and nothing else of it changes."""
        claim = await start_one(backend)
        await backend.settle([buried(claim)], WORKER)
        if status is Status.CANCELLED:
            await backend.requeue(JobFilter(), 1)
            await backend.cancel(JobFilter(), 1)
        before, history = await row(backend, claim.id), await backend.errors(claim.id)
        assert before.status is status
        assert await backend.amend(claim.id, payload='{"mended": true}') == before
        job = await row(backend, claim.id)
        assert_row(job, before, payload={"mended": True}, lease_token=job.lease_token)
        assert await backend.errors(claim.id) == history

    async def test_where_it_cannot_be(self, backend: QueueBackend) -> None:
        """None, and nothing is changed: running and completed jobs; priority and time of ended ones; ids that are none."""
        running, completed, dead = await start(backend, *[NewJob("a") for _ in range(3)])
        await backend.settle([done(completed), buried(dead)], WORKER)
        before = [await row(backend, claim.id) for claim in (running, completed, dead)]
        for claim in (running, completed):
            assert await backend.amend(claim.id, payload="{}") is None
        for claim in (running, completed, dead):
            assert await backend.amend(claim.id, priority=1) is None
            assert await backend.amend(claim.id, due_now=True) is None
            assert await backend.amend(claim.id, payload="[0]", priority=1) is None
        for unknown in (dead.id + 1, 0, -1, 2**62, 2**70):
            assert await backend.amend(unknown, payload="{}") is None
        await assert_untouched(backend, before)
        assert await backend.settle([done(running)], WORKER) == []

    async def test_a_suspect_stays_one(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Its crashes are not forgotten, and it waits in its own line."""
        [job_id] = await put(backend)
        await crash(backend, clock, job_id, times=2)
        await backend.amend(job_id, priority=1)
        assert await backend.claim(demand()) == []
        assert [claim.id for claim in await backend.claim(demand(suspects=True))] == [job_id]

    async def test_two_at_once(self, backend: QueueBackend, other: QueueBackend) -> None:
        """One after the other: the second's answer is what the first has made."""
        [job_id] = await put(backend, NewJob("a", "[0]"))
        answers = await together(backend.amend(job_id, payload="[1]"), other.amend(job_id, payload="[2]"))
        replaced = [answer.payload for answer in answers]
        last = (await row(backend, job_id)).payload
        assert replaced in ([[0], [1]], [[2], [0]])
        assert last == ([2] if replaced == [[0], [1]] else [1])

    async def test_hostile_payloads(self, backend: QueueBackend) -> None:
        """Any JSON, as it is."""
        [job_id] = await put(backend)
        for text in HOSTILE:
            await backend.amend(job_id, payload=json.dumps({"text": text}, ensure_ascii=False))
            assert (await row(backend, job_id)).payload == {"text": text}

    async def test_at_the_wake(self, backend: QueueBackend) -> None:
        """A worker that waits for work hears of it."""
        [job_id] = await put(backend, NewJob("a", delay=60.0))
        seen = backend.wakes
        await backend.amend(job_id, due_now=True)
        assert await backend.wake(seen) > seen


class TestRequeueAtARate(Suite):
    """`requeue` with `spacing` and `begin`."""

    async def dead(self, backend: QueueBackend, number: int) -> list[int]:
        """So many dead jobs."""
        claims = await start(backend, *[NewJob("a", priority=n % 10 + 1) for n in range(number)])
        await backend.settle([buried(claim) for claim in claims], WORKER)
        return [claim.id for claim in claims]

    async def test_one_after_the_other(self, backend: QueueBackend, clock: FakeClock) -> None:
        """By id: the first is in line at once, the others come due at their times, as whole rows."""
        ids = await self.dead(backend, 5)
        before = {job_id: await row(backend, job_id) for job_id in ids}
        now = clock.advance(10)
        assert await backend.requeue(JobFilter(status=[Status.DEAD]), 4, spacing=2.5) == ids[:4]
        for n, job_id in enumerate(ids[:4]):
            job, due = await row(backend, job_id), after(clock, 2.5 * n)
            assert_row(
                job,
                before[job_id],
                status=Status.PENDING,
                scheduled_for=due,
                rank=place(now, before[job_id].priority) if n == 0 else None,
                attempts=0,
                dead_reason=None,
                completed_at=None,
                lease_token=job.lease_token,
            )
        await assert_untouched(backend, [before[ids[4]]])
        assert [claim.id for claim in await backend.claim(demand())] == ids[:1]
        clock.advance(2.5)
        assert await backend.promote_due(10) == 1
        assert [claim.id for claim in await backend.claim(demand())] == ids[1:2]
        clock.advance(5)
        assert await backend.promote_due(10) == 2
        assert sorted(claim.id for claim in await backend.claim(demand())) == ids[2:4]

    async def test_going_on_later(self, backend: QueueBackend, clock: FakeClock) -> None:
        """With a `begin`, the first one waits too; with a `begin` alone, all come due together."""
        ids = await self.dead(backend, 4)
        assert await backend.requeue(JobFilter(ids=ids[:2]), 10, begin=30.0, spacing=0.5) == ids[:2]
        assert await backend.requeue(JobFilter(ids=ids[2:]), 10, begin=7.0) == ids[2:]
        jobs = [await row(backend, job_id) for job_id in ids]
        assert [job.scheduled_for for job in jobs] == [after(clock, seconds) for seconds in (30, 30.5, 7, 7)]
        assert {job.rank for job in jobs} == {None}
        assert await backend.next_deadline() == 7.0

    async def test_what_has_expired_meanwhile(self, backend: QueueBackend, clock: FakeClock) -> None:
        """An end that has passed is cleared; one that is still to come stands, also before the job's new time."""
        gone, coming = await start(backend, NewJob("a", expires=5.0), NewJob("a", expires=100.0))
        await backend.settle([buried(gone), buried(coming)], WORKER)
        clock.advance(10)
        await backend.requeue(JobFilter(), 10, spacing=200.0)
        assert [(await row(backend, claim.id)).expires_at for claim in (gone, coming)] == [None, after(clock, 90)]

    async def test_ended_before(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Those that ended before a moment, and none that has not ended: what dies again is not met again."""
        early, late, waiting = await start(backend, *[NewJob("a") for _ in range(3)])
        await backend.settle([buried(early), failed(waiting)], WORKER)
        moment = clock.advance(10)
        await backend.settle([buried(late)], WORKER)
        which = JobFilter(ended_before=moment)
        assert [job.id for job in await backend.query(which, limit=10)] == [early.id]
        assert await backend.cancel(which, 10) == []
        assert await backend.requeue(which, 10) == [early.id]
        assert await backend.requeue(which, 10) == []
        assert await backend.delete(which, 10) == []
