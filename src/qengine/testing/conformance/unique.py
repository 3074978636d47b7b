"""Unique keys: at most one live job of a type has a key, however many ask at once."""

from __future__ import annotations

import pytest

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import Enqueued, QueueBackend, Settlement
from qengine.job import NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import (
    WORKER,
    Suite,
    assert_untouched,
    demand,
    done,
    failed,
    put,
    row,
    rows,
    start_one,
    together,
    ways_out,
)

KEYED = NewJob("a", '{"n": 1}', unique_key="k")


class TestUnique(Suite):
    """`unique_key`."""

    async def test_the_job_that_exists_is_the_answer(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Nothing is stored or changed, and the answer is that job with its own times."""
        first_at = clock.now()
        [first] = await backend.enqueue([KEYED])
        before = await rows(backend)
        clock.advance(5)
        [again] = await backend.enqueue([NewJob("a", '{"n": 2}', unique_key="k", priority=1, delay=70.0)])
        assert again == Enqueued(first.id, True, first_at, first_at)
        assert await rows(backend) == before

    @pytest.mark.parametrize("live", ["pending", "scheduled", "processing", "failed", "reclaimed"])
    async def test_while_it_is_live(self, backend: QueueBackend, clock: FakeClock, live: str) -> None:
        """The key is taken in every live status."""
        if live == "scheduled":
            [job_id] = await put(backend, NewJob("a", unique_key="k", delay=99.0))
        elif live == "pending":
            [job_id] = await put(backend, KEYED)
        else:
            claim = await start_one(backend, KEYED)
            job_id = claim.id
            if live == "failed":
                await backend.settle([failed(claim)], WORKER)
            elif live == "reclaimed":
                await ways_out(backend, clock, "reclaimed", claim)
        before = await rows(backend)
        [answer] = await backend.enqueue([KEYED])
        assert (answer.id, answer.existed) == (job_id, True)
        await assert_untouched(backend, before)

    @pytest.mark.parametrize("end", [Status.COMPLETED, Status.DEAD, Status.CANCELLED])
    async def test_once_it_ended_the_key_is_free(self, backend: QueueBackend, end: Status) -> None:
        """A finished job does not hold its key."""
        claim = await start_one(backend, KEYED)
        await backend.settle([Settlement(claim.id, claim.token, end)], WORKER)
        [answer] = await backend.enqueue([KEYED])
        assert (answer.existed, answer.id > claim.id) == (False, True)
        assert [job.unique_key for job in await rows(backend)] == ["k", "k"]

    async def test_a_deleted_job_frees_its_key(self, backend: QueueBackend) -> None:
        """What is gone holds nothing."""
        [job_id] = await put(backend, KEYED)
        await backend.delete(JobFilter(ids=[job_id]), 1)
        [answer] = await backend.enqueue([KEYED])
        assert not answer.existed

    async def test_a_key_is_of_its_type(self, backend: QueueBackend) -> None:
        """The same key under another type is another key; the queue does not matter; no key is never taken."""
        ids = await put(backend, KEYED, NewJob("b", unique_key="k"), NewJob("a"), NewJob("a"))
        assert len(set(ids)) == 4
        [other_queue] = await backend.enqueue([NewJob("a", unique_key="k", queue="elsewhere")])
        assert (other_queue.id, other_queue.existed) == (ids[0], True)

    async def test_keys_are_told_apart_exactly(self, backend: QueueBackend) -> None:
        """Case, blanks, accents and emptiness make another key."""
        keys = ["k", "K", "k ", " k", "", "ḱ", "k\u0301", "k\u200b", "кey", "0", "00", "null"]
        answers = await backend.enqueue([NewJob("a", unique_key=key) for key in keys])
        assert not any(answer.existed for answer in answers)
        again = await backend.enqueue([NewJob("a", unique_key=key) for key in keys])
        assert [answer.id for answer in again] == [answer.id for answer in answers]

    async def test_within_one_batch(self, backend: QueueBackend) -> None:
        """The first of a batch is stored, its twins are answered with it, in place."""
        jobs = [NewJob("a", f'{{"n": {n}}}', unique_key=key) for n, key in enumerate(["k", None, "m", "k", None, "k", "m"])]
        answers = await backend.enqueue(jobs)
        ids = [answer.id for answer in answers]
        assert [answer.existed for answer in answers] == [False, False, False, True, False, True, True]
        assert (ids[3], ids[5], ids[6]) == (ids[0], ids[0], ids[2])
        assert [(job.id, job.payload["n"]) for job in await rows(backend)] == [(ids[n], n) for n in (0, 1, 2, 4)]
        assert ids[0] < ids[1] < ids[2] < ids[4]

    async def test_a_batch_with_old_and_new(self, backend: QueueBackend) -> None:
        """Keys that exist, new keys and twins of both in one batch."""
        [old] = await put(backend, NewJob("a", unique_key="k50"))
        answers = await backend.enqueue([NewJob("a", unique_key=f"k{n % 100}") for n in range(300)])
        assert answers[50].id == old
        assert [answer.existed for answer in answers] == [n >= 100 or n == 50 for n in range(300)]
        assert [answer.id for answer in answers] == [answers[n % 100].id for n in range(300)]
        assert len(await rows(backend)) == 100

    async def test_two_backends_at_once(self, backend: QueueBackend, other: QueueBackend) -> None:
        """Of many enqueues of one key at the same time one is stored, and all are answered with it."""
        answers = await together(*[(backend, other)[n % 2].enqueue([KEYED]) for n in range(20)])
        assert len({answer.id for [answer] in answers}) == 1
        assert [answer.existed for [answer] in answers].count(False) == 1
        assert len(await rows(backend)) == 1

    async def test_two_backends_with_the_same_keys_crosswise(self, backend: QueueBackend, other: QueueBackend) -> None:
        """Batches that share keys in opposite orders neither fail nor store a key twice."""
        jobs = [NewJob("a", unique_key=f"k{n}") for n in range(50)]
        for _ in range(3):
            ours, theirs = await together(backend.enqueue(jobs), other.enqueue(jobs[::-1]))
            assert [answer.id for answer in ours] == [answer.id for answer in theirs[::-1]]
            assert len(await rows(backend)) == 50
            await backend.delete(JobFilter(), 100)

    async def test_a_settling_job_and_its_successor(self, backend: QueueBackend, other: QueueBackend) -> None:
        """While a job with the key ends, an enqueue of the key gets the old one or a new one, and never fails."""
        for _ in range(10):
            claim = await start_one(backend, KEYED)
            lost, [answer] = await together(backend.settle([done(claim)], WORKER), other.enqueue([KEYED]))
            assert lost == []
            assert answer.existed == (answer.id == claim.id)
            live = [job.id for job in await rows(backend) if job.status is not Status.COMPLETED]
            assert live == ([] if answer.existed else [answer.id])
            await backend.delete(JobFilter(), 100)


class TestUniqueAndRequeue(Suite):
    """`requeue` keeps keys unique."""

    async def test_one_whose_key_is_taken_is_left_alone(self, backend: QueueBackend) -> None:
        """A dead job whose key a live job has stays dead; others of the same call go back."""
        dead = [await start_one(backend, NewJob("a", unique_key=key)) for key in ("k", "m")]
        await backend.settle([Settlement(claim.id, claim.token, Status.DEAD) for claim in dead], WORKER)
        [live] = await put(backend, KEYED)
        before = await row(backend, dead[0].id)
        assert await backend.requeue(JobFilter(status=[Status.DEAD]), 10) == [dead[1].id]
        await assert_untouched(backend, [before])
        assert sorted(claim.id for claim in await backend.claim(demand())) == [dead[1].id, live]

    async def test_of_twins_one_goes_back(self, backend: QueueBackend) -> None:
        """When several finished jobs share a key, one of them is requeued and the others stay."""
        for _ in range(3):
            claim = await start_one(backend, KEYED)
            await backend.settle([Settlement(claim.id, claim.token, Status.DEAD)], WORKER)
        ids = await backend.requeue(JobFilter(type="a"), 10)
        assert len(ids) == 1
        assert [job.id for job in await rows(backend) if job.status is Status.PENDING] == ids

    async def test_two_requeues_at_once(self, backend: QueueBackend, other: QueueBackend) -> None:
        """Competing requeues of twins and an enqueue of their key leave one live job."""
        for _ in range(2):
            claim = await start_one(backend, KEYED)
            await backend.settle([Settlement(claim.id, claim.token, Status.CANCELLED)], WORKER)
        which = JobFilter(status=[Status.CANCELLED])
        one, two, [three] = await together(backend.requeue(which, 1), other.requeue(which, 2), other.enqueue([KEYED]))
        live = [job.id for job in await rows(backend) if job.status is Status.PENDING]
        assert len(live) == 1
        assert {*one, *two, three.id} == set(live)
