"""Records: what workers did in each slot of time, and what people did by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from qengine.backends.inspection import WAIT_BOUNDS, Activity, AuditEntry
from qengine.backends.protocol import QueueBackend
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import HOSTILE, Suite, after, together

BINS = len(WAIT_BOUNDS) + 1
HOUR = 3_600.0
DAY = 24 * HOUR


def slot(clock: FakeClock, back: int = 0, step: int = 60, **fields: Any) -> Activity:
    """What worker `w` did with type `a` in the slot that was so many slots ago."""
    start = (int(clock.now().timestamp()) // step - back) * step
    told: dict[str, Any] = {"step": step, "start": start, "worker": "w", "type": "a", "waits": [0] * BINS, "runs": [0] * BINS}
    return Activity(**(told | fields))


def summed(slots: Iterable[Activity]) -> list[Activity]:
    """With lists for histograms, whatever sequences the backend gives."""
    return [replace(one, waits=list(one.waits), runs=list(one.runs)) for one in slots]


class TestActivity(Suite):
    """`record_activity` and `activity`."""

    async def test_what_was_recorded(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """By start and type, of one step, since a moment; a row that is recorded again is replaced."""
        long_ago = clock.now() - dt.timedelta(days=1)
        assert await backend.activity(60, long_ago) == []
        await backend.record_activity([])
        first = slot(clock, 2, completed=1, waits=range(BINS), runs=[9] * BINS)
        await backend.record_activity([first, slot(clock, 1, type="b", failed=2), slot(clock, 0, 900, other=7)])
        second = slot(clock, 1, completed=5, failed=4, dead=3, other=2)
        await backend.record_activity([second, replace(first, completed=2)])
        expected = [replace(first, completed=2, waits=list(range(BINS))), second, slot(clock, 1, type="b", failed=2)]
        expected = [replace(one, worker="") for one in expected]
        assert summed(await other.activity(60, long_ago)) == expected
        assert summed(await other.activity(60, dt.datetime.fromtimestamp(second.start, dt.UTC))) == expected[1:]
        assert await other.activity(60, dt.datetime.fromtimestamp(second.start + 1, dt.UTC)) == []
        assert summed(await other.activity(900, long_ago)) == [slot(clock, 0, 900, other=7, worker="")]

    async def test_workers_are_added_up(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Number by number; a histogram that an older release recorded shorter counts as far as it goes."""
        ones, twos = [1] * BINS, [2] * BINS
        counts = {"completed": 1, "failed": 2, "dead": 3, "other": 4}
        await backend.record_activity([slot(clock, worker="w-1", waits=ones, runs=twos, **counts)])
        await backend.record_activity([slot(clock, worker="w-2", waits=twos, runs=[5], **counts)])
        await backend.record_activity([slot(clock, worker="w-3", waits=[], runs=[])])
        [total] = summed(await backend.activity(60, clock.now() - dt.timedelta(hours=1)))
        doubled = {name: 2 * count for name, count in counts.items()}
        assert total == slot(clock, worker="", waits=[3] * BINS, runs=[7] + [2] * (BINS - 1), **doubled)

    async def test_two_at_once(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """Workers that record together do not disturb each other."""
        slots = [slot(clock, back, type=f"t{n}", completed=1) for back in range(3) for n in range(20)]
        mine, theirs = ([replace(one, worker=name) for one in slots] for name in ("w-1", "w-2"))
        await together(backend.record_activity(mine), other.record_activity(theirs[::-1]))
        found = await backend.activity(60, clock.now() - dt.timedelta(hours=1))
        assert [(one.start, one.type, one.completed) for one in found] == sorted((one.start, one.type, 2) for one in slots)

    async def test_hostile_types(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Any type, of any worker."""
        await backend.record_activity([slot(clock, type=text, worker=text, completed=1) for text in HOSTILE])
        assert {one.type for one in await backend.activity(60, clock.now() - dt.timedelta(hours=1))} == set(HOSTILE)

    async def test_how_long_it_is_kept(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Minutes for three hours at the least, quarters for eight days; what is much older goes in the course of recording."""
        began = clock.now()
        await backend.record_activity([slot(clock, completed=1), slot(clock, 0, 900, completed=1)])
        for _ in range(8):
            clock.advance(0.45 * HOUR)
            await backend.record_activity([slot(clock, 0, 900)])
            if (clock.now() - began).total_seconds() < 3 * HOUR:
                assert (await backend.activity(60, began - dt.timedelta(hours=1)))[0].completed == 1
        clock.set(began + dt.timedelta(days=8))
        await backend.record_activity([slot(clock), slot(clock, 0, 900)])
        assert (await backend.activity(60, began - dt.timedelta(hours=1)))[0].completed == 0
        assert (await backend.activity(900, began - dt.timedelta(hours=1)))[0].completed == 1
        clock.advance(20 * DAY)
        await backend.record_activity([slot(clock, 0, 900)])
        [young] = await backend.activity(900, clock.now() - dt.timedelta(days=99))
        assert young.start == slot(clock, 0, 900).start


class TestAudit(Suite):
    """`audit`, `audit_done` and `audit_trail`."""

    async def test_what_was_done(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """Whole entries, the newest first, on every backend: their moment when they began, and then how many."""
        assert await backend.audit_trail(10) == []
        began = clock.now()
        requeue = AuditEntry("anna@host", "requeue", {"type": "a", "ids": [1, 2], "nested": {"x": None, "y": [1.5, "é"]}})
        first = await backend.audit(requeue)
        later = clock.advance(5)
        amend = AuditEntry("bert", "amend", {"before": {"payload": {"n": 1}}}, job_id=7, id=99, at=began)
        second = await backend.audit(amend)
        await backend.audit_done(first, 1_234_567)
        stored = [replace(amend, id=second, at=later), replace(requeue, id=first, at=began, jobs=1_234_567)]
        assert second > first
        assert await other.audit_trail(10) == stored
        await other.audit_done(second, 0)
        assert (await backend.audit_trail(1))[0] == replace(stored[0], jobs=0)

    async def test_pages_and_jobs(self, backend: QueueBackend) -> None:
        """Up to the limit, below an id, and those on one job alone."""
        ids = [await backend.audit(AuditEntry("me", "cancel", job_id=(None, 1, 2)[n % 3])) for n in range(9)]

        async def page(*how: Any) -> list[int]:
            return [entry.id for entry in await backend.audit_trail(*how)]

        assert await page(4) == ids[:4:-1]
        assert await page(4, None, ids[5]) == ids[4:0:-1]
        assert await page(4, 1) == [ids[7], ids[4], ids[1]]
        assert await page(1, 1, ids[7]) == [ids[4]]
        assert await page(4, 3) == []
        assert await page(4, None, ids[0]) == []

    async def test_hostile_texts(self, backend: QueueBackend) -> None:
        """Any actor, action and detail, as it is."""
        for text in HOSTILE:
            await backend.audit(AuditEntry(text, text, {text: [text]}))
        found = await backend.audit_trail(100)
        assert [(entry.actor, entry.action, entry.detail) for entry in found] == [(t, t, {t: [t]}) for t in HOSTILE[::-1]]

    async def test_how_long_it_is_kept(self, backend: QueueBackend, clock: FakeClock) -> None:
        """90 days at the least; what is much older goes in the course of auditing."""
        old = await backend.audit(AuditEntry("me", "pause"))
        clock.advance(89.9 * DAY)
        young = [await backend.audit(AuditEntry("me", "resume")) for _ in range(3)]
        assert [entry.id for entry in await backend.audit_trail(10)] == [*young[::-1], old]
        clock.set(after(clock, 60 * DAY))
        newest = await backend.audit(AuditEntry("me", "pause"))
        assert [entry.id for entry in await backend.audit_trail(10)] == [newest, *young[::-1]]
