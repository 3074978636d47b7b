"""What a backend remembers of the lines, and when it forgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from qengine.backends.postgres import PostgresBackend, lines
from qengine.backends.postgres.connection import Record
from qengine.backends.postgres.core import line_names, named_lines
from qengine.backends.postgres.lines import KEPT, Hints
from qengine.backends.protocol import Demand
from qengine.job import NewJob

pytestmark = pytest.mark.anyio

A, B = ("default", "a"), ("default", "b")
NONE = float("-inf")


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, in a list of one."""
    now = [100.0]
    monkeypatch.setattr(lines.time, "monotonic", lambda: now[0])
    return now


def test_a_mark_falls_to_what_comes_below_it(time: list[float]) -> None:
    hints = Hints()
    assert hints.marks([A, B]) is None
    hints.taken(A, 10.0)
    hints.taken(B, 20.0)
    assert hints.marks([A, B]) == [10.0, 20.0]
    hints.came([A, B], 15.0)
    assert hints.marks([A, B]) == [10.0, NONE]
    hints.came([A], 9.0)
    assert hints.marks([A, B]) is None


def test_marks_are_dropped_after_a_second_however_often_they_move(time: list[float]) -> None:
    hints = Hints()
    for step in range(4):
        hints.taken(A, float(step))
        time[0] += KEPT / 4
        assert hints.marks([A]) == [float(step)]
    time[0] += 0.01
    assert hints.marks([A]) is None


def test_the_known_lines_grow_and_are_looked_up_again(time: list[float]) -> None:
    hints = Hints()
    assert hints.known is None
    hints.came([A], 1.0)
    assert hints.known is None
    hints.learn([])
    assert hints.known == set()
    hints.came([A], 1.0)
    assert hints.known == {A}
    time[0] += KEPT + 0.01
    assert hints.known is None


def test_forgetting(time: list[float]) -> None:
    hints = Hints()
    hints.learn([A])
    hints.taken(A, 1.0)
    hints.forget()
    assert (hints.known, hints.marks([A])) == (None, None)


def test_dropping_the_marks_alone(time: list[float]) -> None:
    hints = Hints()
    hints.learn([A])
    hints.taken(A, 1.0)
    hints.unmark()
    assert (hints.known, hints.marks([A])) == ({A}, None)


async def test_a_claim_that_takes_what_there_is_need_not_look_for_lines_again(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    fetch = backend._pool.fetch

    async def noted(sql: str, values: Sequence[Any]) -> list[Record]:
        fetched.append(next(verb for verb, statement in backend._sql.items() if statement.numbered == sql))
        return await fetch(sql, values)

    await backend.enqueue([NewJob("a")])
    assert len(await backend.claim(Demand("w", {"a": 5}, 5, 60.0))) == 1
    monkeypatch.setattr(backend._pool, "fetch", noted)
    monkeypatch.setattr(lines, "KEPT", 60.0)
    for _ in range(3):
        await backend.enqueue([NewJob("a")])
        assert len(await backend.claim(Demand("w", {"a": 5}, 5, 60.0))) == 1
    assert fetched == ["enqueue_now", "claim_one_type"] * 3


def test_lines_in_a_notification() -> None:
    lines = [("default", "send mail"), ("ü", "x:y")]
    assert named_lines(line_names(lines)) == lines
    assert line_names([("q" * 100, f"t{n}") for n in range(100)]) == ""
    assert line_names([("default", "tab\there"), A]) == ""
