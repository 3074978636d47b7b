"""The parts that need no browser: masks, the timeline, texts, and actions that go on behind a request."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qengine import Job, JobError, Status
from qengine.web import MASKED, mask_secrets
from qengine.web import work as module
from qengine.web.masking import still_masked, unmask
from qengine.web.text import clean, compact, counted, duration, one_line, relative
from qengine.web.timeline import NARROWEST, timeline
from qengine.web.work import Works

NOON = dt.datetime(2030, 1, 31, 12, 0, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    return NOON + dt.timedelta(seconds=seconds)


# -- masks


@pytest.mark.parametrize(
    "key",
    [
        *("password", "Password", "db_password", "passwd", "passphrase", "token", "accessToken", "csrf-token", "secret"),
        *("client_secret", "Authorization", "api_key", "API-KEY", "apikey", "private key", "credentials", "Set-Cookie"),
    ],
)
def test_what_sounds_like_a_secret_is_masked(key: str) -> None:
    assert mask_secrets({key: "x"}, "mail") == {key: MASKED}
    assert mask_secrets([{"in": {"the": [{key: {"user": "x"}}]}}], "mail") == [{"in": {"the": [{key: MASKED}]}}]
    assert mask_secrets({key: None}, "mail") == {key: None}


@pytest.mark.parametrize("key", ["to", "subject", "pass", "key", "author", "public_key", "monkey"])
def test_what_does_not_is_shown(key: str) -> None:
    assert mask_secrets({key: "x"}, "mail") == {key: "x"}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["to", "token", "a", "password"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values)
def test_what_is_left_as_it_was_shown_keeps_its_secrets(original: Any) -> None:
    before = repr(original)
    shown = mask_secrets(original, "mail")
    assert repr(original) == before
    assert unmask(shown, shown, original) == original
    assert mask_secrets(shown, "mail") == shown


def test_what_is_edited_keeps_the_secrets_around_it() -> None:
    original = {"to": "a", "password": "p", "servers": [{"host": "x", "token": "t"}, {"host": "y", "token": "u"}]}
    shown = mask_secrets(original, "mail")
    edited = {**shown, "to": "b", "new": 1, "servers": [{"host": "z", "token": MASKED}, {"host": "y", "token": "new"}, "more"]}
    assert unmask(edited, shown, original) == {
        "to": "b",
        "new": 1,
        "password": "p",
        "servers": [{"host": "z", "token": "t"}, {"host": "y", "token": "new"}, "more"],
    }
    assert unmask(True, 1, "secret") is True  # the same to Python, not to JSON
    assert still_masked(unmask({"other": MASKED}, shown, original))
    assert still_masked([{"x": f"Bearer {MASKED}"}])
    assert not still_masked({"x": ["y", 1, None]})


# -- the timeline


def stretches(job: Job[Any], errors: list[JobError], now: float) -> list[tuple[str, float]]:
    found = timeline(job, errors, at(now))
    assert sum(segment.width for segment in found) == pytest.approx(100, abs=0.1) or not found
    assert [segment.x for segment in found] == sorted(segment.x for segment in found)
    return [(segment.kind, segment.seconds) for segment in found]


def failure(attempt: int, start: float | None, end: float) -> JobError:
    return JobError(1, attempt, "w", None if start is None else at(start), at(end), "no", None)


def test_a_life_is_drawn_as_it_was() -> None:
    job = Job(1, "mail", status=Status.PENDING, created_at=NOON)
    assert stretches(job, [], 5) == [("waited", 5)]
    job = Job(1, "mail", status=Status.PROCESSING, created_at=NOON, started_at=at(2), attempts=1)
    assert stretches(job, [], 5) == [("waited", 2), ("ran", 3)]
    assert stretches(job, [], 1) == [("waited", 2), ("ran", 0)]  # by a clock that is late
    job = Job(1, "mail", status=Status.COMPLETED, created_at=NOON, started_at=at(2), completed_at=at(6), attempts=1)
    assert stretches(job, [], 50) == [("waited", 2), ("completed", 4)]
    job = Job(1, "mail", status=Status.FAILED, created_at=NOON, started_at=at(2), attempts=1)
    assert stretches(job, [failure(1, 2, 3)], 10) == [("waited", 2), ("failed", 1), ("retry", 7)]
    job = Job(1, "mail", status=Status.DEAD, created_at=NOON, started_at=at(8), completed_at=at(9), attempts=2)
    history = [failure(1, 2, 3), failure(2, 8, 9)]
    assert stretches(job, history, 99) == [("waited", 2), ("failed", 1), ("retry", 5), ("failed", 1)]
    crash = JobError(1, 1, "w", at(2), at(3), "crashed: the lease of worker w ended", None)
    job = Job(1, "mail", status=Status.PENDING, created_at=NOON, started_at=at(2))
    assert [segment.label for segment in timeline(job, [crash], at(3))] == ["waited", "attempt 1 crashed"]
    job = Job(1, "mail", status=Status.CANCELLED, created_at=NOON, completed_at=at(4))
    assert stretches(job, [], 99) == [("waited", 4)]
    job = Job(1, "mail", status=Status.CANCELLED, created_at=NOON, started_at=at(2), completed_at=at(20), attempts=1)
    assert stretches(job, [failure(1, None, 3)], 99) == [("waited", 3), ("failed", 0), ("retry", 17)]


def test_a_life_without_length_is_drawn_too() -> None:
    job = Job(1, "mail", status=Status.COMPLETED, created_at=NOON, started_at=NOON, completed_at=NOON, attempts=1)
    assert stretches(job, [], 0) == [("completed", 0)]
    assert stretches(Job(1, "mail"), [], 0) == []
    assert stretches(Job(1, "mail", created_at=at(5)), [], 0) == []
    late = Job(1, "mail", status=Status.COMPLETED, created_at=NOON, started_at=at(9), completed_at=at(8), attempts=1)
    assert stretches(late, [], 0)[-1] == ("completed", 0)


def test_a_short_run_in_a_long_life_is_seen() -> None:
    job = Job(1, "mail", status=Status.COMPLETED, created_at=NOON, started_at=at(1e6), completed_at=at(1e6 + 0.01), attempts=1)
    assert timeline(job, [], at(2e6))[-1].width > NARROWEST * 0.9


# -- texts


def test_texts() -> None:
    assert clean("a\x00\u202e\u200b\r\nb\tc") == "a\\x00\\u202e\\u200b\nb\tc"
    assert one_line("a\n  b" + "c" * 20, 8) == "a bcccc…"
    assert one_line("x" * 10_000_000, 5) == "xxxx…"
    assert one_line(" " * 100 + "late", 5) == "…"
    assert compact({"a": ["ü", None]}) == '{"a": ["ü", null]}'
    assert compact("no {json") == "no {json"
    assert (counted(1, "job"), counted(0, "job"), counted(2000, "job")) == ("1 job", "0 jobs", "2,000 jobs")
    assert [duration(seconds) for seconds in (-1, 0.0123, 1.26, 59.6, 119, 120, 7199, 7200, 1e6)] == [
        *("0 ms", "12 ms", "1.3 s", "60 s", "119 s", "2 min", "120 min", "2 h", "12 d")
    ]
    assert [relative(at(seconds), NOON) for seconds in (-90, -0.5, 0.5, 90)] == ["90 s ago", "now", "now", "in 90 s"]


# -- actions behind a request


def steps(number: int, go: asyncio.Event) -> Callable[[Callable[[int], None]], Awaitable[int]]:
    """An action in so many batches, each of which waits."""

    async def act(progress: Callable[[int], None]) -> int:
        for done in range(1, number + 1):
            await go.wait()
            progress(done)
        return number

    return act


@pytest.mark.anyio
async def test_closing_stops_what_is_under_way_between_two_batches() -> None:
    works, go = Works(), asyncio.Event()
    work = await works.begin("cancel", "all", "/", steps(5, go), wait=0.0)
    assert (work.state, work.jobs, works.get(work.id)) == ("running", 0, work)
    closing = asyncio.create_task(works.close())
    await asyncio.sleep(0)
    go.set()
    await closing
    assert (work.state, work.jobs, work.error) == ("stopped", 1, None)
    assert work.seconds == work.seconds  # it has ended: it grows no more
    await works.close()


@pytest.mark.anyio
async def test_one_that_is_cancelled_is_stopped() -> None:
    works = Works()
    work = await works.begin("cancel", "all", "/", steps(5, asyncio.Event()), wait=0.0)
    assert work.task is not None
    work.task.cancel()
    await asyncio.wait([work.task])
    assert work.state == "stopped"


@pytest.mark.anyio
async def test_those_that_ended_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    works, go = Works(), asyncio.Event()
    running = await works.begin("cancel", "all", "/", steps(1, go), wait=0.0)
    done = asyncio.Event()
    done.set()
    ended = [await works.begin("cancel", "all", "/", steps(1, done), wait=20) for _ in range(4)]
    assert [work.state for work in ended] == ["done"] * 4
    assert [works.get(work.id) is not None for work in ended] == [False, True, True, True]
    assert works.get(running.id) is running
    go.set()
    await works.close()
