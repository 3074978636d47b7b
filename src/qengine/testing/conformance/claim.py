"""Claim: who is eligible, how many, and what becomes of the taken."""

from __future__ import annotations

import json
from collections import Counter
from typing import Literal

import pytest

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import Claim, QueueBackend, Settlement
from qengine.job import NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import (
    LEASE,
    WORKER,
    Suite,
    after,
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
    start_one,
    together,
)


class TestClaim(Suite):
    """`claim`."""

    async def test_the_claim_tells_all_and_the_row_is_taken(self, backend: QueueBackend, clock: FakeClock) -> None:
        """The whole answer, and the whole row: processing, out of line, attempts and token up by one, owner and lease."""
        [job_id] = await put(
            backend,
            NewJob(
                "a",
                '{"to": "é"}',
                queue="mail",
                priority=3,
                max_attempts=4,
                timeout=9.5,
                unique_key="u",
                partition_key="p",
                expires=100.0,
                headers='{"t": "1"}',
            ),
        )
        before = await row(backend, job_id)
        enqueued = clock.now()
        now = clock.advance(10)
        [claim] = await backend.claim(demand(lease=45.5))
        assert json.loads(claim.payload) == {"to": "é"}
        assert json.loads(claim.headers or "") == {"t": "1"}
        assert claim == Claim(
            id=job_id,
            token=before.lease_token + 1,
            type="a",
            queue="mail",
            priority=3,
            payload=claim.payload,
            attempt=1,
            max_attempts=4,
            crashes=0,
            timeout=9.5,
            scheduled_for=enqueued,
            created_at=enqueued,
            expires_at=after(clock, 90),
            expired=False,
            unique_key="u",
            partition_key="p",
            checkpoint=None,
            headers=claim.headers,
        )
        assert_row(
            await row(backend, job_id),
            before,
            status=Status.PROCESSING,
            rank=None,
            attempts=1,
            lease_token=claim.token,
            locked_by=WORKER,
            locked_until=after(clock, 45.5),
            started_at=now,
        )

    async def test_what_is_claimed_is_not_claimed_again(
        self, backend: QueueBackend, other: QueueBackend, clock: FakeClock
    ) -> None:
        """A running job is nobody else's, even when its lease is overdue: it has to be reclaimed first."""
        claim = await start_one(backend)
        clock.advance(LEASE * 10)
        assert await backend.claim(demand()) == []
        assert await other.claim(demand(worker="worker-2")) == []
        assert (await row(backend, claim.id)).locked_by == WORKER

    async def test_at_most_the_limit(self, backend: QueueBackend) -> None:
        """The limit holds over all types, and the first in line are taken."""
        ids = await put(backend, *[NewJob("ab"[n % 2]) for n in range(10)])
        assert [claim.id for claim in await backend.claim(demand("a", "b", limit=3))] == ids[:3]
        assert [claim.id for claim in await backend.claim(demand("a", "b", limit=100))] == ids[3:]

    async def test_at_most_the_number_of_each_type(self, backend: QueueBackend) -> None:
        """A type is taken no more often than it has room, and what it leaves goes to the others."""
        ids = await put(backend, *[NewJob("aaab"[n % 4]) for n in range(12)])
        claims = await backend.claim(demand("a", "b", "c", each={"a": 2, "b": 100, "c": 5}))
        assert [claim.id for claim in claims] == [ids[0], ids[1], ids[3], ids[7], ids[11]]

    async def test_the_limit_and_the_numbers_hold_together(self, backend: QueueBackend) -> None:
        """The best `limit` of those that the numbers allow."""
        ids = await put(backend, *[NewJob("aab"[n % 3]) for n in range(9)])
        claims = await backend.claim(demand("a", "b", each={"a": 1, "b": 3}, limit=3))
        assert [claim.id for claim in claims] == [ids[0], ids[2], ids[5]]

    async def test_no_room_takes_nothing(self, backend: QueueBackend) -> None:
        """No limit, no types, or no room for a type: nothing is taken."""
        await put(backend, NewJob("a"), NewJob("a"))
        before = await rows(backend)
        assert await backend.claim(demand(limit=0)) == []
        assert await backend.claim(demand(each=0)) == []
        assert await backend.claim(demand("a", "b", each={"a": 0, "b": 5})) == []
        assert await backend.claim(demand(queues=[])) == []
        await assert_untouched(backend, before)

    async def test_other_types_are_left_alone(self, backend: QueueBackend) -> None:
        """A type that was not asked for stays as it is, however long it waits and however similar its name."""
        await put(backend, *[NewJob(name, priority=1) for name in ("A", "a ", "aa", "", "a%", "b")])
        before = await rows(backend)
        [mine] = await put(backend, NewJob("a", priority=10))
        assert [claim.id for claim in await backend.claim(demand())] == [mine]
        await assert_untouched(backend, before)

    async def test_only_the_queues_served(self, backend: QueueBackend) -> None:
        """Queues restrict; None is every queue."""
        ids = await put(backend, *[NewJob("a", queue=name) for name in ("default", "mail", "bulk", "mail")])
        assert [claim.id for claim in await backend.claim(demand(queues=["mail", "empty"]))] == [ids[1], ids[3]]
        assert [claim.id for claim in await backend.claim(demand(queues=["bulk", "default"], limit=1))] == [ids[0]]
        assert [claim.id for claim in await backend.claim(demand())] == [ids[2]]

    async def test_each_types_number_holds_over_its_queues(self, backend: QueueBackend) -> None:
        """Room for two of a type is room for two, wherever they wait."""
        ids = await put(backend, *[NewJob("a", queue=f"q{n % 3}") for n in range(9)])
        assert [claim.id for claim in await backend.claim(demand(each=2))] == ids[:2]
        assert [claim.id for claim in await backend.claim(demand(each=2, queues=["q0", "q2"]))] == [ids[2], ids[3]]

    async def test_only_what_is_due(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A job waits for its time, however urgent."""
        [later] = await put(backend, NewJob("a", priority=1, delay=60.0))
        assert await backend.claim(demand()) == []
        clock.advance(59)
        await backend.promote_due(10)
        assert await backend.claim(demand()) == []
        clock.advance(1)
        assert await backend.promote_due(10) == 1
        assert [claim.id for claim in await backend.claim(demand())] == [later]

    async def test_only_what_waits(self, backend: QueueBackend) -> None:
        """Completed, dead and cancelled jobs are not claimed."""
        claims = [await start_one(backend, NewJob("a")) for _ in range(3)]
        ends = (Status.COMPLETED, Status.DEAD, Status.CANCELLED)
        await backend.settle([Settlement(c.id, c.token, end) for c, end in zip(claims, ends, strict=True)], WORKER)
        before = await rows(backend)
        assert [job.status for job in before] == list(ends)
        assert await backend.claim(demand()) == []
        assert await backend.claim(demand(suspects=True)) == []
        await assert_untouched(backend, before)

    async def test_a_retry_counts_on(self, backend: QueueBackend, clock: FakeClock) -> None:
        """The second attempt says so, carries the checkpoint, and has a token of its own."""
        first = await start_one(backend)
        await backend.save(first.lease, checkpoint='{"page": 7}')
        await backend.settle([failed(first, 0)], WORKER)
        clock.advance(5)
        [second] = await backend.claim(demand(worker="worker-2"))
        assert (second.id, second.attempt, second.crashes) == (first.id, 2, 0)
        assert second.token == first.token + 2
        assert json.loads(second.checkpoint or "") == {"page": 7}
        job = await row(backend, first.id)
        assert (job.status, job.attempts, job.locked_by, job.started_at) == (Status.PROCESSING, 2, "worker-2", clock.now())

    async def test_expired_is_told(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A job that is claimed after its `expires_at` says so; the worker buries it."""
        late, fine = await put(backend, NewJob("a", expires=30.0), NewJob("a", expires=30.75))
        clock.advance(30.5)
        claims = await backend.claim(demand())
        assert [(claim.id, claim.expired) for claim in claims] == [(late, True), (fine, False)]


class TestPausedClaims(Suite):
    """`claim` skips what is paused."""

    async def test_a_paused_type(self, backend: QueueBackend, other: QueueBackend) -> None:
        """Nothing of a paused type is taken on any backend; others are; after `resume` it is."""
        ids = await put(backend, NewJob("a"), NewJob("b"))
        before = await row(backend, ids[0])
        await other.pause("type", "a")
        assert [claim.id for claim in await backend.claim(demand("a", "b"))] == [ids[1]]
        assert await other.claim(demand("a", "b")) == []
        await assert_untouched(backend, [before])
        assert await other.resume("type", "a")
        assert [claim.id for claim in await backend.claim(demand("a", "b"))] == [ids[0]]

    async def test_a_paused_queue(self, backend: QueueBackend) -> None:
        """Nothing of a paused queue is taken, whether queues are asked for or not."""
        ids = await put(backend, NewJob("a", queue="mail"), NewJob("a", queue="bulk"), NewJob("a", queue="bulk"))
        await backend.pause("queue", "mail")
        assert [claim.id for claim in await backend.claim(demand(limit=1))] == [ids[1]]
        assert [claim.id for claim in await backend.claim(demand(queues=["mail", "bulk"]))] == [ids[2]]
        assert await backend.claim(demand(queues=["mail"])) == []
        await backend.resume("queue", "mail")
        assert [claim.id for claim in await backend.claim(demand())] == [ids[0]]

    async def test_a_type_is_not_a_queue(self, backend: QueueBackend) -> None:
        """Pausing the type `x` does not touch the queue `x`, nor the other way round."""
        ids = await put(backend, NewJob("x"), NewJob("a", queue="x"))
        await backend.pause("type", "x")
        assert [claim.id for claim in await backend.claim(demand("x", "a"))] == [ids[1]]
        await backend.resume("type", "x")
        await backend.pause("queue", "x")
        assert [claim.id for claim in await backend.claim(demand("x", "a"))] == [ids[0]]

    async def test_a_paused_type_uses_up_no_room(self, backend: QueueBackend) -> None:
        """The limit is filled from what may be taken."""
        await put(backend, *[NewJob("a", priority=1) for _ in range(5)])
        ids = await put(backend, *[NewJob("b", priority=9) for _ in range(3)])
        await backend.pause("type", "a")
        assert [claim.id for claim in await backend.claim(demand("a", "b", limit=3))] == ids

    @pytest.mark.parametrize("kind", ["type", "queue"])
    @pytest.mark.parametrize("types", [("a",), ("a", "b")], ids=["one type", "two types"])
    async def test_a_pause_ends_by_itself(
        self, backend: QueueBackend, clock: FakeClock, kind: Literal["type", "queue"], types: tuple[str, ...]
    ) -> None:
        """From its end on, a pause holds nothing back, although nobody has resumed."""
        ids = await put(backend, *[NewJob(name, queue="a") for name in types])
        await backend.pause(kind, "a", 30.0)
        clock.advance(29)
        held = ids if kind == "queue" else ids[:1]
        assert [claim.id for claim in await backend.claim(demand(*types))] == [job_id for job_id in ids if job_id not in held]
        clock.advance(1.5)
        assert [claim.id for claim in await backend.claim(demand(*types))] == held


class TestSuspects(Suite):
    """A job with two crashes or more runs in the quarantine lane only."""

    async def test_one_crash_changes_nothing(self, backend: QueueBackend, clock: FakeClock) -> None:
        """After one crash a job is claimed as ever."""
        [job_id] = await put(backend)
        await crash(backend, clock, job_id)
        assert await backend.claim(demand(suspects=True)) == []
        [claim] = await backend.claim(demand())
        assert (claim.id, claim.crashes, claim.attempt) == (job_id, 1, 1)

    async def test_the_two_lanes_are_apart(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Suspects are taken only when they are asked for, and then only they."""
        [bad] = await put(backend, NewJob("a", priority=1))
        await crash(backend, clock, bad, times=2)
        [good] = await put(backend, NewJob("a", priority=9))
        assert [claim.id for claim in await backend.claim(demand())] == [good]
        assert await backend.claim(demand()) == []
        [suspect] = await backend.claim(demand(suspects=True))
        assert (suspect.id, suspect.crashes, suspect.attempt) == (bad, 2, 1)

    async def test_the_lane_keeps_the_rules(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Types, queues, numbers, limit, pauses and order hold among suspects too."""
        ids = await put(backend, NewJob("a", queue="q"), NewJob("b"), NewJob("a", priority=1), NewJob("a"))
        for _ in range(2):
            assert len(await backend.claim(demand("a", "b"))) == 4
            clock.advance(LEASE + 1)
            assert len(await backend.reclaim(10, max_crashes=9, lease=LEASE)) == 4
        assert [claim.id for claim in await backend.claim(demand("b", suspects=True, queues=["q"]))] == []
        await backend.pause("type", "b")
        assert [claim.id for claim in await backend.claim(demand("a", "b", suspects=True, limit=1))] == [ids[2]]
        assert [claim.id for claim in await backend.claim(demand("a", suspects=True, queues=["q"]))] == [ids[0]]
        assert [claim.id for claim in await backend.claim(demand("a", "b", suspects=True, each=1))] == [ids[3]]

    async def test_a_run_that_ends_clears_the_suspicion(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A suspect whose run ends by itself, if badly, is no suspect any more."""
        [job_id] = await put(backend)
        await crash(backend, clock, job_id, times=3)
        [claim] = await backend.claim(demand(suspects=True))
        await backend.settle([failed(claim, 0)], WORKER)
        assert await backend.claim(demand(suspects=True)) == []
        [again] = await backend.claim(demand())
        assert (again.id, again.crashes, again.attempt) == (job_id, 0, 2)


class TestClaimsAtTheSameTime(Suite):
    """Claims that run at once share nothing."""

    @pytest.mark.parametrize("types", [("a",), ("a", "b", "c", "d")], ids=["one type", "four types"])
    async def test_two_backends_never_share_a_job(
        self, backend: QueueBackend, other: QueueBackend, types: tuple[str, ...]
    ) -> None:
        """Two backends that empty the line at once take every job exactly once, and the rows say who."""
        ids = await put(backend, *[NewJob(types[n % len(types)]) for n in range(200)])
        taken: dict[str, list[Claim]] = {"worker-1": [], "worker-2": []}

        async def empty(of: QueueBackend, worker: str) -> None:
            while claims := await of.claim(demand(*types, limit=7, worker=worker)):
                taken[worker] += claims

        await together(empty(backend, "worker-1"), empty(other, "worker-2"))
        assert sorted(claim.id for claims in taken.values() for claim in claims) == ids
        owners = {claim.id: worker for worker, claims in taken.items() for claim in claims}
        assert {job.id: job.locked_by for job in await rows(backend)} == owners
        assert {job.attempts for job in await rows(backend)} == {1}

    async def test_a_burst_on_one_backend(self, backend: QueueBackend) -> None:
        """Claims that one backend runs at once keep to their limits and share nothing."""
        ids = await put(backend, *[NewJob("ab"[n % 2]) for n in range(40)])
        answers = await together(*[backend.claim(demand("a", "b", limit=5)) for _ in range(8)])
        counts = Counter(claim.id for claims in answers for claim in claims)
        assert all(len(claims) <= 5 for claims in answers)
        assert set(counts.values()) == {1}
        left = [claim.id for claim in await backend.claim(demand("a", "b"))]
        assert sorted([*counts, *left]) == ids

    async def test_claim_against_everything_else(self, backend: QueueBackend, other: QueueBackend) -> None:
        """While one backend claims and settles, another cancels and requeues: no row is in two states, no write is doubled."""
        ids = await put(backend, *[NewJob("a") for _ in range(60)])
        half = JobFilter(ids=ids[::2])
        lost: list[int] = []

        async def work() -> None:
            while claims := await backend.claim(demand(limit=9)):
                lost.extend(lease.id for lease in await backend.settle([done(claim) for claim in claims], WORKER))

        async def interfere() -> None:
            for _ in range(5):
                await other.cancel(half, 10)
                await other.requeue(half, 3)

        await together(work(), interfere())
        assert set(lost) <= set(ids[::2])
        for job in await rows(backend):
            assert job.status in (Status.COMPLETED, Status.CANCELLED, Status.PENDING)
            assert (job.locked_by, job.locked_until) == (None, None)
            assert (job.rank is not None) == (job.status is Status.PENDING)
            assert job.rank is None or job.scheduled_for is not None
            if job.status is Status.PENDING:
                assert job.scheduled_for is not None
                assert job.rank == place(job.scheduled_for)
