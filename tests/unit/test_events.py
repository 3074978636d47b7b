"""How events reach hooks, without a database."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import logging
import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from qengine import ConfigurationError, Event
from qengine import events as module
from qengine.events import KINDS, Dispatcher

pytestmark = pytest.mark.anyio


def event(job_id: int = 1, kind: Any = "dead") -> Event:
    return Event(kind, dt.datetime.now(dt.UTC), "mail", job_id)


async def test_a_hook_gets_what_it_asked_for_in_order() -> None:
    dispatcher = Dispatcher()
    got: list[tuple[str, int | None]] = []

    async def hook(told: Event) -> None:
        got.append((told.kind, told.job_id))

    dispatcher.on(["dead", "failed"], hook)
    assert dispatcher.wanted == {"dead", "failed"}
    for number, kind in enumerate(KINDS * 2):
        dispatcher.tell(event(number, kind))
    await dispatcher.close()
    assert got == [("failed", 1), ("dead", 2), ("failed", 11), ("dead", 12)]


async def test_all_ways_to_write_a_hook() -> None:
    dispatcher = Dispatcher()
    got: set[str] = set()
    threads: set[str] = set()

    async def coroutine(told: Event, name: str = "coroutine") -> None:
        got.add(name)

    def function(told: Event) -> None:
        got.add("function")
        threads.add(threading.current_thread().name)

    class Callable_:
        async def __call__(self, told: Event) -> None:
            got.add("object")

    async def other() -> None:
        got.add("lambda")

    for hook in (coroutine, function, Callable_(), lambda told: other(), functools.partial(coroutine, name="partial")):
        dispatcher.on(["dead"], hook)
    dispatcher.tell(event())
    await dispatcher.close()
    assert got == {"coroutine", "function", "object", "lambda", "partial"}
    assert threading.current_thread().name not in threads


async def fails(told: Event) -> None:
    raise ValueError("broken hook")


def fails_in_thread(told: Event) -> None:
    raise ValueError("broken hook")


def fails_later(told: Event) -> Awaitable[None]:
    return fails(told)


async def exits(told: Event) -> None:
    raise SystemExit(1)


async def is_cancelled(told: Event) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("broken", [fails, fails_in_thread, fails_later, exits, is_cancelled])
async def test_a_hook_that_fails_gets_the_next_event_all_the_same_and_is_told_of_once(
    broken: Callable[[Event], Any], caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = Dispatcher()
    got: list[int | None] = []
    called = 0

    @functools.wraps(broken)
    def counted(told: Event) -> Any:
        nonlocal called
        called += 1
        return broken(told)

    async def counted_in_loop(told: Event) -> None:
        nonlocal called
        called += 1
        await broken(told)

    async def fine(told: Event) -> None:
        got.append(told.job_id)

    dispatcher.on(["dead"], counted_in_loop if asyncio.iscoroutinefunction(broken) else counted)
    dispatcher.on(["dead"], fine)
    for number in range(300):
        dispatcher.tell(event(number))
    await dispatcher.close()
    assert called == 300
    assert got == list(range(300))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "failed on 1 events" in caplog.text


async def test_a_complaint_is_repeated_once_in_a_while_with_how_often_it_happened(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    times = [100.0, 101.0, 102.0, 100.0 + module.COMPLAIN_EVERY]
    ticks = iter(times)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    complaint = module._Complaint("%s: %d times")
    for _ in times:
        complaint.add("hook")
    assert [record.getMessage() for record in caplog.records] == ["hook: 1 times", "hook: 3 times"]


async def test_what_a_slow_hook_has_no_room_for_is_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "QUEUE", 3)
    dispatcher = Dispatcher()
    got: list[int | None] = []
    go_on = asyncio.Event()

    async def slow(told: Event) -> None:
        await go_on.wait()
        got.append(told.job_id)

    dispatcher.on(["dead"], slow)
    for number in range(10):
        dispatcher.tell(event(number))
    assert dispatcher.dropped == 7
    go_on.set()
    await dispatcher.close()
    assert got == [0, 1, 2]
    assert "too slow" in caplog.text


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_hook_that_hangs_holds_up_neither_others_nor_the_end(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = Dispatcher()
    got: list[int | None] = []
    go_on = threading.Event()

    async def hangs(told: Event) -> None:
        await asyncio.Event().wait()

    def hangs_in_thread(told: Event) -> None:
        go_on.wait()

    async def fine(told: Event) -> None:
        got.append(told.job_id)

    dispatcher.on(["dead"], hangs if kind == "async" else hangs_in_thread)
    dispatcher.on(["dead"], fine)
    for number in range(200):
        dispatcher.tell(event(number))
    await dispatcher.close(patience=0.05)
    go_on.set()
    assert got == list(range(200))
    assert dispatcher.dropped >= 100
    assert "has not ended in time" in caplog.text


async def test_what_a_hook_tells_while_all_is_closed_is_delivered_too() -> None:
    dispatcher = Dispatcher()
    got: list[str] = []

    async def first(told: Event) -> None:
        await asyncio.sleep(0)
        dispatcher.tell(event(kind="new_error_group"))

    async def second(told: Event) -> None:
        await asyncio.sleep(0)
        got.append(told.kind)

    dispatcher.on(["dead"], first)
    dispatcher.on(["new_error_group"], second)
    dispatcher.tell(event())
    await dispatcher.close()
    assert got == ["new_error_group"]
    # It may be used again, as an engine may be opened again.
    dispatcher.tell(event())
    await dispatcher.close()
    assert got == ["new_error_group"] * 2


async def test_a_hook_can_be_taken_away() -> None:
    dispatcher = Dispatcher()
    got: list[int | None] = []

    async def hook(told: Event) -> None:
        got.append(told.job_id)

    dispatcher.on(["dead"], hook)
    dispatcher.tell(event())
    assert dispatcher.off(hook)
    assert not dispatcher.off(hook)
    assert dispatcher.wanted == frozenset()
    dispatcher.tell(event())
    await dispatcher.close()
    assert got == []


@pytest.mark.parametrize(
    ("kinds", "hook", "says"),
    [(["death"], print, "death.*the kinds of events are"), ([], print, "name one kind"), (["dead"], "print", "give a function")],
)
def test_a_mistake_is_named(kinds: Any, hook: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Dispatcher().on(kinds, hook)
