"""The order of the line: what matters goes first, and everything gets its turn."""

from __future__ import annotations

import random

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import STRICT_AGEING, BackendSettings, QueueBackend
from qengine.job import NewJob
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import AGEING, WORKER, Suite, after, demand, failed, place, put, row, rows, start_one
from qengine.testing.factory import BackendFactory


async def line(backend: QueueBackend, *types: str) -> list[int]:
    """Claim one by one until nothing is left; the ids in that order."""
    ids = []
    while claims := await backend.claim(demand(*types, limit=1)):
        ids += [claim.id for claim in claims]
    return ids


class TestOrder(Suite):
    """The order in which `claim` takes jobs."""

    async def test_priority_first_then_age(self, backend: QueueBackend) -> None:
        """Of jobs due together the smaller priority goes first; among equals the one that was enqueued first."""
        ids = await put(backend, *[NewJob("a", priority=p) for p in (5, 10, 1, 5, 1, 7)])
        assert await line(backend, "a") == [ids[n] for n in (2, 4, 0, 3, 5, 1)]

    async def test_one_claim_has_the_order_of_the_line(self, backend: QueueBackend) -> None:
        """A batch is answered in order too, over all its types and queues."""
        ids = await put(
            backend, *[NewJob("abc"[n % 3], queue=f"q{n % 2}", priority=p) for n, p in enumerate((5, 10, 1, 5, 1, 7, 2, 2, 9))]
        )
        claims = await backend.claim(demand("a", "b", "c", limit=9))
        assert [claim.id for claim in claims] == [ids[n] for n in (2, 4, 6, 7, 0, 3, 5, 8, 1)]

    async def test_waiting_makes_up_for_priority(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A step of priority is worth `ageing` seconds: overtaken within that, not after."""
        [old] = await put(backend, NewJob("a", priority=6))
        clock.advance(AGEING - 1)
        [within] = await put(backend, NewJob("a", priority=5))
        clock.advance(2)
        [beyond] = await put(backend, NewJob("a", priority=5))
        assert await line(backend, "a") == [within, old, beyond]

    async def test_strict_priority(self, backend_factory: BackendFactory, clock: FakeClock) -> None:
        """With the step of strict priority no wait makes up for it, and equals still go by age."""
        backend = await backend_factory(BackendSettings(clock=clock, ageing=STRICT_AGEING))
        old = await put(backend, NewJob("a", priority=6), NewJob("a", priority=6))
        clock.advance(10 * 365 * 86400)
        new = await put(backend, NewJob("a", priority=5), NewJob("a", priority=6), NewJob("a", priority=1))
        assert await line(backend, "a") == [new[2], new[0], *old, new[1]]

    async def test_a_tie_goes_by_id(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Places that are equal, one by priority and one by age, go in the order of the ids."""
        [first] = await put(backend, NewJob("a", priority=6))
        clock.advance(AGEING)
        [second] = await put(backend, NewJob("b", priority=5))
        assert (await row(backend, first)).rank == (await row(backend, second)).rank
        assert await line(backend, "b", "a") == [first, second]

    async def test_the_place_counts_from_the_due_time(self, backend: QueueBackend, clock: FakeClock) -> None:
        """What was scheduled for later takes its place by when it came due, however long ago it was enqueued."""
        [scheduled] = await put(backend, NewJob("a", delay=100.0))
        clock.advance(50)
        [before] = await put(backend, NewJob("a"))
        clock.advance(100)
        [behind] = await put(backend, NewJob("a"))
        assert await backend.promote_due(10) == 1
        assert (await row(backend, scheduled)).rank == place(after(clock, -50))
        assert await line(backend, "a") == [before, scheduled, behind]

    async def test_a_retry_takes_the_place_of_its_retry(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A failed job comes back by the time of its retry, at its own priority."""
        claim = await start_one(backend, NewJob("a", priority=5))
        await backend.settle([failed(claim, 100.0)], WORKER)
        clock.advance(99)
        [before] = await put(backend, NewJob("a"))
        clock.advance(2)
        [behind] = await put(backend, NewJob("a"))
        await backend.promote_due(10)
        assert await line(backend, "a") == [before, claim.id, behind]

    async def test_the_line_of_many(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Of jobs with any priorities and due times, each claim takes the head of the line as the rows tell it."""
        chance = random.Random(7)  # noqa: S311
        for _ in range(20):
            some = [
                NewJob(chance.choice("abc"), priority=chance.randint(1, 10), delay=chance.choice([None, 30.0, 500.0]))
                for _ in range(10)
            ]
            await put(backend, *some)
            clock.advance(chance.choice([0, 1, 100, AGEING]))
        await backend.promote_due(1000)
        expected = sorted((job.rank, job.id) for job in await rows(backend) if job.rank is not None)
        assert len(expected) > 100
        for rank_and_id in expected:
            assert (await row(backend, rank_and_id[1])).rank == rank_and_id[0]
        got: list[int] = []
        while claims := await backend.claim(demand("a", "b", "c", limit=chance.randint(1, 30))):
            got += [claim.id for claim in claims]
        assert got == [job_id for _, job_id in expected]

    async def test_a_requeued_job_goes_behind(self, backend: QueueBackend, clock: FakeClock) -> None:
        """What is requeued is due now, behind what has waited."""
        [old] = await put(backend)
        await backend.cancel(JobFilter(ids=[old]), 1)
        clock.advance(10)
        [waiting] = await put(backend)
        clock.advance(10)
        await backend.requeue(JobFilter(ids=[old]), 1)
        assert await line(backend, "a") == [waiting, old]
