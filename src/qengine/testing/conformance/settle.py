"""Settle: how a run ended, and what becomes of its job, under the fence."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from qengine.backends.protocol import Claim, Lease, QueueBackend, Settlement
from qengine.job import JobError, NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import (
    LEASE,
    WAYS,
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
    together,
    ways_out,
)

OUT: dict[str, Any] = {"locked_by": None, "locked_until": None}
"""What every settled row has."""


class TestSettle(Suite):
    """`settle`: each way for a run to end, as whole rows."""

    async def test_completed(self, backend: QueueBackend, clock: FakeClock) -> None:
        """The result is kept; the job is finished now."""
        claim = await start_one(backend)
        before = await row(backend, claim.id)
        now = clock.advance(3)
        assert await backend.settle([done(claim, result='{"sent": [1, 2.5, null, "é"]}')], WORKER) == []
        assert_row(
            await row(backend, claim.id),
            before,
            status=Status.COMPLETED,
            result={"sent": [1, 2.5, None, "é"]},
            lease_token=claim.token + 1,
            completed_at=now,
            **OUT,
        )
        assert await backend.errors(claim.id) == []

    @pytest.mark.parametrize(
        ("text", "value"), [(None, None), ("null", None), ("0", 0), ('""', ""), ("false", False), ("[]", [])]
    )
    async def test_results_that_look_like_nothing(self, backend: QueueBackend, text: str | None, value: object) -> None:
        """A result that is false, empty or null is what it is."""
        claim = await start_one(backend)
        await backend.settle([done(claim, result=text)], WORKER)
        result = (await row(backend, claim.id)).result
        assert (type(result), result) == (type(value), value)

    async def test_failed(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A failed attempt waits for its retry, out of line, and is in the history."""
        claim = await start_one(backend, NewJob("a", priority=2))
        before = await row(backend, claim.id)
        now = clock.advance(3)
        settlement = failed(claim, 40.5, error="ValueError: no 7", error_group="ValueError: no N", traceback="Traceback:\n  x")
        assert await backend.settle([settlement], "worker-9") == []
        assert_row(
            await row(backend, claim.id),
            before,
            status=Status.FAILED,
            scheduled_for=after(clock, 40.5),
            rank=None,
            lease_token=claim.token + 1,
            last_error="ValueError: no 7",
            error_group="ValueError: no N",
            **OUT,
        )
        assert await backend.errors(claim.id) == [
            JobError(claim.id, 1, "worker-9", before.started_at, now, "ValueError: no 7", "Traceback:\n  x")
        ]

    async def test_failed_with_no_delay_is_in_line_at_once(self, backend: QueueBackend, clock: FakeClock) -> None:
        """It takes the place of one that came due now."""
        claim = await start_one(backend, NewJob("a", priority=2))
        before = await row(backend, claim.id)
        now = clock.advance(3)
        await backend.settle([failed(claim, 0)], WORKER)
        job = await row(backend, claim.id)
        told = {"last_error": "ValueError: no", "error_group": "ValueError: no", "lease_token": claim.token + 1}
        assert_row(job, before, status=Status.FAILED, scheduled_for=now, rank=place(now, 2), **told, **OUT)

    async def test_snoozed(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A snoozed job is pending again at its time, its attempt given back, nothing in its history."""
        claim = await start_one(backend)
        before = await row(backend, claim.id)
        clock.advance(3)
        await backend.settle([Settlement(claim.id, claim.token, Status.PENDING, delay=50.0, spent=False)], WORKER)
        job = await row(backend, claim.id)
        assert_row(
            job,
            before,
            status=Status.PENDING,
            scheduled_for=after(clock, 50),
            rank=None,
            attempts=0,
            lease_token=claim.token + 1,
            **OUT,
        )
        assert await backend.errors(claim.id) == []

    async def test_snoozed_for_nothing_is_in_line_at_once(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A delay of 0 is due now, not at the old place."""
        claim = await start_one(backend)
        now = clock.advance(3)
        await backend.settle([Settlement(claim.id, claim.token, Status.PENDING, delay=0.0, spent=False)], WORKER)
        job = await row(backend, claim.id)
        assert (job.status, job.scheduled_for, job.rank) == (Status.PENDING, now, place(now))

    async def test_released(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A released job goes back to the place in line that it had, and is as if it had not been claimed."""
        [job_id] = await put(backend)
        await crash(backend, clock, job_id)
        line = await row(backend, job_id)
        clock.advance(100)
        [claim] = await backend.claim(demand())
        before = await row(backend, job_id)
        clock.advance(3)
        await backend.settle([Settlement(claim.id, claim.token, Status.PENDING, spent=False, ended=False)], WORKER)
        job = await row(backend, job_id)
        assert job.rank == line.rank == place(line.scheduled_for or clock.now())
        assert_row(job, before, status=Status.PENDING, rank=line.rank, attempts=0, lease_token=claim.token + 1, **OUT)
        assert (job.crashes, job.scheduled_for) == (1, line.scheduled_for)

    async def test_dead(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A dead job says why, and is finished now."""
        claim = await start_one(backend)
        before = await row(backend, claim.id)
        now = clock.advance(3)
        await backend.settle([buried(claim, "discarded", error="hopeless", error_group="hopeless")], WORKER)
        assert_row(
            await row(backend, claim.id),
            before,
            status=Status.DEAD,
            dead_reason="discarded",
            last_error="hopeless",
            error_group="hopeless",
            lease_token=claim.token + 1,
            completed_at=now,
            **OUT,
        )
        assert [(error.attempt, error.error) for error in await backend.errors(claim.id)] == [(1, "hopeless")]

    async def test_cancelled(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A job that was no longer wanted is finished now; a reason that is no failure is not in the history."""
        claim = await start_one(backend)
        before = await row(backend, claim.id)
        now = clock.advance(3)
        await backend.settle([Settlement(claim.id, claim.token, Status.CANCELLED, error="not wanted")], WORKER)
        job = await row(backend, claim.id)
        changes = {"last_error": "not wanted", "lease_token": claim.token + 1, "completed_at": now}
        assert_row(job, before, status=Status.CANCELLED, **changes, **OUT)
        assert await backend.errors(claim.id) == []

    async def test_no_error_leaves_the_last_one(self, backend: QueueBackend) -> None:
        """`error` None says nothing about errors: what the job's last error was, it remains."""
        claim = await start_one(backend)
        await backend.settle([failed(claim, 0)], WORKER)
        [claim] = await backend.claim(demand())
        await backend.settle([done(claim)], WORKER)
        job = await row(backend, claim.id)
        assert (job.status, job.last_error, job.error_group) == (Status.COMPLETED, "ValueError: no", "ValueError: no")

    async def test_the_history_is_kept_in_order(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Every logged failure is there, oldest first; one that is not logged is not."""
        [job_id] = await put(backend, NewJob("a", max_attempts=9))
        expected = []
        for n in range(4):
            [claim] = await backend.claim(demand())
            started, ended = clock.now(), clock.advance(1)
            logged = n != 2
            await backend.settle([failed(claim, 0, error=f"error {n}", logged=logged)], f"worker-{n}")
            if logged:
                expected.append(JobError(job_id, n + 1, f"worker-{n}", started, ended, f"error {n}", None))
        assert await backend.errors(job_id) == expected
        assert (await row(backend, job_id)).last_error == "error 3"

    async def test_the_history_has_the_attempt_that_was_made(self, backend: QueueBackend) -> None:
        """Its number is that of the claim, also when the attempt is given back."""
        claim = await start_one(backend)
        await backend.settle([failed(claim, 0)], WORKER)
        [claim] = await backend.claim(demand())
        await backend.settle([failed(claim, 0, spent=False)], WORKER)
        assert [error.attempt for error in await backend.errors(claim.id)] == [1, 2]
        assert (await row(backend, claim.id)).attempts == 1

    @pytest.mark.parametrize("result", [None, "1"], ids=["no result", "result"])
    @pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.PENDING, Status.DEAD, Status.CANCELLED])
    async def test_a_run_that_ended_clears_the_crashes(
        self, backend: QueueBackend, clock: FakeClock, status: Status, result: str | None
    ) -> None:
        """However it ended, `crashes` is 0; only a release keeps them."""
        [job_id] = await put(backend)
        await crash(backend, clock, job_id)
        [claim] = await backend.claim(demand())
        ended = Settlement(claim.id, claim.token, status, delay=1.0, spent=status is not Status.PENDING)
        await backend.settle([ended._replace(result=result if status is Status.COMPLETED else None)], WORKER)
        assert (await row(backend, job_id)).crashes == 0

    async def test_attempts_are_given_back_when_not_spent(self, backend: QueueBackend) -> None:
        """The next attempt has the same number."""
        claim = await start_one(backend)
        await backend.settle([failed(claim, 0)], WORKER)
        for _ in range(3):
            [claim] = await backend.claim(demand())
            assert claim.attempt == 2
            await backend.settle([Settlement(claim.id, claim.token, Status.PENDING, delay=0.0, spent=False)], WORKER)
            assert (await row(backend, claim.id)).attempts == 1

    async def test_a_batch_of_all_kinds(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Many settlements at once are each as they are alone."""
        jobs = [NewJob("a", priority=1 + n % 10, unique_key=f"k{n}") for n in range(100)]
        claims = await start(backend, *jobs)
        before = {job.id: job for job in await rows(backend)}
        now = clock.advance(3)

        def ending(n: int, claim: Claim) -> Settlement:
            match n % 5:
                case 0:
                    return done(claim, result=f'{{"n": {n}}}')
                case 1:
                    return failed(claim, float(n), error=f"error {n}")
                case 2:
                    return Settlement(claim.id, claim.token, Status.PENDING, spent=False, ended=False)
                case 3:
                    return buried(claim, error=f"last {n}")
                case _:
                    return Settlement(claim.id, claim.token, Status.CANCELLED)

        assert await backend.settle([ending(n, claim) for n, claim in enumerate(claims)], WORKER) == []
        for n, claim in enumerate(claims):
            job = await row(backend, claim.id)
            told = {"lease_token": claim.token + 1, **OUT}
            group = {"error_group": "ValueError: no"}
            match n % 5:
                case 0:
                    told |= {"status": Status.COMPLETED, "result": {"n": n}, "completed_at": now}
                case 1:
                    told |= {"status": Status.FAILED, "last_error": f"error {n}", **group, "scheduled_for": after(clock, n)}
                case 2:
                    due = before[claim.id].scheduled_for or now
                    told |= {"status": Status.PENDING, "attempts": 0, "rank": place(due, claim.priority)}
                case 3:
                    told |= {
                        "status": Status.DEAD,
                        "dead_reason": "exhausted",
                        "last_error": f"last {n}",
                        **group,
                        "completed_at": now,
                    }
                case 4:
                    told |= {"status": Status.CANCELLED, "completed_at": now}
            assert_row(job, before[claim.id], **told)
            assert [error.error for error in await backend.errors(claim.id)] == {1: [f"error {n}"], 3: [f"last {n}"]}.get(
                n % 5, []
            )

    async def test_nothing_is_no_work(self, backend: QueueBackend) -> None:
        """An empty batch is answered with nothing."""
        assert await backend.settle([], WORKER) == []


class TestSettleUnderTheFence(Suite):
    """A settlement applies only to the holder's own lease."""

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_lease_that_ended_settles_nothing(self, backend: QueueBackend, clock: FakeClock, way: str) -> None:
        """Whatever ended the lease, the late settlement is answered as lost and changes no row and no history."""
        claim = await start_one(backend)
        await ways_out(backend, clock, way, claim)
        before, history = await rows(backend), await backend.errors(claim.id)
        for late in (
            done(claim, result="1"),
            failed(claim),
            buried(claim),
            Settlement(claim.id, claim.token, Status.PENDING, spent=False),
        ):
            assert await backend.settle([late], WORKER) == [claim.lease]
        assert await rows(backend) == before
        assert await backend.errors(claim.id) == history

    @pytest.mark.parametrize("off", [-1, 1, 1000])
    async def test_a_wrong_token_settles_nothing(self, backend: QueueBackend, off: int) -> None:
        """A token that was not given out for this run does not fit, be it smaller or greater."""
        claim = await start_one(backend)
        before = await rows(backend)
        wrong = Lease(claim.id, claim.token + off)
        assert await backend.settle([Settlement(*wrong, Status.COMPLETED)], WORKER) == [wrong]
        await assert_untouched(backend, before)

    async def test_an_unknown_job_is_lost(self, backend: QueueBackend) -> None:
        """An id that never existed is answered as lost."""
        claim = await start_one(backend)
        assert await backend.settle([Settlement(claim.id + 1000, claim.token, Status.COMPLETED)], WORKER) == [
            Lease(claim.id + 1000, claim.token)
        ]

    async def test_the_lost_do_not_hold_up_the_others(self, backend: QueueBackend) -> None:
        """Of a batch, what still holds is settled, and exactly what does not is returned."""
        claims = await start(backend, *[NewJob("a") for _ in range(10)])
        for claim in claims[::2]:
            await backend.settle([failed(claim)], WORKER)
        before = await rows(backend)
        lost = await backend.settle([done(claim) for claim in claims], WORKER)
        assert sorted(lost) == sorted(claim.lease for claim in claims[::2])
        assert [job.status for job in await rows(backend)] == [Status.FAILED, Status.COMPLETED] * 5
        await assert_untouched(backend, before[::2])

    async def test_the_same_settlement_at_the_same_time_applies_once(self, backend: QueueBackend, other: QueueBackend) -> None:
        """Of two settlements of one lease that race, one applies and the other is lost."""
        claims = await start(backend, *[NewJob("a") for _ in range(30)])
        lost = await together(
            backend.settle([done(claim, result='"x"') for claim in claims], WORKER),
            other.settle([failed(claim, 5.0) for claim in reversed(claims)], "worker-2"),
        )
        assert sorted([*lost[0], *lost[1]]) == sorted(claim.lease for claim in claims)
        for claim in claims:
            job = await row(backend, claim.id)
            assert job.lease_token == claim.token + 1
            won = Status.FAILED if claim.lease in lost[0] else Status.COMPLETED
            assert (job.status, len(await backend.errors(claim.id))) == (won, won is Status.FAILED)

    async def test_an_overdue_lease_still_settles(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A lease that has run out but was not reclaimed holds: the work is not done twice for nothing."""
        claim = await start_one(backend)
        clock.advance(LEASE * 5)
        assert await backend.settle([done(claim)], WORKER) == []
        assert (await row(backend, claim.id)).status is Status.COMPLETED

    async def test_the_token_never_goes_back(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Over a long life the token only grows, at every claim and at every way out."""
        [job_id] = await put(backend)
        tokens = [(await row(backend, job_id)).lease_token]
        for way in ("retried", "released", "reclaimed", "requeued", "retried", "settled"):
            [claim] = await backend.claim(demand())
            tokens.append((await row(backend, job_id)).lease_token)
            assert tokens[-1] == claim.token
            await ways_out(backend, clock, way, claim)
            tokens.append((await row(backend, job_id)).lease_token)
        assert all(a < b for a, b in pairwise(tokens))
