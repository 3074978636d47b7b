"""`qengine doctor`: what the engine knows is judged from given facts, what the database says from the database."""

import datetime as dt
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import Cli

from qengine import Activity, Engine, Finding, Pause, Schedule, WorkerInfo
from qengine.cli import checks
from qengine.cli.checks import Facts

NOW = dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC)
WELL = Facts(NOW, [], {}, [], [], [], [])
WORKER = WorkerInfo("w", "host", 7, "1.0", ["a"], None, 10, running=2)
SCHEDULE = Schedule("a:* * * * *", "a", "* * * * *", "UTC", "one", NOW + dt.timedelta(seconds=30))


def ago(**span: float) -> dt.datetime:
    return NOW - dt.timedelta(**span)


@pytest.mark.parametrize(
    ("check", "facts", "level", "says"),
    [
        (checks._workers, {}, "ok", "nothing is due"),
        (checks._workers, {"due": {"a": NOW}}, "problem", "no worker is alive, and jobs are due: a"),
        (checks._workers, {"workers": [WORKER], "due": {"a": NOW}}, "ok", "1 live worker, 2 jobs running"),
        (checks._versions, {"workers": [WORKER]}, "ok", "of release 1.0"),
        (checks._versions, {"workers": [WORKER, replace(WORKER, version="1.1")]}, "warning", "1.0, 1.1"),
        (checks._lag, {"workers": [WORKER, replace(WORKER, loop_lag=0.9)]}, "ok", ""),
        (checks._lag, {"workers": [replace(WORKER, loop_lag=3.0)]}, "warning", "host pid 7 by 3 s"),
        (checks._waiting, {"due": {"a": ago(minutes=59)}}, "ok", ""),
        (checks._waiting, {"due": {"a": ago(hours=3), "b": NOW}}, "warning", "a for 3 h"),
        (checks._waiting, {"due": {"a": ago(hours=3)}, "pauses": [Pause("type", "a", None)]}, "ok", ""),
        (checks._waiting, {"due": {"a": ago(hours=3)}, "pauses": [Pause("queue", "a", None)]}, "warning", "a for 3 h"),
        (checks._paused, {"pauses": [Pause("type", "a", NOW)]}, "ok", ""),
        (checks._paused, {"pauses": [Pause("queue", "a", None)]}, "warning", "the queue a"),
        (checks._schedules, {"schedules": [replace(SCHEDULE, next_fire=ago(seconds=59))]}, "ok", ""),
        (checks._schedules, {"schedules": [SCHEDULE, replace(SCHEDULE, next_fire=ago(seconds=61))]}, "problem", "a:* * * * *"),
        (checks._schedules, {"schedules": [replace(SCHEDULE, next_fire=ago(hours=1), paused=True)]}, "ok", ""),
        (checks._failing, {"activity": [Activity(60, 0, "", "a", failed=19)]}, "ok", ""),
        (checks._failing, {"activity": [Activity(60, 0, "", "a", completed=10, failed=10)]}, "ok", ""),
        (
            checks._failing,
            {"activity": [Activity(60, 0, "", "a", completed=10, failed=10), Activity(60, 60, "", "a", dead=1)]},
            "warning",
            "a 11 of 21",
        ),
        (checks._dead, {"died": []}, "ok", ""),
        (checks._dead, {"died": [(NOW.date(), 2), (NOW.date(), 1)]}, "warning", "3 jobs died"),
    ],
)
def test_what_the_engine_knows(check: Any, facts: dict[str, Any], level: str, says: str) -> None:
    found: Finding = check(replace(WELL, **facts))
    assert (found.level, bool(found.remedy)) == (level, level != "ok")
    assert says in found.text


def test_many_names_are_cut() -> None:
    found = checks._workers(replace(WELL, due={f"t{n:02}": NOW for n in range(12)}))
    assert found.text.endswith("t09 and 2 more")


def sound(findings: list[dict[str, str]]) -> bool:
    """Whether there is no problem, but for what the tests' own server is: fast, and not durable."""
    return all(finding["level"] != "problem" for finding in findings if finding["check"] != "durability")


def test_all_is_well(cli: Cli) -> None:
    found = cli.json("doctor", code=None)
    assert list(found) == ["ok", "findings"]
    assert sound(found["findings"])
    assert found["ok"] is all(finding["level"] != "problem" for finding in found["findings"])
    assert all(list(finding) == ["check", "level", "text", "remedy"] for finding in found["findings"])
    named = [finding["check"] for finding in found["findings"]]
    assert len(named) == len(set(named))
    assert {"schema", "clock", "leases", "unhandled", "workers", "schedules", "dead"} <= set(named)


def test_problems_are_told_with_their_remedies(cli: Cli) -> None:
    cli.enqueue("elsewhere")
    out = cli.inside("doctor", code=1).stdout
    assert "no worker is alive, and jobs are due: elsewhere" in out
    assert "qengine worker module:engine" in out
    assert re.search(r"^\d+ problems?, \d+ warnings?$", out, re.MULTILINE)
    quiet = cli.json("doctor", "--quiet", code=1)
    assert quiet["ok"] is False
    assert not sound(quiet["findings"])
    assert "ok" not in {finding["level"] for finding in quiet["findings"]}
    assert {"workers", "unhandled"} <= {finding["check"] for finding in quiet["findings"]}


def test_quiet_says_that_all_is_well(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def well(engine: Engine) -> list[Finding]:
        return [Finding("schema", "ok", "fine")]

    monkeypatch.setattr("qengine.cli.doctor.checked", well)
    assert cli.inside("doctor", "--quiet").stdout == "all is well\n"


def test_a_database_without_a_schema(tmp_path: Path, url: str) -> None:
    cli = Cli(tmp_path, url)
    (finding,) = cli.json("doctor", code=1)["findings"]
    assert (finding["check"], finding["level"]) == ("schema", "problem")
    assert "qengine migrate" in finding["remedy"]


@pytest.mark.anyio
async def test_a_schema_that_went_wrong_is_all_that_is_looked_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Engine(url) as engine:
        bad = Finding("schema", "problem", "another schema", "qengine migrate")

        async def diagnose() -> list[Finding]:
            return [bad]

        monkeypatch.setattr(engine, "diagnose", diagnose)
        assert await checks.checked(engine) == [bad]
