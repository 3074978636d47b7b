"""Acting on many jobs: in batches that come to an end, that can be watched and interrupted, and that are on record."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from beside import Beside

from qengine import BackendUnavailable, ConfigurationError, Engine, Status
from qengine.backends.inspection import JobFilter
from qengine.engine import audit, bulk
from qengine.job import NewJob
from qengine.testing import FakeClock
from qengine.testing.faults import fail, injected

pytestmark = pytest.mark.anyio

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "BATCH", 4)


async def dead(engine: Engine, number: int, type: str = "a") -> list[int]:
    """So many dead jobs."""
    failing = Engine(engine._url, clock=engine._settings.clock, max_attempts=1)

    @failing.task(type)
    async def always(n: int) -> None:
        raise ValueError(f"no {n}")

    async with failing:
        jobs = await always.enqueue_many([{"n": n} for n in range(number)])
        await failing.drain(types=[type])
    return [job.id for job in jobs]


async def last(engine: Engine) -> Any:
    [entry] = await engine.audit_trail(1)
    return entry


async def test_a_group_is_requeued_at_a_rate(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([100.0, 100.25, 100.75, 160.0])
    monkeypatch.setattr(bulk, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    clock = FakeClock()
    async with Engine(url, clock=clock) as engine:
        ids, seen = await dead(engine, 10), []
        began = clock.now()
        assert await engine.requeue(type="a", rate=2, progress=seen.append, by="anna") == 10
        assert seen == [4, 8, 10]
        due = [(job.scheduled_for - began).total_seconds() for job in await engine.jobs(status="pending") if job.scheduled_for]
        # A batch begins earlier by what those before it took, and never in the past.
        assert due == [0.0, 0.5, 1.0, 1.5, 1.25, 1.75, 2.25, 2.75, 0.0, 0.5]
        entry = await last(engine)
        assert (entry.actor, entry.action, entry.jobs, entry.job_id) == ("anna", "requeue", 10, None)
        assert entry.detail == {"type": "a", "status": ["dead"], "rate": 2}
        assert ids == [job.id for job in await engine.jobs(status="pending")]
        for wrong in (0, -1, float("inf"), float("nan"), True, "2"):
            with pytest.raises(ConfigurationError, match="rate="):
                await engine.requeue(type="a", rate=wrong)  # type: ignore[arg-type]


async def test_a_requeue_comes_to_an_end_though_its_jobs_die_again(url: str) -> None:
    class DyingAtOnce(Beside):
        async def requeue(self, which: JobFilter, limit: int, **how: Any) -> list[int]:
            ids: list[int] = await self.real.requeue(which, limit, **how)
            await engine.drain()
            return ids

    engine = Engine(url, max_attempts=1)

    @engine.task()
    async def a(n: int) -> None:
        raise ValueError(f"no {n}")

    with engine.wrapped(DyingAtOnce):  # type: ignore[arg-type]
        async with engine, asyncio.timeout(PATIENCE):
            await a.enqueue_many([{"n": n} for n in range(10)])
            await engine.drain()
            assert await engine.requeue(type="a") == 10
            assert (await engine.stats()).by_status["dead"] == 10
            assert [len(await engine.errors(job.id)) for job in await engine.jobs()] == [2] * 10


@pytest.mark.parametrize("verb", ["cancel", "delete"])
async def test_acting_comes_to_an_end_beside_busy_producers(url: str, verb: str) -> None:
    class Producing(Beside):
        async def cancel(self, which: JobFilter, limit: int) -> list[int]:
            ids: list[int] = await self.real.cancel(which, limit)
            await self.real.enqueue([NewJob("a")] * 4)
            return ids

        async def delete(self, which: JobFilter, limit: int) -> list[int]:
            ids: list[int] = await self.real.delete(which, limit)
            await self.real.enqueue([NewJob("a")] * 4)
            return ids

    engine = Engine(url)
    with engine.wrapped(Producing):  # type: ignore[arg-type]
        async with engine, asyncio.timeout(PATIENCE):
            await engine.backend.enqueue([NewJob("a")] * 8)
            assert await getattr(engine, verb)(type="a") == 8
            assert (await engine.stats()).by_type["a"]["pending"] == 12


async def test_an_interruption_leaves_what_was_done(url: str) -> None:
    class Enough(Exception):
        pass

    def stop(so_far: int) -> None:
        if so_far >= 8:
            raise Enough

    async with Engine(url) as engine:
        await engine.backend.enqueue([NewJob("a")] * 11)
        with pytest.raises(Enough):
            await engine.cancel(type="a", progress=stop)
        counts = (await engine.stats()).by_status
        assert (counts["cancelled"], counts["pending"]) == (8, 3)
        assert (await last(engine)).jobs == 8

        cancelling = asyncio.create_task(engine.delete(status="cancelled", progress=lambda _: cancelling.cancel() and None))
        with pytest.raises(asyncio.CancelledError):
            await cancelling
        assert (await engine.stats()).by_status["cancelled"] == 4
        entry = await last(engine)
        assert (entry.action, entry.jobs) == ("delete", 4)


async def test_which_jobs(url: str) -> None:
    """Text and times select in every act as they do in a search; ids take their own batches."""
    clock = FakeClock()
    async with Engine(url, clock=clock) as engine:
        ids = []
        for n in range(6):
            ids.append((await engine.enqueue("a", {"to": f"user{n}@example.com", "odd": bool(n % 2)})).id)
            clock.advance(10)
        noon = clock.now() - dt.timedelta(seconds=35)
        assert await engine.cancel(text="USER3@") == 1
        assert await engine.cancel(text="example", created_before=noon) == 3
        assert await engine.cancel(created_after=noon, text="false") == 1
        assert [job.status for job in await engine.jobs()] == ["cancelled"] * 5 + ["pending"]
        assert await engine.requeue(status="cancelled", created_after=noon, text="user4") == 1
        assert await engine.delete(text="user5", created_before=noon) == 0
        assert await engine.delete(text="user5") == 1
        assert await engine.cancel(ids) == 1
        seen: list[int] = []
        assert await engine.requeue(ids[::-1], progress=seen.append) == 5
        assert seen == [3, 5]
        assert (await last(engine)).detail == {"ids": ids[::-1]}
        for text in ("nul\0", "half \ud800", 7):
            with pytest.raises(ConfigurationError, match="text="):
                await engine.search(text=text)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="every job"):
            await engine.delete(text="")


async def test_many_ids_are_told_in_part(url: str) -> None:
    async with Engine(url) as engine:
        ids = [answer.id for answer in await engine.backend.enqueue([NewJob("a")] * 120)]
        assert await engine.cancel(ids) == 120
        assert (await last(engine)).detail == {"ids": ids[:100], "more_ids": 20}


async def test_ended_jobs_are_pruned(url: str) -> None:
    clock = FakeClock()
    async with Engine(url, clock=clock) as engine:
        await dead(engine, 5)
        await engine.backend.enqueue([NewJob("b")] * 6)
        await engine.cancel(type="b")
        clock.advance(100)
        [young] = await engine.backend.enqueue([NewJob("b")])
        await engine.cancel(young.id)
        seen: list[int] = []
        assert await engine.prune(50, progress=seen.append, by="bert") == 6
        assert seen == [4, 6]
        entry = await last(engine)
        assert (entry.actor, entry.action, entry.jobs) == ("bert", "prune", 6)
        assert entry.detail == {"older_than": 50, "status": ["completed", "cancelled"]}
        assert await engine.prune(50, "dead") == 5
        assert await engine.prune(0, [Status.CANCELLED]) == 0
        clock.advance(1)
        assert await engine.prune(0, [Status.CANCELLED]) == 1
        for status in ("pending", [], ["dead", "failed"]):
            with pytest.raises(ConfigurationError, match="completed, cancelled or dead"):
                await engine.prune(50, status)
        with pytest.raises(ConfigurationError, match="older_than"):
            await engine.prune(-1)


async def test_nothing_is_done_that_is_not_on_record(url: str) -> None:
    engine = Engine(url)
    with injected(engine, fail("audit", at=1)):
        async with engine:
            await engine.backend.enqueue([NewJob("a")])
            with pytest.raises(BackendUnavailable):
                await engine.cancel(type="a")
            assert [job.status for job in await engine.jobs()] == ["pending"]
            with pytest.raises(ConfigurationError, match="by="):
                await engine.cancel(type="a", by=" ")
            assert await engine.audit_trail() == []


async def test_what_was_done_is_told_though_its_end_is_not_on_record(url: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(url)
    with injected(engine, fail("audit_done")):
        async with engine:
            await engine.backend.enqueue([NewJob("a")])
            with caplog.at_level(logging.WARNING, "qengine.audit"):
                assert await engine.cancel(type="a") == 1
            assert "the end of cancel" in caplog.text
            assert (await last(engine)).jobs is None


async def test_who_acts_when_nobody_says(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit.socket, "gethostname", lambda: "host")
    monkeypatch.setattr(audit.getpass, "getuser", lambda: "anna")
    async with Engine(url) as engine:
        await engine.pause(type="a")
        assert (await last(engine)).actor == "anna@host"

        def nameless() -> str:
            raise OSError("no username set in the environment")

        monkeypatch.setattr(audit.getpass, "getuser", nameless)
        await engine.resume(type="a")
        name, _, host = (await last(engine)).actor.partition("@")
        assert (name.isdigit(), host) == (True, "host")
        monkeypatch.setattr(audit.getpass, "getuser", lambda: "caf\udce9")
        await engine.pause(type="a")
        assert (await last(engine)).actor == "caf\\udce9@host"
