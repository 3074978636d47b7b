"""Counts made in the background: at once for who asks, one at a time, seldom when they are costly, gone with the engine."""

from __future__ import annotations

import asyncio
import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import until

from qengine import ConfigurationError, Engine, Status
from qengine.engine import counts
from qengine.engine.counts import Latest
from qengine.testing import faults

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The monotonic clock that counting reads, to be moved by hand."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(counts, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


class Question:
    """Something costly to ask: it is answered when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.waiting: list[asyncio.Future[int]] = []
        self.latest = Latest("asking", self._ask, 0, lambda before, error: -1)

    async def _ask(self) -> int:
        self.asked += 1
        self.waiting.append(asyncio.get_running_loop().create_future())
        return await self.waiting[-1]

    async def begun(self, asked: int) -> None:
        await until(lambda: self.asked == asked)

    async def answered(self, answer: int | Exception) -> None:
        future = self.waiting.pop()
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        await turns()


async def turns() -> None:
    """Give what is ready to run in the event loop its turns."""
    for _ in range(5):
        await asyncio.sleep(0)


async def filled(engine: Engine) -> None:
    @engine.task(max_attempts=1)
    async def fail(number: int) -> None:
        raise ValueError(f"no such user: {number}")

    await fail.enqueue_many([{"number": number} for number in range(3)])
    await engine.drain()
    await engine.enqueue("other", {})


async def test_counts_come_at_once_and_are_made_behind(url: str) -> None:
    async with Engine(url) as engine:
        await filled(engine)
        first = engine.counts()
        assert (first.stats, first.failures, first.at, first.cost, first.error) == (None, None, None, 0.0, None)
        counted = await until(lambda: found if (found := engine.counts()).at else None)
        assert counted.stats is not None
        assert counted.failures is not None
        assert (counted.stats.by_status["dead"], counted.stats.by_type["other"]["pending"]) == (3, 1)
        assert [(group.type, group.count) for group in counted.failures] == [("fail", 3)]
        assert counted.at.tzinfo is not None
        assert counted.cost > 0
        assert engine.counts(max_age=3600) is counted


async def test_a_glance_reads_heads_workers_and_pauses(url: str) -> None:
    async with Engine(url) as engine:

        @engine.task()
        async def idle() -> None: ...

        await engine.enqueue("other", {})
        await engine.pause(type="other")
        async with engine.worker() as worker:
            await until(lambda: engine.running_workers)
            # The first look may come before the worker has announced itself.
            seen = await until(lambda: found if (found := engine.glance(max_age=0.0)).workers else None)
        assert list(seen.waiting) == ["other"]
        assert seen.waiting["other"] >= 0
        assert [info.id for info in seen.workers] == [worker.id]
        assert [pause.name for pause in seen.pauses] == ["other"]


async def test_who_asks_while_it_is_asked_starts_no_other() -> None:
    question = Question()
    assert [question.latest.look(0.0) for _ in range(3)] == [0, 0, 0]
    await question.begun(1)
    assert question.latest.look(0.0) == 0
    await turns()
    assert question.asked == 1
    await question.answered(7)
    assert question.latest.look(3600.0) == 7
    await question.latest.close()


async def test_an_answer_is_kept_for_as_long_as_is_asked(clock: SimpleNamespace) -> None:
    question = Question()
    question.latest.look(5.0)
    await question.begun(1)
    await question.answered(7)
    clock.now += 4.9
    question.latest.look(5.0)
    await turns()
    assert question.asked == 1
    clock.now += 0.2
    assert question.latest.look(5.0) == 7
    await question.begun(2)
    await question.latest.close()


async def test_a_costly_answer_is_kept_twenty_times_as_long_as_it_took(clock: SimpleNamespace) -> None:
    question = Question()
    question.latest.look(5.0)
    await question.begun(1)
    clock.now += 3.0
    await question.answered(7)
    clock.now += 56.9  # 59.9 s since it was begun
    question.latest.look(5.0)
    await turns()
    assert question.asked == 1
    clock.now += 0.2
    question.latest.look(5.0)
    await question.begun(2)
    await question.latest.close()


async def test_a_failure_is_told_once_and_tried_again_after_a_while(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    question = Question()
    for tries in (1, 2):
        question.latest.look(0.0)
        await question.begun(tries)
        await question.answered(ValueError("nonsense"))
        assert question.latest.look(0.0) == -1
        await turns()
        assert question.asked == tries, "asked again without a pause"
        clock.now += counts.AFTER_A_FAILURE
    assert [record.getMessage() for record in caplog.records] == [
        "asking failed and is tried again when next asked for: nonsense"
    ]
    assert caplog.records[0].exc_info is not None
    question.latest.look(0.0)
    await question.begun(3)
    await question.answered(8)
    assert question.latest.look(3600.0) == 8
    await question.latest.close()


async def test_counts_outlive_an_outage(url: str, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(url)
    with faults.injected(engine, faults.fail("stats", at=2), faults.fail("oldest_due")) as plan:
        async with engine:
            good = await until(lambda: found if (found := engine.counts()).at else None)
            clock.now += 100
            bad = await until(lambda: found if (found := engine.counts()).error else None)
            assert bad.error == "BackendUnavailable: injected fault: fail at stats"
            assert (bad.stats, bad.at) == (good.stats, good.at)
            assert await until(lambda: engine.glance().error) == "BackendUnavailable: injected fault: fail at oldest_due"
            clock.now += 100
            again = await until(lambda: found if (found := engine.counts()).error is None else None)
            assert again.at is not None
    assert len(plan.struck) == 2
    told = [record for record in caplog.records if "is tried again" in record.getMessage()]
    assert [record.exc_info for record in told] == [None, None], "an outage needs no traceback"


async def test_any_thread_may_ask(url: str) -> None:
    async with Engine(url) as engine:
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.append(engine.counts()))
        thread.start()
        await until(lambda: not thread.is_alive())
        assert [found.at for found in seen] == [None]
        await until(lambda: engine.counts(max_age=3600).at)


async def test_closing_gives_up_on_a_count(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    engine = Engine(url)
    with faults.injected(engine, faults.late("stats", seconds=3600)) as plan:
        async with engine:
            engine.counts()
            await until(lambda: plan.struck)
        with pytest.raises(ConfigurationError, match="not open"):
            engine.counts()
        with pytest.raises(ConfigurationError, match="not open"):
            engine.glance()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    async with engine:
        assert (await until(lambda: engine.counts().stats)).by_status == dict.fromkeys(Status, 0)


async def test_nothing_is_asked_after_the_end() -> None:
    question = Question()
    question.latest.look(0.0)
    await question.latest.close()  # before its first turn
    await turns()
    assert question.latest.look(0.0) == 0
    await turns()
    assert question.asked == 0


def test_an_event_loop_that_has_ended_leaves_what_is_known() -> None:
    async def ask() -> Latest[int]:
        question = Question()
        question.latest.look(0.0)
        await question.begun(1)
        await question.answered(7)
        return question.latest

    latest = asyncio.run(ask())
    assert [latest.look(0.0), latest.look(0.0)] == [7, 7]
