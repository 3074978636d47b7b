"""Enqueue: what is stored, in which order it is answered, and the caller's own transaction."""

from __future__ import annotations

import datetime as dt

import anyio
import pytest

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import QueueBackend
from qengine.errors import ConfigurationError, QEngineError
from qengine.job import Job, NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import PATIENCE, Suite, after, demand, need, place, put, row, rows
from qengine.testing.factory import BackendFactory


class TestEnqueue(Suite):
    """`enqueue`."""

    async def test_the_least_is_stored_with_the_defaults(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A job of which only the type is given is pending and in line at once."""
        now = clock.now()
        [answer] = await backend.enqueue([NewJob("a")])
        assert (answer.existed, answer.created_at, answer.scheduled_for) == (False, now, now)
        job = await row(backend, answer.id)
        assert job == Job(
            id=answer.id,
            type="a",
            queue="default",
            priority=5,
            payload={},
            status=Status.PENDING,
            max_attempts=3,
            scheduled_for=now,
            rank=place(now),
            lease_token=job.lease_token,
            created_at=now,
            updated_at=job.updated_at,
        )

    async def test_every_field_is_stored(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A job of which everything is given comes back as it was given; not due, it is not in line."""
        request = NewJob(
            "b",
            '{"n": 1.5, "s": "\\u00e9", "deep": [null, true, {"z": 1, "a": 2}]}',
            queue="mail",
            priority=1,
            delay=90.5,
            max_attempts=7,
            timeout=12.25,
            unique_key="welcome:7",
            partition_key="p",
            expires=3600.0,
            headers='{"traceparent": "00-ab-cd-01"}',
        )
        [answer] = await backend.enqueue([request])
        job = await row(backend, answer.id)
        assert (answer.existed, answer.scheduled_for) == (False, after(clock, 90.5))
        assert job == Job(
            id=answer.id,
            type="b",
            queue="mail",
            priority=1,
            payload={"n": 1.5, "s": "é", "deep": [None, True, {"z": 1, "a": 2}]},
            status=Status.PENDING,
            max_attempts=7,
            scheduled_for=after(clock, 90.5),
            rank=None,
            lease_token=job.lease_token,
            unique_key="welcome:7",
            partition_key="p",
            timeout=12.25,
            expires_at=after(clock, 3600),
            headers={"traceparent": "00-ab-cd-01"},
            created_at=clock.now(),
            updated_at=job.updated_at,
        )

    async def test_times_are_aware_and_of_any_zone(self, backend: QueueBackend, clock: FakeClock) -> None:
        """`at` and `expires` name a moment, in whatever zone they are written; what is read is aware."""
        zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
        moment = after(clock, 7200.000001)
        [job_id] = await put(backend, NewJob("a", at=moment.astimezone(zone), expires=after(clock, 9000).astimezone(zone)))
        job = await row(backend, job_id)
        assert (job.scheduled_for, job.expires_at, job.rank) == (moment, after(clock, 9000), None)
        assert job.scheduled_for is not None
        assert job.scheduled_for.tzinfo is not None

    @pytest.mark.parametrize("request_", [NewJob("a", delay=0.0), NewJob("a", delay=0)], ids=["float", "int"])
    async def test_no_delay_is_due_at_once(self, backend: QueueBackend, clock: FakeClock, request_: NewJob) -> None:
        """A delay of nothing puts the job in line."""
        [job_id] = await put(backend, request_)
        job = await row(backend, job_id)
        assert (job.scheduled_for, job.rank) == (clock.now(), place(clock.now()))

    async def test_a_time_in_the_past_is_in_line_by_that_time(self, backend: QueueBackend, clock: FakeClock) -> None:
        """What was due before now keeps its due time, and so its place before what is due now."""
        now_id, past_id = await put(backend, NewJob("a"), NewJob("a", at=after(clock, -100)))
        past = await row(backend, past_id)
        assert (past.scheduled_for, past.rank) == (after(clock, -100), place(after(clock, -100)))
        assert [claim.id for claim in await backend.claim(demand())] == [past_id, now_id]

    async def test_answers_and_ids_follow_the_order_of_the_request(self, backend: QueueBackend) -> None:
        """Of a batch of all kinds, the answers are in the order of the jobs, and so are the ids."""
        jobs = [NewJob(f"t{n % 7}", f'{{"n": {n}}}', priority=1 + n % 10, delay=(n % 3) * 10.0 or None) for n in range(250)]
        ids = await put(backend, *jobs)
        assert ids == sorted(set(ids))
        assert [(job.id, job.type, job.payload, job.priority) for job in await rows(backend)] == [
            (job_id, job.type, {"n": n}, job.priority) for n, (job_id, job) in enumerate(zip(ids, jobs, strict=True))
        ]
        assert min(await put(backend)) > max(ids)

    async def test_nothing_is_no_work(self, backend: QueueBackend) -> None:
        """An empty batch is answered with nothing and stores nothing."""
        assert await backend.enqueue([]) == []
        assert await rows(backend) == []

    async def test_what_cannot_be_stored_leaves_nothing_behind(self, backend: QueueBackend) -> None:
        """A batch with a text that the database cannot hold is stored wholly and as it is, or refused wholly."""
        for text in ("nul \0 nul", "lone \ud800 surrogate"):
            try:
                ids = await put(backend, NewJob("a"), NewJob("a", unique_key=text), NewJob("a"))
            except QEngineError:
                assert await rows(backend) == []
            else:
                assert [job.unique_key for job in await rows(backend)] == [None, text, None]
                await backend.delete(JobFilter(ids=ids), 10)

    async def test_enqueues_at_the_same_time_are_all_stored(self, backend: QueueBackend, other: QueueBackend) -> None:
        """Many callers of two backends at once lose nothing and share no id."""
        ids: list[int] = []

        async def enqueue(of: QueueBackend, n: int) -> None:
            ids.extend(await put(of, NewJob("a", f'{{"n": {n}}}')))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for n in range(40):
                    group.start_soon(enqueue, (backend, other)[n % 2], n)
        assert len(set(ids)) == 40
        assert sorted(job.payload["n"] for job in await rows(backend)) == list(range(40))


class TestEnqueueOnTheCallersConnection(Suite):
    """`enqueue(conn=…)`: the job exists if and only if the caller's transaction commits."""

    @pytest.fixture
    def caller(self, backend: QueueBackend, backend_factory: BackendFactory) -> BackendFactory:
        """The factory, for backends that say they can join a transaction of the caller's."""
        if not backend.capabilities.caller_connection:
            pytest.skip("this backend does not have the capability caller_connection")
        return need(backend_factory, "caller", "insert", "inserted")

    async def test_a_commit_stores_it(self, backend: QueueBackend, caller: BackendFactory, clock: FakeClock) -> None:
        """The job appears together with what the caller wrote, and not before."""
        async with caller.caller() as conn:
            await caller.insert(conn, "before")
            [answer] = await backend.enqueue([NewJob("a", '{"n": 1}', priority=2)], conn)
            await caller.insert(conn, "after")
            assert await backend.get(answer.id) is None
        job = await row(backend, answer.id)
        assert (job.status, job.payload, job.rank) == (Status.PENDING, {"n": 1}, place(clock.now(), 2))
        assert await caller.inserted() == ["before", "after"]
        assert [claim.id for claim in await backend.claim(demand())] == [answer.id]

    async def test_a_rollback_stores_nothing(self, backend: QueueBackend, caller: BackendFactory) -> None:
        """When the caller's transaction fails, the job was never there."""
        with pytest.raises(RuntimeError, match="changed my mind"):  # noqa: PT012
            async with caller.caller() as conn:
                await caller.insert(conn, "x")
                await backend.enqueue([NewJob("a"), NewJob("a", unique_key="k")], conn)
                raise RuntimeError("changed my mind")
        assert await rows(backend) == []
        assert await caller.inserted() == []
        [answer] = await backend.enqueue([NewJob("a", unique_key="k")])
        assert not answer.existed

    async def test_a_unique_key_holds_there_too(self, backend: QueueBackend, caller: BackendFactory) -> None:
        """A live job that has the key is the answer, whether it was committed before or in this transaction."""
        [first] = await put(backend, NewJob("a", unique_key="k"))
        async with caller.caller() as conn:
            [same, new, again] = await backend.enqueue([NewJob("a", unique_key=key) for key in ("k", "m", "m")], conn)
            [later] = await backend.enqueue([NewJob("a", unique_key="m")], conn)
        assert (same.id, same.existed) == (first, True)
        assert (new.existed, again, later) == (False, new._replace(existed=True), new._replace(existed=True))
        assert [job.id for job in await rows(backend)] == [first, new.id]

    async def test_the_commit_wakes(self, backend: QueueBackend, other: QueueBackend, caller: BackendFactory) -> None:
        """Workers that wait are woken once the caller has committed, those of another process included."""
        seen = [backend.wakes, other.wakes]
        async with caller.caller() as conn:
            await backend.enqueue([NewJob("a")], conn)
        with anyio.fail_after(PATIENCE):
            await other.wake(seen[1])
            await backend.wake(seen[0])
        assert len(await other.claim(demand())) == 1

    @pytest.mark.parametrize("conn", ["not a connection", 5, object()], ids=["text", "number", "object"])
    async def test_something_else_is_refused(self, backend: QueueBackend, conn: object) -> None:
        """What is no connection of the backend's driver is a ConfigurationError, and nothing is stored.

        For a backend without the capability that is everything.
        """
        with pytest.raises(ConfigurationError):
            await backend.enqueue([NewJob("a")], conn)
        assert await rows(backend) == []
