"""Long work shows how far it is, can be interrupted between two batches, and asks before it begins."""

import json
import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from command import Cli

SLOW = """
import os
from qengine import Engine
from qengine.engine import bulk
from qengine.testing.faults import injected, late

bulk.BATCH = 10
engine = Engine(os.environ["APP_URL"])
slowly = injected(engine, *(late(verb, at=3, seconds=SECONDS) for verb in ("cancel", "requeue", "delete", "prune")))
slowly.__enter__()
"""
STOPPING = "qengine: stopping after this batch; a second signal stops at once\n"
BULK = {"cancel": "pending", "requeue": "dead", "delete": "cancelled", "prune": "cancelled"}


@pytest.fixture
def many(cli: Cli) -> int:
    """How many jobs wait."""
    cli.engine(lambda engine: engine.backend.enqueue([_new() for _ in range(55)]))
    return 55


def _new() -> object:
    from qengine.job import NewJob

    return NewJob("a")


def slow(cli: Cli, seconds: float) -> None:
    """An engine whose batches are of ten jobs, and whose third batch takes so long."""
    (cli.folder / "slow.py").write_text(SLOW.replace("SECONDS", str(seconds)))


def wait_for_status(cli: Cli, status: str, number: int) -> None:
    until = time.monotonic() + 30
    while len(cli.engine(lambda engine: engine.jobs(status=status))) < number:
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_between_two_batches(cli: Cli, many: int, number: signal.Signals, code: int) -> None:
    slow(cli, 2.0)
    process = cli.start("cancel", "--all", "--yes", "--dsn", "slow:engine")
    wait_for_status(cli, "cancelled", 20)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "30 jobs cancelled\n")
    assert err == STOPPING + "qengine: interrupted after 30 jobs; the others were left as they were\n"
    assert len(cli.engine(lambda engine: engine.jobs(status="cancelled"))) == 30
    entry = cli.json("audit")["entries"][0]
    assert (entry["action"], entry["jobs"]) == ("cancel", 30)
    assert cli.json("cancel", "--all", "--yes") == {"cancelled": many - 30}


def test_a_second_signal_stops_it_at_once(cli: Cli, many: int) -> None:
    slow(cli, 600.0)
    process = cli.start("cancel", "--all", "--yes", "--json", "--dsn", "slow:engine")
    wait_for_status(cli, "cancelled", 20)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == STOPPING
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, json.loads(out)) == (130, {"cancelled": 20})
    assert err == "qengine: interrupted after 20 jobs; the last batch may have been done as well\n"
    assert len(cli.engine(lambda engine: engine.jobs(status="cancelled"))) == 20


@pytest.mark.parametrize(
    ("command", "done"),
    [
        (["requeue", "--status", "cancelled"], "requeued"),
        (["delete", "--type", "a"], "deleted"),
        (["prune", "--older-than", "0"], "pruned"),
        (["requeue", *map(str, range(1, 56))], "requeued"),
    ],
)
def test_each_of_them_can_be_interrupted(
    cli: Cli, many: int, command: list[str], done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the signal comes while the first batch is at work, each time."""
    from qengine.engine import audit, bulk

    cli.inside("cancel", "--all", "--yes")
    monkeypatch.setattr(bulk, "BATCH", 10)
    begin = audit.this_user

    def interrupted() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return begin()

    monkeypatch.setattr(audit, "this_user", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    number = 1 if command[1].isdigit() else 10
    found = cli.inside(*command, "--yes", code=130)
    assert found.stdout == ("1 job" if number == 1 else f"{number} jobs") + f" {done}\n"
    assert signal.getsignal(signal.SIGINT) is handler
    monkeypatch.undo()
    assert cli.engine(lambda engine: engine.stats()).by_status["cancelled"] == many - number


def test_a_signal_that_comes_too_late_interrupts_nothing(cli: Cli, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from qengine.engine import bulk

    act = bulk.in_batches

    async def late(*arguments: object) -> None:
        await act(*arguments)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(bulk, "in_batches", late)
    assert cli.inside("cancel", "--all", "--yes").stdout == f"{many} jobs cancelled\n"


# -- on a terminal


@dataclass
class Terminal:
    """A command on a terminal of its own: stdin and stderr; stdout is apart."""

    process: subprocess.Popen[bytes]
    side: int
    shown: bytes = field(default=b"")

    def until(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text.encode() not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.side], [], [], 0.1)[0]:
                self.shown += os.read(self.side, 65_536)

    def types(self, text: str) -> None:
        os.write(self.side, text.encode())

    def ends(self, code: int) -> str:
        assert self.process.stdout is not None
        out = self.process.stdout.read().decode()
        assert self.process.wait(timeout=30) == code, (out, self.shown)
        return out


@contextmanager
def at_a_terminal(cli: Cli, *arguments: str) -> Iterator[Terminal]:
    side, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "qengine", *arguments],
        stdin=end,
        stderr=end,
        stdout=subprocess.PIPE,
        cwd=cli.folder,
        env={**os.environ, "QENGINE_URL": cli.url, "APP_URL": cli.url, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
        start_new_session=True,
    )
    os.close(end)
    try:
        yield Terminal(process, side)
    finally:
        process.kill()
        process.communicate()
        os.close(side)


def test_it_asks_with_the_number_and_shows_a_bar(cli: Cli, many: int) -> None:
    slow(cli, 1.5)
    with at_a_terminal(cli, "cancel", "--type", "a", "--dsn", "slow:engine") as terminal:
        terminal.until("cancel 55 jobs (pending or processing or failed), type a? [y/N] ")
        terminal.types("y\n")
        terminal.until("20/55")
        assert terminal.ends(0) == "55 jobs cancelled\n"
    assert cli.engine(lambda engine: engine.stats()).by_status["cancelled"] == many


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"])
def test_nothing_is_done_without_a_yes(cli: Cli, many: int, answer: str) -> None:
    with at_a_terminal(cli, "cancel", "--text", "nowhere") as terminal:
        terminal.until("cancel 0 jobs (pending or processing or failed), text nowhere? [y/N] ")
        terminal.types(answer)
        terminal.until("qengine: nothing was done")
        assert terminal.ends(1) == ""
    assert cli.engine(lambda engine: engine.stats()).by_status["pending"] == many


def test_ctrl_c_at_the_question(cli: Cli, many: int) -> None:
    with at_a_terminal(cli, "prune", "--older-than", "7d") as terminal:
        terminal.until("delete all jobs that ended more than 7d ago (completed or cancelled)? [y/N] ")
        os.kill(terminal.process.pid, signal.SIGINT)
        assert terminal.ends(130) == ""


def test_yes_asks_nothing(cli: Cli, many: int) -> None:
    with at_a_terminal(cli, "cancel", "--queue", "default", "--yes") as terminal:
        assert terminal.ends(0) == "55 jobs cancelled\n"
        assert b"[y/N]" not in terminal.shown


def test_groups_are_asked_for_on_a_terminal(cli: Cli) -> None:
    cli.dead("user 1 is gone")
    cli.dead("user 2 is gone")
    name = cli.json("dead")["groups"][0]["group"]
    with at_a_terminal(cli, "dead", "requeue", name) as terminal:
        terminal.until("requeue 2 jobs (dead), type fail, error group ValueError: user * is gone? [y/N] ")
        terminal.types("yes\n")
        assert terminal.ends(0) == "2 jobs requeued\n"


def test_what_takes_too_long_to_count_is_not_counted_to_its_end(
    cli: Cli, many: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from qengine.cli import ask, selection

    monkeypatch.setattr(selection, "COUNTS_FOR", 0.0)
    monkeypatch.setattr(selection, "at_terminal", lambda: True)
    monkeypatch.setattr(ask, "at_terminal", lambda: True)
    asked = cli.inside("cancel", "--text", "x", stdin="n\n", code=1).stderr
    assert asked.startswith("cancel 0 jobs or more (pending or processing or failed), text x? [y/N] ")


# -- migrate


def test_migrate_can_be_interrupted_while_it_waits(sqlite_url: str, tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    cli = Cli(folder, sqlite_url)
    path = sqlite_url.removeprefix("sqlite:///")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA journal_mode = wal")
    holder.execute("BEGIN IMMEDIATE")
    with at_a_terminal(cli, "migrate") as terminal:
        terminal.until("migrating")
        os.kill(terminal.process.pid, signal.SIGINT)
        terminal.until("interrupted; the migration that was under way is undone")
        assert terminal.ends(130) == ""
    holder.execute("ROLLBACK")
    assert holder.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    holder.close()
    assert "applied 0001_" in cli.inside("migrate").stdout


@pytest.mark.anyio
async def test_migrate_can_be_interrupted_while_it_waits_for_another(postgres_url: str, tmp_path: object) -> None:
    import asyncio
    from pathlib import Path

    import asyncpg

    cli = Cli(Path(str(tmp_path)), postgres_url)
    holder = await asyncpg.connect(postgres_url)
    async with holder.transaction():
        await holder.execute("SELECT pg_advisory_xact_lock(hashtextextended('qengine public', 0))")
        process = cli.start("migrate")
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(30):
            while not await holder.fetchval(waiting):
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.to_thread(process.communicate, timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err == "qengine: interrupted; the migration that was under way is undone, and `qengine migrate` goes on from there\n"
    assert await holder.fetchval("SELECT to_regclass('qengine_jobs')") is None
    await holder.close()
