"""The log as JSON lines."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from command import Cli

from qengine.context import JobLogger
from qengine.logs import JsonLines


class Lines:
    """A logger of its own, and what came of each record."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.log = logging.Logger("app.mail", logging.DEBUG)
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(JsonLines())
        self.log.addHandler(handler)

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    @property
    def only(self) -> dict[str, Any]:
        (line,) = self.all
        return line


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_a_line(lines: Lines) -> None:
    record = lines.log.makeRecord("app.mail", logging.WARNING, "mail.py", 7, "%d of %s", (3, "many"), None)
    record.created = 1772357400.1256
    lines.log.handle(record)
    assert lines.stream.getvalue() == (
        '{"time": "2026-03-01T09:30:00.125Z", "level": "warning", "logger": "app.mail", "message": "3 of many"}\n'
    )


def test_a_job_is_told_and_nothing_else_that_is_added(lines: Lines) -> None:
    log = JobLogger(lines.log, {"job_id": 7, "type": "mail", "attempt": 2, "worker": "w1"})
    log.info("sent", extra={"payload": {"to": "ada@example.com"}, "to": "ada@example.com"})
    line = lines.only
    assert list(line) == ["time", "level", "logger", "message", "job_id", "type", "attempt", "worker"]
    assert [line[name] for name in ("job_id", "type", "attempt", "worker")] == [7, "mail", 2, "w1"]
    assert "ada" not in lines.stream.getvalue()


def test_an_exception_stays_on_its_line(lines: Lines) -> None:
    try:
        raise ValueError("line one\nline two")
    except ValueError:
        lines.log.exception("failed")
    line = lines.only
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ValueError: line one\nline two")


def test_an_exception_that_another_handler_has_formatted_already(lines: Lines) -> None:
    record = logging.makeLogRecord({"msg": "failed", "levelno": logging.ERROR, "exc_text": "Traceback: ValueError"})
    lines.log.handle(record)
    assert lines.only["exception"] == "Traceback: ValueError"


def test_no_exception_is_none(lines: Lines) -> None:
    lines.log.error("odd", exc_info=True)  # outside of any except
    assert "exception" not in lines.only


def test_a_stack_is_told(lines: Lines) -> None:
    lines.log.info("here", stack_info=True)
    assert "test_a_stack_is_told" in lines.only["stack"]


@pytest.mark.parametrize(
    "text", ["two\nlines", "line\u2028separator", "lone \ud800 surrogate", "Gr\u00fc\u00dfe \U0001f600", "\x00\x1b[31m"]
)
def test_any_text_is_one_line_of_ascii(lines: Lines, text: str) -> None:
    lines.log.info("%s", text)
    assert lines.only["message"] == text
    written = lines.stream.getvalue()
    assert written.isascii()
    assert written.count("\n") == 1


def test_a_value_that_is_no_json(lines: Lines) -> None:
    lines.log.info("x", extra={"worker": set})
    assert lines.only["worker"] == "<class 'set'>"


def test_arguments_that_do_not_fit(lines: Lines) -> None:
    lines.log.info("%d jobs", "secret")
    assert lines.only["message"] == "%d jobs [the arguments of this message do not fit it: TypeError]"
    assert "secret" not in lines.stream.getvalue()


def test_the_worker_logs_lines(cli: Cli) -> None:
    cli.enqueue("fail", {"message": "no such user"})
    cli.enqueue("tell", {"secret": "a-payload"})
    logged = cli("worker", "app:engine", "--once", "--log-json").stderr
    lines = [json.loads(line) for line in logged.splitlines()]
    assert "working for app:engine" in lines[0]["message"]
    (told,) = [line for line in lines if line["logger"] == "qengine.job"]
    assert (told["message"], told["type"], told["attempt"], told["level"]) == ("told", "tell", 1, "info")
    assert isinstance(told["job_id"], int)
    assert len(told["worker"]) == 36
    assert "a-payload" not in logged
