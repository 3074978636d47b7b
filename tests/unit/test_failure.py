"""What is kept of an error."""

from __future__ import annotations

import asyncio
import time

import pytest

from qengine.errors import ConfigurationError
from qengine.failure import LINE_LIMIT, describe, group, traceback_text
from qengine.task import check_priority


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


class TestDescribe:
    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (ConnectionError("451"), "ConnectionError: 451"),
            (ValueError(), "ValueError"),
            (ValueError("  \n\n first \n second"), "ValueError: first"),
            (KeyError("x"), "KeyError: 'x'"),
            (Unprintable(), "Unprintable: (its message cannot be shown)"),
            (ValueError("a\0b\ud800"), "ValueError: a\\0b\\ud800"),
            (ExceptionGroup("g", [ConnectionError("451")]), "ConnectionError: 451"),
            (ExceptionGroup("g", [ExceptionGroup("h", [OSError("a"), OSError("b")]), KeyError()]), "OSError: a (and 2 more)"),
            (asyncio.CancelledError(), "CancelledError"),
        ],
        ids=lambda value: value if isinstance(value, str) else type(value).__name__,
    )
    def test_one_line(self, error: BaseException, line: str) -> None:
        assert describe(error) == line

    def test_it_is_bounded(self) -> None:
        line = describe(ValueError("x" * 10**6))
        assert len(line) == LINE_LIMIT
        assert line.endswith("…")
        several = describe(ExceptionGroup("g", [ValueError("x" * 1000), ValueError()]))
        assert len(several) == LINE_LIMIT
        assert several.endswith("… (and 1 more)")


class TestTraceback:
    def test_it_is_pythons_with_causes(self) -> None:
        def inner() -> None:
            raise KeyError("deep")

        try:
            try:
                inner()
            except KeyError as cause:
                raise ValueError("shallow") from cause
        except ValueError as error:
            text = traceback_text(error)
        assert text.index("KeyError: 'deep'") < text.index("direct cause") < text.index("ValueError: shallow")
        assert "in inner" in text

    async def call(self) -> None:
        raise ValueError("from the handler")

    def test_frames_of_the_machinery_are_left_out(self) -> None:
        with pytest.raises(ValueError, match="from the handler") as caught:
            asyncio.run(self.call())
        error = caught.value
        assert error.__traceback__ is not None
        started_in_asyncio = error.__traceback__.tb_next
        assert started_in_asyncio is not None
        text = traceback_text(error.with_traceback(started_in_asyncio))
        assert "asyncio" not in text
        assert "in call" in text

    def test_an_error_of_the_machinery_alone_keeps_its_frames(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            check_priority(0)
        error = caught.value
        assert error.__traceback__ is not None
        assert "in check_priority" in traceback_text(error.with_traceback(error.__traceback__.tb_next))

    @pytest.mark.parametrize("limit", [0, 3, 50, 500])
    def test_it_is_bounded_and_keeps_the_end(self, limit: int) -> None:
        text = traceback_text(raised(ValueError("x" * 1000 + "the end")), limit)
        assert len(text) <= limit
        assert limit < 50 or text.endswith("the end\n")

    def test_it_never_raises(self) -> None:
        assert "Unprintable" in traceback_text(raised(Unprintable()))
        error = raised(ValueError("a\0\ud800"))
        traceback_text(error).encode()
        assert "\0" not in traceback_text(error)

    def test_not_even_when_the_error_cannot_be_formatted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("traceback.TracebackException.format", lambda self: 1 / 0)
        assert traceback_text(raised(OSError("x"))) == "OSError: x\n(its traceback cannot be shown: ZeroDivisionError)\n"

    def test_notes_are_kept(self) -> None:
        error = raised(ValueError("x"))
        error.add_note("in the other process")
        assert "in the other process" in traceback_text(error)


class TestGroup:
    @pytest.mark.parametrize(
        ("line", "grouped"),
        [
            ("ConnectionError: 451", "ConnectionError: *"),
            ("my.mod.HTTP2Error: 503", "my.mod.HTTP2Error: *"),
            ("KeyError: 'prospect 7'", "KeyError: *"),
            ('JSONDecodeError: near "x\'y" here', "JSONDecodeError: near * here"),
            ("ValueError: can't parse user 17's name, isn't it", "ValueError: can't parse user *'s name, isn't it"),
            ("E: 69838121-93f6-4f2a-b647-054478b95b6d", "E: *"),
            ("E: commit deadbeef01", "E: commit *"),
            ("E: <object object at 0x7f3a12>", "E: <object object at *>"),
            ("E: bob.smith+x@example.co.uk bounced", "E: * bounced"),
            ("E: GET https://a.example/b?c=1#d failed", "E: GET * failed"),
            ("E: /var/lib/x.txt is gone", "E: * is gone"),
            ("E: ~/y.z, ../a/b and data/2024/x.csv", "E: *, * and *"),
            ("E: C:\\Users\\bob\\x.txt is gone", "E: * is gone"),
            ("E: either and/or both", "E: either and/or both"),
            ("E: at 2024-01-02T03:04:05.123Z or 2024-01-02 03:04:05+01:00", "E: at * or *"),
            ("E: 1,000.5 -3 +4 1e-9 item42 v1.2.3", "E: * * * * item* v*"),
            ("OSError: [Errno 111] Connect call failed ('127.0.0.1', 5432)", "OSError: [Errno *] Connect call failed (*, *)"),
            ("TimeoutError: timed out after 30 s", "TimeoutError: timed out after * s"),
            ("no colon 3", "no colon *"),
            ("two words: 3", "two words: *"),
            ("", ""),
        ],
    )
    def test_what_varies_becomes_a_star(self, line: str, grouped: str) -> None:
        assert group(line) == grouped
        assert group(grouped) == grouped

    @pytest.mark.parametrize("piece", ["a/", "1", "1.", "'", "-", "a@", "/", "0x", "ab12", "http://", "a.b-", "\\\\", "*"])
    def test_no_line_takes_long(self, piece: str) -> None:
        line = "E: " + (piece * LINE_LIMIT)[:LINE_LIMIT]
        began = time.perf_counter()
        group(line)
        assert time.perf_counter() - began < 0.5
