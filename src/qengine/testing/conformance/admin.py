"""Administration: requeue, cancel, delete, pause; and which jobs a filter names."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import Pause, QueueBackend, Settlement
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
    rows,
    start,
    start_one,
)

ALL = JobFilter()


async def one_of_each(backend: QueueBackend) -> dict[Status, int]:
    """A job in every status; the scheduled one counts as pending."""
    claims = await start(backend, *[NewJob("a") for _ in range(5)])
    ends = dict(zip((Status.COMPLETED, Status.DEAD, Status.CANCELLED), claims, strict=False))
    await backend.settle([Settlement(claim.id, claim.token, end) for end, claim in ends.items()], WORKER)
    await backend.settle([failed(claims[3])], WORKER)
    [pending] = await put(backend, NewJob("a", delay=99.0))
    return {end: claim.id for end, claim in ends.items()} | {
        Status.FAILED: claims[3].id,
        Status.PROCESSING: claims[4].id,
        Status.PENDING: pending,
    }


class TestRequeue(Suite):
    """`requeue`."""

    async def test_a_dead_job_starts_anew(self, backend: QueueBackend, clock: FakeClock) -> None:
        """The whole row: pending, in line now, counters at 0; error, history and checkpoint stay."""
        claim = await start_one(backend, NewJob("a", priority=4, expires=500.0))
        await backend.save(claim.lease, progress='{"done": 1}', checkpoint='{"page": 3}')
        await backend.settle([failed(claim, 0)], WORKER)
        [claim] = await backend.claim(demand())
        await backend.settle([buried(claim)], WORKER)
        before, history = await row(backend, claim.id), await backend.errors(claim.id)
        now = clock.advance(100)
        assert await backend.requeue(JobFilter(ids=[claim.id]), 10) == [claim.id]
        job = await row(backend, claim.id)
        assert_row(
            job,
            before,
            status=Status.PENDING,
            scheduled_for=now,
            rank=place(now, 4),
            attempts=0,
            crashes=0,
            dead_reason=None,
            completed_at=None,
            lease_token=job.lease_token,
            started_at=job.started_at,
            progress=job.progress,
        )
        assert job.lease_token > before.lease_token
        assert (job.last_error, job.checkpoint, job.expires_at) == ("ValueError: no", {"page": 3}, after(clock, 400))
        assert await backend.errors(claim.id) == history
        [again] = await backend.claim(demand())
        assert (again.id, again.attempt, again.token > job.lease_token) == (claim.id, 1, True)

    async def test_a_completed_job_loses_its_result(self, backend: QueueBackend, clock: FakeClock) -> None:
        """The result of the run before is cleared, and so is an `expires_at` that has passed."""
        claim = await start_one(backend, NewJob("a", expires=10.0))
        await backend.settle([done(claim, result='{"old": 1}')], WORKER)
        clock.advance(20)
        await backend.requeue(JobFilter(ids=[claim.id]), 10)
        job = await row(backend, claim.id)
        assert (job.status, job.result, job.expires_at, job.completed_at) == (Status.PENDING, None, None, None)
        [again] = await backend.claim(demand())
        assert not again.expired

    async def test_a_crash_loop_is_forgiven(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A suspect that is requeued is none any more."""
        [job_id] = await put(backend)
        await crash(backend, clock, job_id, times=3, max_crashes=3)
        assert (await row(backend, job_id)).dead_reason == "crash_loop"
        assert await backend.requeue(ALL, 10) == [job_id]
        assert [claim.id for claim in await backend.claim(demand())] == [job_id]

    async def test_only_what_has_ended(self, backend: QueueBackend) -> None:
        """Dead, cancelled and completed jobs go back; pending, failed and running ones are left alone."""
        ids = await one_of_each(backend)
        left = [await row(backend, ids[status]) for status in (Status.PENDING, Status.FAILED, Status.PROCESSING)]
        ended = [ids[status] for status in (Status.DEAD, Status.CANCELLED, Status.COMPLETED)]
        assert sorted(await backend.requeue(ALL, 100)) == sorted(ended)
        await assert_untouched(backend, left)
        assert {job.status for job in await rows(backend, JobFilter(ids=ended))} == {Status.PENDING}

    async def test_up_to_the_limit(self, backend: QueueBackend) -> None:
        """As many as asked for at a time, each once."""
        claims = await start(backend, *[NewJob("a") for _ in range(7)])
        await backend.settle([buried(claim) for claim in claims], WORKER)
        answers = [await backend.requeue(JobFilter(type="a"), 3) for _ in range(4)]
        assert [len(answer) for answer in answers] == [3, 3, 1, 0]
        assert sorted(job_id for answer in answers for job_id in answer) == [claim.id for claim in claims]


class TestCancel(Suite):
    """`cancel`."""

    async def test_what_has_not_ended_is_cancelled(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Pending, failed and running jobs, as whole rows; what has ended stays as it ended."""
        ids = await one_of_each(backend)
        before = {job.id: job for job in await rows(backend)}
        now = clock.advance(3)
        live = [ids[status] for status in (Status.PENDING, Status.FAILED, Status.PROCESSING)]
        assert sorted(await backend.cancel(ALL, 100)) == sorted(live)
        for job_id in live:
            job = await row(backend, job_id)
            assert_row(
                job,
                before[job_id],
                status=Status.CANCELLED,
                rank=None,
                locked_by=None,
                locked_until=None,
                completed_at=now,
                lease_token=job.lease_token,
            )
            assert job.lease_token > before[job_id].lease_token
        await assert_untouched(backend, [job for job_id, job in before.items() if job_id not in live])

    async def test_a_cancelled_job_is_not_run(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Neither at once nor when its time comes."""
        await put(backend, NewJob("a"), NewJob("a", delay=10.0))
        await backend.cancel(ALL, 10)
        clock.advance(20)
        assert await backend.promote_due(10) == 0
        assert await backend.claim(demand()) == []

    async def test_up_to_the_limit(self, backend: QueueBackend) -> None:
        """As many as asked for at a time, each once."""
        ids = await put(backend, *[NewJob("a") for _ in range(7)])
        answers = [await backend.cancel(ALL, 3) for _ in range(4)]
        assert [len(answer) for answer in answers] == [3, 3, 1, 0]
        assert sorted(job_id for answer in answers for job_id in answer) == ids


class TestDelete(Suite):
    """`delete`."""

    async def test_any_job_goes_with_its_history(self, backend: QueueBackend) -> None:
        """Whatever its status; the holder of a running one finds it lost; others stay."""
        ids = await one_of_each(backend)
        [kept] = await put(backend, NewJob("kept"))
        keeps = [await row(backend, kept)]
        assert len(await backend.errors(ids[Status.FAILED])) == 1
        token = (await row(backend, ids[Status.PROCESSING])).lease_token
        assert sorted(await backend.delete(JobFilter(type="a"), 100)) == sorted(ids.values())
        assert await rows(backend) == keeps
        assert await backend.errors(ids[Status.FAILED]) == []
        lost = await backend.settle([Settlement(ids[Status.PROCESSING], token, Status.COMPLETED)], WORKER)
        assert [lease.id for lease in lost] == [ids[Status.PROCESSING]]

    async def test_an_id_is_never_given_twice(self, backend: QueueBackend) -> None:
        """Not even when the newest job was deleted: a late settlement must not meet another job."""
        claim = await start_one(backend)
        await backend.delete(ALL, 10)
        again = await start_one(backend)
        assert again.id > claim.id

    async def test_up_to_the_limit(self, backend: QueueBackend) -> None:
        """As many as asked for at a time, each once."""
        ids = await put(backend, *[NewJob("a") for _ in range(7)])
        answers = [await backend.delete(ALL, 3) for _ in range(4)]
        assert [len(answer) for answer in answers] == [3, 3, 1, 0]
        assert sorted(job_id for answer in answers for job_id in answer) == ids


class TestFilter(Suite):
    """`JobFilter`: all conditions together, in every verb that takes one."""

    async def stock(self, backend: QueueBackend, clock: FakeClock) -> list[int]:
        """Jobs that differ in all that a filter asks."""
        ids = []
        for n in range(8):
            claim = await start_one(backend, NewJob("ab"[n % 2], f'{{"is": "job {n}"}}', queue="xy"[n // 2 % 2]))
            told: dict[str, Any] = {"error_group": "g1" if n < 4 else "g2", "error": "The Error"}
            await backend.settle([buried(claim, **told) if n % 3 else failed(claim, **told)], WORKER)
            clock.advance(10)
            ids.append(claim.id)
        return ids

    @pytest.mark.parametrize(
        ("verb", "status"),
        [
            ("requeue", None),
            ("requeue", Status.DEAD),
            ("cancel", None),
            ("cancel", Status.PENDING),
            ("delete", None),
            ("delete", Status.DEAD),
            ("delete", Status.PENDING),
        ],
    )
    async def test_the_lowest_ids_first(self, backend: QueueBackend, verb: str, status: Status | None) -> None:
        """So that whoever goes on above the last one meets each once."""
        claims = await start(backend, *[NewJob("a", priority=10 - n) for n in range(9)])
        await backend.settle([buried(claim) for claim in claims[::-1]], WORKER)
        if verb == "cancel" or status is Status.PENDING:
            await backend.requeue(ALL, 100)
        which = JobFilter(status=None if status is None else [status], type="a")
        ids = [claim.id for claim in claims]
        assert sorted(await getattr(backend, verb)(which, 4)) == ids[:4]
        assert sorted(await getattr(backend, verb)(replace(which, above=ids[5]), 2)) == ids[6:8]

    @pytest.mark.parametrize(
        ("conditions", "expected"),
        [
            ({}, range(8)),
            ({"ids": [0, 5, 5]}, [0, 5]),
            ({"ids": []}, []),
            ({"status": [Status.FAILED]}, [0, 3, 6]),
            ({"status": [Status.FAILED, Status.DEAD]}, range(8)),
            ({"status": [Status.COMPLETED]}, []),
            ({"status": []}, []),
            ({"type": "a"}, [0, 2, 4, 6]),
            ({"type": "A"}, []),
            ({"queue": "y"}, [2, 3, 6, 7]),
            ({"error_group": "g2"}, [4, 5, 6, 7]),
            ({"created_before": 25}, [0, 1, 2]),
            ({"created_after": 25}, [3, 4, 5, 6, 7]),
            ({"created_after": 15, "created_before": 45, "type": "b", "status": [Status.DEAD]}, []),
            ({"created_after": 5, "created_before": 75, "queue": "x", "type": "b", "status": [Status.DEAD]}, [1, 5]),
            ({"ids": [0, 1, 2, 3], "error_group": "g2"}, []),
            ({"text": "JOB 5"}, [5]),
            ({"text": "no such text"}, []),
            ({"text": "the error", "error_group": "g2", "type": "a"}, [4, 6]),
            ({"ended_before": 40}, [1, 2]),
            ({"above": 3}, [4, 5, 6, 7]),
            ({"above": 3, "status": [Status.DEAD]}, [4, 5, 7]),
            ({"above": 3, "ids": [2, 3, 4]}, [4]),
            ({"ended_before": 41, "queue": "x", "text": "job"}, [1, 4]),
        ],
    )
    async def test_all_conditions_hold(
        self, backend: QueueBackend, clock: FakeClock, conditions: dict[str, Any], expected: Any
    ) -> None:
        """A job is meant when it meets every condition; None asks nothing, and an empty list is met by none."""
        began = clock.now()
        ids = await self.stock(backend, clock)
        told = dict(conditions)
        if "ids" in told:
            told["ids"] = [ids[n] for n in told["ids"]]
        if "above" in told:
            told["above"] = ids[told["above"]]
        for name in ("created_before", "created_after", "ended_before"):
            if name in told:
                told[name] = began + dt.timedelta(seconds=told[name])
        which, meant = JobFilter(**told), [ids[n] for n in expected]
        assert [job.id for job in await rows(backend, which)] == meant
        dead = [job.id for job in await rows(backend, which) if job.status is Status.DEAD]
        assert sorted(await backend.requeue(which, 100)) == dead
        if "status" not in conditions and "ended_before" not in conditions:
            assert sorted(await backend.cancel(which, 100)) == meant
            assert sorted(await backend.delete(which, 100)) == meant
            assert [job.id for job in await rows(backend)] == [job_id for job_id in ids if job_id not in meant]


class TestPause(Suite):
    """`pause`, `resume` and `pauses`; what they do to claims is told by `TestPausedClaims`."""

    async def test_pauses_are_listed(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """With their ends; a number of seconds counts from now."""
        await backend.pause("type", "a")
        await backend.pause("queue", "q", 30.5)
        await backend.pause("type", "b", after(clock, 90))
        found = {(pause.kind, pause.name): pause for pause in await other.pauses()}
        assert found == {
            ("type", "a"): Pause("type", "a", None),
            ("queue", "q"): Pause("queue", "q", after(clock, 30.5)),
            ("type", "b"): Pause("type", "b", after(clock, 90)),
        }

    async def test_resume_says_whether_there_was_one(self, backend: QueueBackend) -> None:
        """True for a pause that is ended, False for none; of the same kind only."""
        await backend.pause("type", "a")
        assert await backend.resume("queue", "a") is False
        assert await backend.resume("type", "b") is False
        assert await backend.resume("type", "a") is True
        assert await backend.resume("type", "a") is False
        assert await backend.pauses() == []

    @pytest.mark.parametrize(
        ("ends", "expected"),
        [((30.0, 60.0), 60), ((60.0, 30.0), 60), ((None, 30.0), None), ((30.0, None), None), ((None, None), None)],
    )
    async def test_the_longer_holds(
        self, backend: QueueBackend, clock: FakeClock, ends: tuple[float | None, ...], expected: float | None
    ) -> None:
        """A pause is made longer, never shorter, by another."""
        for end in ends:
            await backend.pause("type", "a", end)
        assert await backend.pauses() == [Pause("type", "a", None if expected is None else after(clock, expected))]

    async def test_one_that_is_over_is_not_in_force(self, backend: QueueBackend, clock: FakeClock) -> None:
        """It is not listed, and does not stand in the way of a new, shorter one."""
        await backend.pause("type", "a", 30.0)
        clock.advance(31)
        assert await backend.pauses() == []
        await backend.pause("type", "a", 5.0)
        assert await backend.pauses() == [Pause("type", "a", after(clock, 5))]

    async def test_hostile_names(self, backend: QueueBackend) -> None:
        """Any name can be paused and resumed."""
        for name in HOSTILE:
            await backend.pause("type", name)
        assert {pause.name for pause in await backend.pauses()} == set(HOSTILE)
        for name in HOSTILE:
            assert await backend.resume("type", name)
