"""`qengine web`, in real processes."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from command import APP, Cli

TOKEN = "a-token-from-the-environment"


@pytest.fixture
def cli(tmp_path: Path, url: str) -> Iterator[Cli]:
    """The command, beside app.py, with an empty database that is migrated."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    runner = Cli(folder, url)
    runner.engine(lambda engine: engine.backend.now())
    yield runner
    for process in runner.started:
        process.kill()
        process.communicate()


def stopped(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str, str]:
    """The exit code of a server that is told to stop, and what it said after its first line."""
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("where", ["app:engine", ""])
def test_the_link_that_it_prints_opens_the_dashboard(cli: Cli, where: str) -> None:
    process = cli.start("web", where or cli.url, "--port", "0")
    link = first_line(process)
    assert urlsplit(link).hostname == "127.0.0.1"
    with httpx.Client(follow_redirects=True, headers={"accept": "text/html"}) as browser:
        assert browser.get(link.partition("?")[0]).status_code == 401
        page = browser.get(link)
        assert (page.status_code, page.url.query) == (200, b"")
        assert browser.get(f"{page.url}jobs").status_code == 200
        assert "server" not in page.headers
        assert browser.get(f"{page.url}jobs", headers={"host": "evil.example"}).status_code == 421
        with browser.stream("GET", f"{page.url}live") as events:  # it watches while the server is told to stop
            assert events.status_code == 200
            code, out, err = stopped(process, signal.SIGINT)
    assert (code, out, err) == (0, "", "")


def test_a_token_of_ones_own_is_not_printed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QENGINE_WEB_TOKEN", TOKEN)
    process = cli.start("web", "--port", "0", "--read-only")
    line = first_line(process)
    assert TOKEN not in line
    assert "QENGINE_WEB_TOKEN" in line
    address = next(word for word in line.split() if word.startswith("http"))
    with httpx.Client(headers={"authorization": f"Bearer {TOKEN}"}) as program:
        assert "read-only" in program.get(address).text
        assert program.post(f"{address}pause").status_code == 403
    code, _, err = stopped(process)
    assert (code, err) == (0, "")


def test_listening_beyond_this_machine_comes_with_a_warning(cli: Cli) -> None:
    process = cli.start("web", cli.url, "--host", "0.0.0.0", "--port", "0")
    port = urlsplit(first_line(process)).port
    answer = httpx.get(f"http://127.0.0.1:{port}/", headers={"host": "queue.example"})
    assert answer.status_code == 401
    _, _, err = stopped(process)
    assert "TLS" in err


def test_what_cannot_be_served_is_one_line(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.fails("web", "--port", port, code=1).startswith(f"cannot listen on 127.0.0.1, port {port}: ")
    assert "16 ASCII characters" in cli.fails("web", code=2, env={"QENGINE_WEB_TOKEN": "short"})
    assert "is neither a database URL nor" in cli.fails("web", "somewhere", code=2)
