import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import Cli

ENDS = "All jobs are completed, each once."


@pytest.fixture
def url(sqlite_url: str) -> str:
    """The demo makes a database of its own."""
    return sqlite_url


def test_the_demo_shows_retries_priorities_and_a_dead_letter(cli: Cli, tmp_path: Path) -> None:
    done = cli("demo", env={"TMPDIR": str(tmp_path)})
    assert re.search(r"^enrich_website: .*\d+ pending.*; send_email: ", done.stdout, re.MULTILINE)
    assert "Job 32 is dead (exhausted). Its history:" in done.stdout
    assert done.stdout.count("ValueError: 550 no such user here") == 3
    assert "requeued: 250 accepted for nobody@example.com." in done.stdout
    assert ENDS in done.stdout
    assert done.stderr == ""
    assert not list(tmp_path.glob("qengine-demo-*"))


def test_the_demo_keeps_its_database_when_told_to(cli: Cli, tmp_path: Path) -> None:
    done = cli("demo", "--keep", env={"TMPDIR": str(tmp_path)})
    url = done.stdout.split()[-1]
    assert cli.json("stats", url)["by_status"]["completed"] == 38


def test_the_demo_draws_a_live_table_on_a_terminal(cli: Cli) -> None:
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen([sys.executable, "-m", "qengine", "demo"], stdin=end, stdout=end, stderr=end, env=environment)
    os.close(end)
    shown = b""
    try:
        while block := os.read(terminal, 65_536):
            shown += block
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(terminal)
    assert process.wait(timeout=60) == 0
    assert shown.count(b"process_reply") > 2
    assert b"\x1b[" in shown
    assert ENDS.encode() in shown
