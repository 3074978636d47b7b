"""Leases: extending them, what the holder may write meanwhile, and the transaction that completes the job."""

from __future__ import annotations

import anyio
import pytest

from qengine.backends.protocol import Lease, QueueBackend, Reclaimed
from qengine.errors import LeaseLost
from qengine.job import NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import (
    LEASE,
    PATIENCE,
    WAYS,
    WORKER,
    Suite,
    after,
    assert_row,
    assert_untouched,
    crash,
    demand,
    done,
    failed,
    need,
    place,
    put,
    row,
    rows,
    start,
    start_one,
    ways_out,
)
from qengine.testing.factory import BackendFactory


class TestExtend(Suite):
    """`extend`."""

    async def test_the_lease_ends_later_and_nothing_else_changes(self, backend: QueueBackend, clock: FakeClock) -> None:
        """The lease ends so many seconds from now; the token stays."""
        claim = await start_one(backend)
        before = await row(backend, claim.id)
        clock.advance(20)
        assert await backend.extend([claim.lease], 90.5) == []
        assert_row(await row(backend, claim.id), before, locked_until=after(clock, 90.5))
        assert await backend.settle([done(claim)], WORKER) == []

    async def test_it_counts_from_now_and_may_shorten(self, backend: QueueBackend, clock: FakeClock) -> None:
        """It is no addition: five seconds from now is five seconds from now."""
        claim = await start_one(backend)
        await backend.extend([claim.lease], 5.0)
        assert (await row(backend, claim.id)).locked_until == after(clock, 5)

    async def test_many_at_once(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """Of many leases, exactly those lost are returned, and the others are extended; any backend may do it."""
        claims = await start(backend, *[NewJob("a") for _ in range(20)])
        await backend.settle([done(claim) for claim in claims[::4]], WORKER)
        await backend.settle([failed(claim) for claim in claims[1::4]], WORKER)
        gone = [job for job in await rows(backend) if job.status is not Status.PROCESSING]
        unknown = Lease(claims[-1].id + 1000, 1)
        clock.advance(20)
        lost = await other.extend([*[claim.lease for claim in claims], unknown], 100.0)
        assert sorted(lost) == sorted([claim.lease for claim in (*claims[::4], *claims[1::4])] + [unknown])
        await assert_untouched(backend, gone)
        held = [job for job in await rows(backend) if job.status is Status.PROCESSING]
        assert [job.locked_until for job in held] == [after(clock, 100)] * 10

    async def test_an_overdue_lease_still_holds(self, backend: QueueBackend, clock: FakeClock) -> None:
        """As long as nobody has reclaimed it, a late renewal is good, and saves the job."""
        claim = await start_one(backend)
        clock.advance(LEASE * 3)
        assert await backend.extend([claim.lease], LEASE) == []
        assert await backend.reclaim(10, max_crashes=5, lease=LEASE) == []
        assert (await row(backend, claim.id)).locked_until == after(clock, LEASE)

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_lease_that_ended_cannot_be_extended(self, backend: QueueBackend, clock: FakeClock, way: str) -> None:
        """Whatever ended it, the lease is told to be lost, and the row is left alone."""
        claim = await start_one(backend)
        await ways_out(backend, clock, way, claim)
        before = await rows(backend)
        assert await backend.extend([claim.lease], 500.0) == [claim.lease]
        await assert_untouched(backend, before)

    async def test_nothing_is_no_work(self, backend: QueueBackend) -> None:
        """An empty batch is answered with nothing."""
        assert await backend.extend([], 5.0) == []


class TestDisown(Suite):
    """`disown`."""

    async def test_what_a_worker_holds_without_knowing_goes_back(self, backend: QueueBackend, clock: FakeClock) -> None:
        """All but the leases it keeps, as whole rows: to their old place, attempt given back, no crash, no history."""
        known, unknown, stale = await start(backend, *[NewJob("a", priority=p) for p in (1, 2, 3)])
        [theirs] = await start(backend, NewJob("b"), worker="worker-2")
        await put(backend, NewJob("c"))
        before = {job.id: job for job in await rows(backend)}
        clock.advance(5)
        assert await backend.disown(WORKER, [known.lease, Lease(stale.id, stale.token - 1), theirs.lease]) == 2
        for claim in (unknown, stale):
            was = before[claim.id]
            changes = {"status": Status.PENDING, "attempts": 0, "locked_by": None, "locked_until": None}
            rank = place(was.scheduled_for or clock.now(), claim.priority)
            assert_row(await row(backend, claim.id), was, rank=rank, lease_token=claim.token + 1, **changes)
            assert await backend.errors(claim.id) == []
        await assert_untouched(backend, [job for job in before.values() if job.id not in (unknown.id, stale.id)])
        assert await backend.settle([done(unknown), done(known)], WORKER) == [unknown.lease]

    async def test_everything_when_it_keeps_nothing(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Overdue or suspect, with the crashes that it had."""
        [job_id] = await put(backend)
        await crash(backend, clock, job_id, times=2)
        await backend.claim(demand(suspects=True))
        clock.advance(LEASE * 2)
        assert await backend.disown("worker-2", []) == 0
        assert await backend.disown(WORKER, []) == 1
        job = await row(backend, job_id)
        assert (job.status, job.crashes, job.attempts) == (Status.PENDING, 2, 0)
        assert await backend.disown(WORKER, []) == 0


class TestSave(Suite):
    """`save`: progress and checkpoint."""

    async def test_what_is_given_is_stored(self, backend: QueueBackend) -> None:
        """One does not touch the other, a later one replaces, and the token stays."""
        claim = await start_one(backend)
        before = await row(backend, claim.id)
        assert await backend.save(claim.lease, progress='{"done": 1, "total": 9, "message": "é"}') is True
        progress = {"done": 1, "total": 9, "message": "é"}
        assert_row(await row(backend, claim.id), before, progress=progress)
        assert await backend.save(claim.lease, checkpoint='[1, {"page": null}]') is True
        assert_row(await row(backend, claim.id), before, progress=progress, checkpoint=[1, {"page": None}])
        assert await backend.save(claim.lease, progress='{"done": 3}') is True
        assert_row(await row(backend, claim.id), before, progress={"done": 3}, checkpoint=[1, {"page": None}])
        assert await backend.save(claim.lease, progress='{"done": 2}', checkpoint="0") is True
        assert_row(await row(backend, claim.id), before, progress={"done": 2}, checkpoint=0)
        assert await backend.settle([done(claim)], WORKER) == []
        assert (await row(backend, claim.id)).checkpoint == 0

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_lease_that_ended_saves_nothing(self, backend: QueueBackend, clock: FakeClock, way: str) -> None:
        """Whatever ended it, the answer is False and the row is left alone."""
        claim = await start_one(backend)
        await ways_out(backend, clock, way, claim)
        before = await rows(backend)
        assert await backend.save(claim.lease, progress='{"done": 1}', checkpoint='"late"') is False
        await assert_untouched(backend, before)

    async def test_a_checkpoint_outlives_a_crash(self, backend: QueueBackend, clock: FakeClock) -> None:
        """What a run saved before its lease was lost is there for the next."""
        claim = await start_one(backend)
        await backend.save(claim.lease, checkpoint='{"page": 7}')
        await ways_out(backend, clock, "claimed again", claim)
        assert (await row(backend, claim.id)).checkpoint == {"page": 7}


class TestTransaction(Suite):
    """`transaction` and `store_result`."""

    @pytest.fixture
    def application(self, backend_factory: BackendFactory) -> BackendFactory:
        """The factory, which can write to a table of the application's."""
        return need(backend_factory, "insert", "inserted")

    @pytest.fixture
    def concurrent(self, application: BackendFactory) -> BackendFactory:
        """The factory, for databases that several can write to at once."""
        if application.serial_writes:
            pytest.skip("BackendFactory.serial_writes is True")
        return application

    async def test_the_writes_and_the_completion_are_one(
        self, backend: QueueBackend, application: BackendFactory, clock: FakeClock
    ) -> None:
        """At the end of the block the job is completed and what was written is there; before it, neither is."""
        claim = await start_one(backend)
        before = await row(backend, claim.id)
        now = clock.advance(3)
        async with backend.transaction(claim.lease) as conn:
            await application.insert(conn, "one")
            await application.insert(conn, "two")
            assert await backend.get(claim.id) == before
            assert await application.inserted() == []
        assert await application.inserted() == ["one", "two"]
        changes = {"lease_token": claim.token + 1, "completed_at": now, "locked_by": None, "locked_until": None}
        assert_row(await row(backend, claim.id), before, status=Status.COMPLETED, **changes)
        assert await backend.settle([done(claim)], WORKER) == [claim.lease]

    async def test_an_error_in_the_block_leaves_the_job_running(self, backend: QueueBackend, application: BackendFactory) -> None:
        """What was written is undone, the error goes on, and the lease still holds."""
        claim = await start_one(backend)
        before = await row(backend, claim.id)
        with pytest.raises(RuntimeError, match="from the handler"):  # noqa: PT012
            async with backend.transaction(claim.lease) as conn:
                await application.insert(conn, "x")
                raise RuntimeError("from the handler")
        assert await application.inserted() == []
        await assert_untouched(backend, [before])
        async with backend.transaction(claim.lease) as conn:
            await application.insert(conn, "again")
        assert await application.inserted() == ["again"]
        assert (await row(backend, claim.id)).status is Status.COMPLETED

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_lease_that_ended_commits_nothing(
        self, backend: QueueBackend, application: BackendFactory, clock: FakeClock, way: str
    ) -> None:
        """Whatever ended the lease before the block, LeaseLost is raised, what was written is undone, the row left alone."""
        claim = await start_one(backend)
        await ways_out(backend, clock, way, claim)
        before = await rows(backend)
        with pytest.raises(LeaseLost):
            async with backend.transaction(claim.lease) as conn:
                await application.insert(conn, "late")
        assert await application.inserted() == []
        await assert_untouched(backend, before)

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_lease_that_ends_during_the_block(
        self, backend: QueueBackend, other: QueueBackend, concurrent: BackendFactory, clock: FakeClock, way: str
    ) -> None:
        """The row is not locked meanwhile: another process can take the job away, and then the block commits nothing."""
        claim = await start_one(backend)
        with pytest.raises(LeaseLost):  # noqa: PT012
            async with backend.transaction(claim.lease) as conn:
                await concurrent.insert(conn, "late")
                await ways_out(other, clock, way, claim)
                before = await rows(other)
        assert await concurrent.inserted() == []
        await assert_untouched(backend, before)

    async def test_the_lease_can_be_extended_during_the_block(
        self, backend: QueueBackend, other: QueueBackend, concurrent: BackendFactory, clock: FakeClock
    ) -> None:
        """The lease keeper, on its own connection, is not held up by a handler's transaction."""
        claim = await start_one(backend)
        async with backend.transaction(claim.lease) as conn:
            await concurrent.insert(conn, "x")
            clock.advance(LEASE / 2)
            for each in (backend, other):
                assert await each.extend([claim.lease], LEASE) == []
            assert (await row(other, claim.id)).locked_until == after(clock, LEASE)
        assert (await row(backend, claim.id)).status is Status.COMPLETED

    async def test_where_writers_wait_nobody_takes_the_job_meanwhile(
        self, backend: QueueBackend, other: QueueBackend, application: BackendFactory, clock: FakeClock
    ) -> None:
        """With one writer at a time an overdue lease is safe in the block: who reclaims then comes too late."""
        if not application.serial_writes:
            pytest.skip("BackendFactory.serial_writes is False")
        claim = await start_one(backend)
        taken: list[Reclaimed] = []

        async def reclaim() -> None:
            taken.extend(await other.reclaim(10, max_crashes=5, lease=LEASE))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group, backend.transaction(claim.lease) as conn:
                await application.insert(conn, "x")
                clock.advance(LEASE + 1)
                group.start_soon(reclaim)
                await anyio.wait_all_tasks_blocked()
        assert taken == []
        assert await application.inserted() == ["x"]
        assert (await row(backend, claim.id)).status is Status.COMPLETED

    async def test_a_sibling_can_extend(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A sibling works on the same database and by the same clock."""
        claim = await start_one(backend)
        sibling = backend.sibling()
        await sibling.open()
        try:
            clock.advance(10)
            assert await sibling.extend([claim.lease, Lease(claim.id, claim.token + 1)], 70.0) == [
                Lease(claim.id, claim.token + 1)
            ]
            assert await sibling.now() == clock.now()
        finally:
            await sibling.close()
        assert (await row(backend, claim.id)).locked_until == after(clock, 70)

    async def test_a_result_can_be_stored_afterwards(self, backend: QueueBackend) -> None:
        """Under the token that the transaction left behind, and only under that."""
        claim = await start_one(backend)
        assert await backend.store_result(Lease(claim.id, claim.token + 1), '"too early"') is False
        async with backend.transaction(claim.lease):
            pass
        before = await row(backend, claim.id)
        assert await backend.store_result(claim.lease, '"stale"') is False
        await assert_untouched(backend, [before])
        assert await backend.store_result(Lease(claim.id, claim.token + 1), '{"n": 1}') is True
        assert_row(await row(backend, claim.id), before, result={"n": 1})
