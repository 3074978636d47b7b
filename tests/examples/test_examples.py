"""Every example runs as a reader would run it, as a process, and says what it should."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urljoin

import httpx
import psutil
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PIPELINE = [sys.executable, str(EXAMPLES / "email_pipeline"), "--plain"]
PROMISES = (
    "Each mail is delivered once",
    "A worker killed with SIGKILL loses nothing",
    "Slow enrichment does not delay replies",
    "A poison record ends in the dead letters, and is done once it is mended",
    "A mail refused with 5xx is not tried again",
    "A sync that fails half way goes on from its checkpoint",
    "Crons fire, each time once for all workers",
    "All work gets done, and workers stop when asked",
)
SCRIPTS = {
    "hello.py": ["3 jobs are stored", "hello, Ada, hello, Grace, hello, Edsger"],
    "transactional.py": ["order 2 was rolled back", "jobs to ship: [{'order_id': 1}]", "orders: [(1, 'kettle', 'shipped')]"],
    "cron.py": ["every two seconds: ", "then, one run for all that was missed: ", "*/5 8-18 * * 1-6 comes next at "],
    "rate_limited_api.py": ["20 calls at 5 per 0.5 s", "attempts spent per job: 1"],
    "checkpointed_import.py": ["worker exited with 9", "worker exited with 0", "1000 rows; began at row 500; attempts spent: 1"],
    "embedded_fastapi.py": ["signing up twice: 201, then 409", "the welcome job: {'status': 'completed'}; jobs in all: 1"],
    "alert_by_mail.py": ["51 jobs failed; 2 mails were sent:", "  ship: LookupError: order * has no address"],
    "two_workers_postgres.py": ["400 jobs done in 400 attempts"],
}


def started(command: list[str], folder: Path) -> subprocess.Popen[str]:
    """The process, with what it prints in `folder`/out and its temporary files beside that."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    with (folder / "out").open("w") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True, env=environment, cwd=folder)


def printed(folder: Path) -> str:
    return (folder / "out").read_text()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that others may enter, as root's PostgreSQL must: each pytest that starts closes the common one to them."""
    with open_folder() as folder:
        yield folder


@contextmanager
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="qengine-example-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def pipelines() -> Iterator[dict[str, tuple[subprocess.Popen[str], Path]]]:
    """The email pipeline on both databases, side by side: each takes a minute, and mostly waits."""
    flags = {"sqlite": ["--stay"], "postgres": ["--postgres"]}
    with ExitStack() as stack:
        folders = {name: stack.enter_context(open_folder()) for name in flags}
        running = {name: (started([*PIPELINE, *flags[name]], folder), folder) for name, folder in folders.items()}
        yield running
        for process, _ in running.values():
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=60)


@pytest.mark.parametrize("script", SCRIPTS)
def test_script(script: str, tmp_path: Path, pipelines: object) -> None:
    process = started([sys.executable, str(EXAMPLES / script)], tmp_path)
    status = process.wait(timeout=120)
    assert status == 0, printed(tmp_path)
    assert [line for line in SCRIPTS[script] if line not in printed(tmp_path)] == [], printed(tmp_path)
    assert "Traceback" not in printed(tmp_path)
    assert "Warning" not in printed(tmp_path)


def test_every_example_is_run_and_listed() -> None:
    there = {path.name for path in EXAMPLES.iterdir() if path.suffix == ".py"}
    assert there == set(SCRIPTS)
    listed = set(re.findall(r"^\| \[(\S+)\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    assert listed == there | {"email_pipeline/"}


def until_printed(text: str, process: subprocess.Popen[str], folder: Path) -> str:
    deadline = time.monotonic() + 240
    while text not in (out := printed(folder)):
        assert process.poll() is None, out
        assert time.monotonic() < deadline, out
        time.sleep(0.1)
    return out


def mend_the_record(process: subprocess.Popen[str], folder: Path) -> None:
    """Look at the dashboard, and do with the command line what is printed for whoever watches."""
    out = until_printed("Ctrl-C ends it all", process, folder)
    [link] = set(re.findall(r"http://127\.0\.0\.1:\d+/\?token=\S+", out))
    with httpx.Client(follow_redirects=True) as browser:
        assert "Dead letters" in browser.get(link).text
        assert "there is no prospect" in browser.get(urljoin(link, "/dead")).text
    script = out.partition("export ")[2].partition("Ctrl-C")[0]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-euc", f"export {script}"], capture_output=True, text=True, timeout=60, env=os.environ | {"PATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LookupError: there is no prospect 1000" in done.stdout
    until_printed("you mended it", process, folder)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_email_pipeline(database: str, pipelines: dict[str, tuple[subprocess.Popen[str], Path]]) -> None:
    process, folder = pipelines[database]
    if database == "sqlite":
        mend_the_record(process, folder)
        process.send_signal(signal.SIGINT)
    status = process.wait(timeout=240)
    out = printed(folder)
    assert status == 0, out
    assert [promise for promise in PROMISES if f"kept   {promise}" not in out] == [], out
    assert "all promises were kept" in out
    assert len(re.findall(r"attempt \d: ValueError: Invalid IPv6 URL", out)) == 3, "the history of the poison record"
    assert "Traceback" not in out
    crashed = r"lost its lease"
    logs = "".join(path.read_text() for path in folder.glob("email-pipeline-*/worker-*.log"))
    assert re.search(crashed, logs), "no worker took over from the one that was killed"


def test_email_pipeline_says_what_is_broken(tmp_path: Path) -> None:
    """Cut short, it has not kept its promises, and says so."""
    process = started([*PIPELINE, "--seconds", "4"], tmp_path)
    assert process.wait(timeout=120) == 1
    assert "the 4 s are over" in printed(tmp_path)
    assert "BROKEN A worker killed with SIGKILL loses nothing" in printed(tmp_path)
    assert "a promise was broken" in printed(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_email_pipeline_leaves_nothing_running(number: signal.Signals, tmp_path: Path) -> None:
    process = started(PIPELINE, tmp_path)
    deadline = time.monotonic() + 60
    while "two workers start" not in printed(tmp_path):
        assert time.monotonic() < deadline, printed(tmp_path)
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3
    process.send_signal(number)
    assert process.wait(timeout=60) == 130
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert "nothing is left running" in printed(tmp_path)
    assert "Traceback" not in printed(tmp_path)


def test_email_pipeline_refuses_a_used_database(tmp_path: Path) -> None:
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE demo_outbox (x)')"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "used.db")], check=True)
    process = started([*PIPELINE, f"sqlite:///{tmp_path / 'used.db'}"], tmp_path)
    assert process.wait(timeout=60) == 2
    assert "give an empty one" in printed(tmp_path)
