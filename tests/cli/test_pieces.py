"""Parts of the command that no run of it reaches easily."""

import asyncio
import datetime as dt
import json
import logging
import types
from collections.abc import Iterator

import pytest
from command import Cli

from qengine import Engine, JobError
from qengine.backends.protocol import Demand
from qengine.cli import demo, main, worker
from qengine.cli.output import print_json
from qengine.cli.text import clean, counted, duration, moment, one_line, pretty, relative


@pytest.fixture(autouse=True)
def level_of_the_log() -> Iterator[None]:
    """The demo quietens the log of its process."""
    level = logging.getLogger("qengine").level
    yield
    logging.getLogger("qengine").setLevel(level)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.34, "340 ms"),
        (1, "1 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_times() -> None:
    assert relative(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=10)) == "10 s ago"
    assert relative(dt.datetime.now(dt.UTC) + dt.timedelta(hours=5, seconds=1)) == "in 5 h"
    assert moment(dt.datetime(2030, 1, 31, 9, 0, 5, 999, dt.timezone(dt.timedelta(hours=1)))) == "2030-01-31 08:00:05Z"
    assert (moment(None), relative(None)) == ("", "")


def test_texts() -> None:
    assert clean("a\tb\nc\x00\x1b\x7f\x85\u2028\u202e") == "a\tb\nc\\x00\\x1b\\x7f\\x85\\u2028\\u202e"
    assert one_line("  two\n lines ") == "two lines"
    assert one_line("abcdef", 4) == "abc…"
    assert one_line("abcd", 4) == "abcd"
    assert pretty({"a": "ü"}) == '{\n  "a": "ü"\n}'
    assert pretty("no JSON \x1b") == "no JSON \\x1b"
    assert (counted(1, "job"), counted(0, "job")) == ("1 job", "0 jobs")


def test_json_of_values_that_json_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    time = dt.datetime(2030, 1, 31, tzinfo=dt.UTC)
    error = JobError(1, 1, None, None, time, "ü", None)
    print_json({"mapping": types.MappingProxyType({"a": 1}), "error": error})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed)["mapping"] == {"a": 1}
    assert json.loads(printed)["error"]["ended_at"] == "2030-01-31T00:00:00+00:00"


def test_a_running_job_is_shown_with_its_progress(cli: Cli) -> None:
    job_id = cli.enqueue("add", {"a": 1}, timeout=90)

    async def begin(engine: Engine) -> None:
        (claim,) = await engine.backend.claim(Demand("worker-7", {"add": 1}, 1, 60.0))
        await engine.backend.save(claim.lease, progress='{"done": 3, "total": 9, "message": null}', checkpoint='{"page": 3}')

    cli.engine(begin)
    assert "started" in cli.inside("jobs").stdout
    shown = " ".join(cli.inside("show", job_id).stdout.split())
    assert "worker worker-7" in shown
    assert "progress done 3, total 9" in shown
    assert "timeout 90 s" in shown
    assert 'checkpoint { "page": 3 }' in shown


def test_an_attempt_that_timed_out_has_no_traceback(cli: Cli) -> None:
    async def run(engine: Engine) -> int:
        @engine.task(timeout=0.05, max_attempts=1)
        async def late() -> None:
            await asyncio.sleep(60)

        job = await late.enqueue()
        await engine.drain()
        return job.id

    out = cli.inside("show", cli.engine(run)).stdout
    assert "TimeoutError" in out
    assert "traceback" not in out


def test_shell_completion_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_QENGINE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "qengine req")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert not ended.value.code
    assert capsys.readouterr().out.split() == ["requeue"]


def test_the_demo_gives_up_on_a_machine_that_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "GIVE_UP_AFTER", 0.0)
    monkeypatch.setattr(demo, "ENRICHMENT_TAKES", 0.01)
    assert main(["demo"]) == 1
    assert capsys.readouterr().err.startswith("qengine: the demo did not end within")


def test_the_demo_fails_when_a_promise_is_broken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "ENRICHMENT_TAKES", 0.01)
    monkeypatch.setattr(demo, "RETRY_AFTER", 0.01)
    monkeypatch.setattr(demo, "REPLIES", 3)
    monkeypatch.setattr(demo, "MAILS", 4)
    finished = demo.World.finished
    monkeypatch.setattr(demo.World, "finished", lambda world, name: [finished(world, name) for _ in range(2)])
    assert main(["demo"]) == 1
    assert "Not all went as it should" in capsys.readouterr().out


def test_a_worker_that_is_cancelled_without_a_signal_says_so(sqlite_url: str) -> None:
    async def run() -> None:
        options = {"concurrency": 1, "queues": None, "types": None, "grace": 0.0, "until_idle": False}
        engine = Engine(sqlite_url)
        engine.task("nothing")(_nothing)
        serving = asyncio.create_task(worker._serve(engine, "app:engine", options, []))
        await asyncio.sleep(0.2)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(run())


async def _nothing() -> None: ...
