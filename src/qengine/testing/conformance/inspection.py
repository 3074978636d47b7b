"""Looking closely: what runs, what has ended, what fails, what waits, and what is wrong."""

from __future__ import annotations

import datetime as dt
from typing import Any

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import QueueBackend
from qengine.job import NewJob
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import (
    WORKER,
    Suite,
    after,
    buried,
    crash,
    demand,
    done,
    failed,
    put,
    row,
    rows,
    start,
    start_one,
)
from qengine.testing.conformance.workers import worker
from qengine.testing.factory import BackendFactory

DAY = 86_400.0


class TestRunning(Suite):
    """`running`."""

    async def test_those_that_run(self, backend: QueueBackend, other: QueueBackend) -> None:
        """Whole rows, with their progress; those whose lease ends first in front; up to the limit."""
        assert await backend.running(10) == []
        late, soon, ended = await start(backend, *[NewJob("a") for _ in range(3)])
        await put(backend, NewJob("a"), NewJob("a", delay=9.0))
        await backend.extend([late.lease], 500.0)
        await backend.save(soon.lease, progress='{"done": 3}')
        await backend.settle([done(ended)], WORKER)
        assert await other.running(10) == [await row(backend, soon.id), await row(backend, late.id)]
        assert [job.id for job in await other.running(1)] == [soon.id]


class TestEndedSince(Suite):
    """`ended_since`."""

    async def test_what_has_ended(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Completed, dead and cancelled, at that moment or later, earliest first, ties by id; nothing else."""
        claims = await start(backend, *[NewJob("a") for _ in range(8)])
        ends: list[tuple[dt.datetime, int]] = []
        for n in (5, 0, 3, 1):
            await backend.settle([done(claims[n]) if n % 2 else buried(claims[n])], WORKER)
            ends.append((clock.now(), claims[n].id))
            clock.advance(10)
        await backend.settle([failed(claims[7]), done(claims[4]), buried(claims[2])], WORKER)
        await backend.cancel(JobFilter(ids=[claims[6].id]), 1)
        ends += [(clock.now(), claims[n].id) for n in (2, 4, 6)]
        expected = [job_id for _, job_id in sorted(ends)]
        jobs = await backend.ended_since(ends[0][0], 100)
        assert jobs == [await row(backend, job_id) for job_id in expected]
        assert [job.id for job in await backend.ended_since(ends[0][0], 6)] == expected[:6]
        assert [job.id for job in await backend.ended_since(ends[1][0], 100)] == expected[1:]
        assert [job.id for job in await backend.ended_since(ends[1][0] + dt.timedelta(microseconds=1), 1)] == expected[2:3]
        assert await backend.ended_since(after(clock, 1), 100) == []


class TestDeadByDay(Suite):
    """`dead_by_day`."""

    async def test_days(self, backend: QueueBackend, clock: FakeClock) -> None:
        """By the date in UTC, in order; days without any are not there; of a type, of a group, since a moment."""
        clock.set(dt.datetime(2026, 3, 1, 23, 59, 59, tzinfo=dt.UTC))
        first = clock.now()
        await self.die(backend, 3, error_group="g1")
        clock.advance(1)
        await self.die(backend, 2, error_group="g2")
        clock.advance(2 * DAY)
        await self.die(backend, 1, type="b", error_group="g1")
        days = [dt.date(2026, 3, 1), dt.date(2026, 3, 2), dt.date(2026, 3, 4)]
        assert await backend.dead_by_day(first) == [(days[0], 3), (days[1], 2), (days[2], 1)]
        assert await backend.dead_by_day(first, type="a") == [(days[0], 3), (days[1], 2)]
        assert await backend.dead_by_day(first, error_group="g1") == [(days[0], 3), (days[2], 1)]
        assert await backend.dead_by_day(first, type="b", error_group="g2") == []
        assert await backend.dead_by_day(first + dt.timedelta(seconds=1)) == [(days[1], 2), (days[2], 1)]
        assert await backend.dead_by_day(after(clock, 1)) == []

    async def test_only_the_dead(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Not what has ended otherwise, nor what has been requeued since."""
        claims = await start(backend, *[NewJob("a") for _ in range(4)])
        await backend.settle([done(claims[0]), buried(claims[1]), failed(claims[2]), buried(claims[3])], WORKER)
        await backend.requeue(JobFilter(ids=[claims[3].id]), 1)
        assert await backend.dead_by_day(clock.now()) == [(clock.now().date(), 1)]

    async def die(self, backend: QueueBackend, times: int, type: str = "a", **how: Any) -> None:
        """So many jobs die."""
        claims = await start(backend, *[NewJob(type) for _ in range(times)])
        await backend.settle([buried(claim, **how) for claim in claims], WORKER)


class TestErrorsSince(Suite):
    """`errors_since` and `last_error_row`."""

    async def test_new_rows(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """The rows of all histories, whole and in order, from where one left off; up to the limit."""
        assert await backend.last_error_row() == 0
        assert await backend.errors_since(0, 10) == []
        one, two = await start(backend, NewJob("a"), NewJob("b"))
        await backend.settle([failed(one, 0.0, error="first", traceback="line 1")], WORKER)
        before = await backend.last_error_row()
        assert before > 0
        await backend.settle([buried(two, error="second")], WORKER)
        await crash(backend, clock, one.id)
        news = await other.errors_since(before, 10)
        [second] = await backend.errors(two.id)
        first, crashed = await backend.errors(one.id)
        assert [(kind, error) for _, kind, error in news] == [("b", second), ("a", crashed)]
        assert [row_id for row_id, _, _ in news] == sorted(row_id for row_id, _, _ in news)
        assert news[-1][0] == await other.last_error_row()
        assert [error for _, _, error in await other.errors_since(0, 10)] == [first, second, crashed]
        assert await other.errors_since(0, 1) == [(before, "a", first)]
        assert await other.errors_since(news[-1][0], 10) == []


class TestOldestDue(Suite):
    """`oldest_due`."""

    async def test_the_heads_of_the_lines(self, backend: QueueBackend, clock: FakeClock) -> None:
        """For each type in line: when the first in line came due, of all queues the earliest; nothing of those not in line."""
        assert await backend.oldest_due() == {}
        times = []
        for queue in ("q1", "default", "q2"):
            times.append(clock.advance(10))
            await put(backend, NewJob("a", queue=queue), NewJob("b", priority=10, queue=queue), NewJob("later", delay=99.0))
        await put(backend, *[NewJob("c") for _ in range(3)])
        await start(backend, NewJob("running"))
        assert await backend.oldest_due() == {"a": times[0], "b": times[0], "c": clock.now()}
        await backend.claim(demand("a", queues=["q1"]))
        assert await backend.oldest_due() == {"a": times[1], "b": times[0], "c": clock.now()}

    async def test_the_head_is_the_one_that_goes_next(self, backend: QueueBackend, clock: FakeClock) -> None:
        """In line by rank: a job of a better priority that came due later can be the head."""
        await put(backend, NewJob("a", priority=9))
        await put(backend, NewJob("a", priority=1, at=clock.advance(10)))
        assert await backend.oldest_due() == {"a": clock.now()}

    async def test_suspects_wait_too(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A type in the line of suspects alone is there, and the earlier of both lines counts."""
        due = clock.now()
        [suspect] = await put(backend)
        await crash(backend, clock, suspect, times=2)
        assert await backend.oldest_due() == {"a": due}
        await put(backend)
        assert await backend.oldest_due() == {"a": due}


class TestDiagnose(Suite):
    """`diagnose`."""

    async def levels(self, backend: QueueBackend) -> dict[str, str]:
        """The level of each check; each is there once and says what to do unless it is well."""
        findings = await backend.diagnose()
        for finding in findings:
            assert finding.level in ("ok", "warning", "problem")
            assert finding.text
            assert bool(finding.remedy) == (finding.level != "ok"), finding
        levels = {finding.check: str(finding.level) for finding in findings}
        assert len(levels) == len(findings)
        return levels

    async def test_a_queue_that_is_well(self, backend: QueueBackend) -> None:
        """The schema is looked at, overdue leases, due jobs, types that nobody serves: nothing is wrong with them."""
        await backend.heartbeat(worker())
        await put(backend)
        levels = await self.levels(backend)
        assert {check: levels.get(check) for check in ("schema", "leases", "due", "unhandled")} == dict.fromkeys(
            ("schema", "leases", "due", "unhandled"), "ok"
        )

    async def test_nobody_does_the_upkeep(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Leases that ended, and due jobs that are not in line, a while ago; types that wait and that nobody serves."""
        await start_one(backend)
        await put(backend, NewJob("b", delay=10.0), NewJob("c"))
        clock.advance(3_600)
        levels = await self.levels(backend)
        assert (levels["schema"], levels["leases"], levels["due"]) == ("ok", "problem", "problem")
        assert levels["unhandled"] == "warning"

    async def test_it_changes_nothing(self, backend: QueueBackend, clock: FakeClock) -> None:
        """It only looks."""
        await start_one(backend)
        await put(backend, NewJob("b", delay=10.0))
        clock.advance(3_600)
        before = await rows(backend)
        await backend.diagnose()
        assert await rows(backend) == before

    async def test_before_the_first_migration(self, backend_factory: BackendFactory) -> None:
        """An old schema, or none, is a finding and no error."""
        backend = await backend_factory(migrate=False)
        [finding] = await backend.diagnose()
        assert (finding.check, finding.level) == ("schema", "problem")
        assert "migrate" in finding.remedy
