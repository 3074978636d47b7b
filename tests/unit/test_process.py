"""What runs inside a handler's own process, called in this one."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from qengine import Engine
from qengine.worker.process import call_by_name

engine = Engine("sqlite:///never-opened.db")


def double(n: int) -> int:
    return n * 2


@engine.task(executor="process")
def halve(n: int) -> float:
    return n / 2


class Awkward(Exception):
    """Cannot be made again from its own arguments, and so not be sent to another process as it is."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fails(how: str) -> None:
    raise {"plain": ValueError("no"), "awkward": Awkward(1, 2)}[how]


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("name", "payload", "result"), [("double", '{"n":21}', "42"), ("halve", '{"n":21}', "10.5")])
def test_a_function_or_a_task_is_called_by_its_name(name: str, payload: str, result: str) -> None:
    for _ in range(2):
        assert call_by_name(__name__, name, payload) == result
    assert {signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} == {signal.SIG_IGN}


def test_an_error_tells_where_it_came_from() -> None:
    with pytest.raises(ValueError, match=r"^no\b") as raised:
        call_by_name(__name__, "fails", '{"how":"plain"}')
    assert "in fails" in "\n".join(raised.value.__notes__)


def test_an_error_that_cannot_travel_is_described() -> None:
    with pytest.raises(RuntimeError, match=r"^Awkward: 1 and 2$"):
        call_by_name(__name__, "fails", '{"how":"awkward"}')
