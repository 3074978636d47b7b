"""Schedules: declared by everyone, fired exactly once."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import msgspec

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import Fire, QueueBackend, Schedule
from qengine.job import Job, NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import HOSTILE, Suite, after, demand, place, put, row, rows, together

MINUTE = dt.timedelta(minutes=1)


def schedule(clock: FakeClock, name: str = "s", **fields: object) -> Schedule:
    """A schedule that is due now."""
    return replace(Schedule(name, "a", "* * * * *", "UTC", "one", clock.now()), **fields)  # type: ignore[arg-type]


def fire_of(one: Schedule, times: int = 1, **job: object) -> Fire:
    """The fire of so many minutes' jobs."""
    moments = [one.next_fire + n * MINUTE for n in range(times)]
    jobs = [msgspec.structs.replace(NewJob(one.type, f'{{"n": {n}}}'), **job) for n in range(times)]
    return Fire(one.name, one.next_fire, one.next_fire + max(times, 1) * MINUTE, moments, jobs)


class TestPutSchedules(Suite):
    """`put_schedules` and `schedules`."""

    async def test_what_is_declared_is_there(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """Whole, by name, on every backend."""
        assert await backend.schedules() == []
        two = [schedule(clock, "z", type="b", tz="Europe/Berlin", catch_up="all"), schedule(clock, "b", catch_up="skip")]
        await backend.put_schedules(two)
        await backend.put_schedules([schedule(clock, "m", cron="*/5 8-18 * * 1-6", next_fire=after(clock, 0.25))])
        expected = [two[1], schedule(clock, "m", cron="*/5 8-18 * * 1-6", next_fire=after(clock, 0.25)), two[0]]
        assert await other.schedules() == expected
        await backend.put_schedules([])
        assert await backend.schedules() == expected

    async def test_declaring_it_again_keeps_its_place(self, backend: QueueBackend, clock: FakeClock) -> None:
        """With the same cron and tz, what stands keeps its times and takes the new type and catch-up."""
        first = schedule(clock)
        await backend.put_schedules([first])
        await backend.fire(fire_of(first))
        again = schedule(clock, type="b", catch_up="all", next_fire=after(clock, 5000))
        await backend.put_schedules([again])
        assert await backend.schedules() == [replace(again, next_fire=after(clock, 60), last_fire=clock.now())]

    async def test_another_expression_or_zone_starts_anew(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A changed cron or tz takes the new next fire."""
        await backend.put_schedules([schedule(clock, "c"), schedule(clock, "t")])
        later = after(clock, 5000)
        await backend.put_schedules(
            [schedule(clock, "c", cron="0 * * * *", next_fire=later), schedule(clock, "t", tz="Asia/Tokyo", next_fire=later)]
        )
        found = await backend.schedules()
        assert [(one.name, one.cron, one.tz, one.next_fire) for one in found] == [
            ("c", "0 * * * *", "UTC", later),
            ("t", "* * * * *", "Asia/Tokyo", later),
        ]

    async def test_two_at_once(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """Processes that start together and declare the same do not disturb each other."""
        many = [schedule(clock, f"s{n}") for n in range(20)]
        await together(backend.put_schedules(many), other.put_schedules(many[::-1]))
        assert await backend.schedules() == sorted(many, key=lambda one: one.name)

    async def test_hostile_texts(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Names, types, expressions and zones are stored as they are."""
        many = [schedule(clock, f"{n} {text}", type=text, cron=text, tz=text) for n, text in enumerate(HOSTILE)]
        await backend.put_schedules(many)
        found = {one.name: one for one in await backend.schedules()}
        assert found == {one.name: one for one in many}


class TestFire(Suite):
    """`fire`."""

    async def test_it_enqueues_and_moves_on(self, backend: QueueBackend, clock: FakeClock) -> None:
        """The jobs are stored as an enqueue would, and the schedule stands at its next fire."""
        one = schedule(clock)
        await backend.put_schedules([one])
        now = clock.advance(125)
        ids = await backend.fire(fire_of(one, 2, priority=2, queue="q", unique_key=None, expires=60.0))
        assert ids is not None
        assert ids == sorted(set(ids))
        for n, job_id in enumerate(ids):
            job = await row(backend, job_id)
            assert job == Job(
                id=job_id,
                type="a",
                queue="q",
                priority=2,
                payload={"n": n},
                status=Status.PENDING,
                scheduled_for=now,
                rank=place(now, 2),
                lease_token=job.lease_token,
                expires_at=after(clock, 60),
                created_at=now,
                updated_at=job.updated_at,
            )
        assert await backend.schedules() == [replace(one, next_fire=one.next_fire + 2 * MINUTE, last_fire=one.next_fire + MINUTE)]
        assert [claim.id for claim in await backend.claim(demand())] == ids

    async def test_skipped_fires_only_move_on(self, backend: QueueBackend, clock: FakeClock) -> None:
        """With no times nothing is enqueued, the next fire moves, the last fire stays."""
        one = schedule(clock)
        await backend.put_schedules([one])
        assert await backend.fire(Fire("s", one.next_fire, after(clock, 600))) == []
        assert await rows(backend) == []
        assert await backend.schedules() == [replace(one, next_fire=after(clock, 600))]

    async def test_who_comes_late_fires_nothing(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """When the schedule has moved since it was read the answer is None, and nothing is enqueued or moved."""
        one = schedule(clock)
        await backend.put_schedules([one])
        fire = fire_of(one)
        assert len(await backend.fire(fire) or []) == 1
        stands = await backend.schedules()
        assert await other.fire(fire) is None
        assert await backend.fire(fire) is None
        assert len(await rows(backend)) == 1
        assert await backend.schedules() == stands

    async def test_an_unknown_schedule_fires_nothing(self, backend: QueueBackend, clock: FakeClock) -> None:
        """What was never declared is someone else's."""
        assert await backend.fire(fire_of(schedule(clock, "never declared"))) is None
        assert await rows(backend) == []

    async def test_competitors_fire_each_time_once(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """Of many that fire at once one does, over many rounds."""
        await backend.put_schedules([schedule(clock)])
        for n in range(10):
            [one] = await backend.schedules()
            answers = await together(*[(backend, other)[k % 2].fire(fire_of(one, 2)) for k in range(6)])
            assert sorted(len(answer) for answer in answers if answer is not None) == [2]
            assert len(await rows(backend)) == 2 * (n + 1)

    async def test_a_fire_time_is_never_enqueued_twice(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Not even when the schedule was set back over times that it has fired: only the new ones are enqueued."""
        one = schedule(clock)
        await backend.put_schedules([one])
        await backend.fire(fire_of(one, 2))
        back = replace(one, cron="*/1 * * * *")
        await backend.put_schedules([back])
        assert [stands.next_fire for stands in await backend.schedules()] == [one.next_fire]
        ids = await backend.fire(fire_of(back, 3))
        assert ids is not None
        assert [(await row(backend, job_id)).payload for job_id in ids] == [{"n": 2}]
        assert len(await rows(backend)) == 3
        assert [stands.next_fire for stands in await backend.schedules()] == [one.next_fire + 3 * MINUTE]

    async def test_nor_once_its_job_was_deleted(self, backend: QueueBackend, clock: FakeClock) -> None:
        """What has fired is remembered although its job is gone."""
        one = schedule(clock)
        await backend.put_schedules([one])
        ids = await backend.fire(fire_of(one))
        await backend.delete(JobFilter(ids=ids), 10)
        await backend.put_schedules([replace(one, cron="*/1 * * * *")])
        assert await backend.fire(fire_of(one)) == []
        assert await rows(backend) == []

    async def test_a_unique_key_holds(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A fire whose job's key a live job has stores nothing for it, and moves on."""
        one = schedule(clock)
        await backend.put_schedules([one])
        await put(backend, NewJob("a", unique_key="k"))
        ids = await backend.fire(fire_of(one, unique_key="k"))
        assert ids is not None
        assert len(await rows(backend)) == 1
        assert [stands.next_fire for stands in await backend.schedules()] == [one.next_fire + MINUTE]

    async def test_schedules_do_not_share_fire_times(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Two schedules that fire at the same moment both do."""
        both = [schedule(clock, "s"), schedule(clock, "t")]
        await backend.put_schedules(both)
        for one in both:
            assert len(await backend.fire(fire_of(one)) or []) == 1
        assert len(await rows(backend)) == 2


class TestPauseSchedule(Suite):
    """`pause_schedule`, and what a pause does to fires."""

    async def test_it_is_told(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """With the schedule, which stands as it did otherwise; False where there is none of the name."""
        one, two = schedule(clock), schedule(clock, "t")
        await backend.put_schedules([one, two])
        assert await backend.pause_schedule("s", True) is True
        assert await other.schedules() == [replace(one, paused=True), two]
        assert await other.pause_schedule("s", True) is True
        assert await other.pause_schedule("s", False) is True
        assert await backend.pause_schedule("nothing", True) is False
        assert await backend.pause_schedule("nothing", False) is False

    async def test_declaring_it_again_does_not_end_it(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Whatever is declared: a new one is not paused, a paused one stays so."""
        one = schedule(clock, paused=True)
        await backend.put_schedules([one])
        assert await backend.schedules() == [replace(one, paused=False)]
        await backend.pause_schedule("s", True)
        await backend.put_schedules([replace(one, paused=False)])
        assert await backend.schedules() == [one]

    async def test_it_does_not_fire(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A fire enqueues nothing and moves it on; its last fire stays."""
        one = schedule(clock)
        await backend.put_schedules([one])
        assert len(await backend.fire(fire_of(one)) or []) == 1
        await backend.pause_schedule("s", True)
        [paused] = await backend.schedules()
        clock.advance(120)
        assert await backend.fire(fire_of(paused, 2)) == []
        assert await backend.schedules() == [replace(paused, next_fire=paused.next_fire + 2 * MINUTE)]
        assert len(await rows(backend)) == 1
        assert await backend.fire(fire_of(paused)) is None

    async def test_nothing_is_caught_up(self, backend: QueueBackend, clock: FakeClock) -> None:
        """When nobody has moved it on meanwhile, it goes on with the first fire time after it is resumed."""
        one = schedule(clock, cron="0 6 * * *", tz="Europe/Berlin", catch_up="all")
        await backend.put_schedules([one])
        await backend.pause_schedule("s", True)
        clock.set(dt.datetime(2041, 7, 1, 12, 30, tzinfo=dt.UTC))
        await backend.pause_schedule("s", False)
        assert await backend.schedules() == [replace(one, next_fire=dt.datetime(2041, 7, 2, 4, 0, tzinfo=dt.UTC))]

    async def test_what_was_not_paused_is_caught_up(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Resuming one that fires anyway, or one whose next fire is still to come, changes nothing."""
        due, later = schedule(clock), schedule(clock, "later", next_fire=after(clock, 7_200))
        await backend.put_schedules([due, later])
        await backend.pause_schedule("later", True)
        clock.advance(3_600)
        await backend.pause_schedule("s", False)
        await backend.pause_schedule("later", False)
        assert await backend.schedules() == [later, due]
