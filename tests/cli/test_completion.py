"""What the shell is offered: statuses, and the names that the database at hand knows."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import Cli

from qengine import Engine, WorkerInfo


def offered(cli: Cli, line: str, **environment: str) -> list[str]:
    """The answer to Tab at the end of a command line, as bash asks for it, from a real process."""
    words = line.split(" ")
    asked = {"_QENGINE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", "from qengine.cli import main; main()"],
        env={**os.environ, "QENGINE_URL": cli.url, "APP_URL": cli.url, **asked, **environment},
        cwd=cli.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1] if done.stdout.strip() else []


def test_statuses(cli: Cli) -> None:
    assert offered(cli, "qengine jobs --status c") == ["completed", "cancelled"]
    assert offered(cli, "qengine tail --event d") == ["dead"]


def test_types(cli: Cli) -> None:
    cli.enqueue("send_mail")
    cli.enqueue("send_letter")
    cli.enqueue("other")
    cli.engine(lambda engine: engine.backend.heartbeat(WorkerInfo("w", "h", 1, "1", ["send_fax"], None, 1)))
    assert offered(cli, "qengine jobs --type se") == ["send_fax", "send_letter", "send_mail"]
    assert offered(cli, "qengine pause --type o") == ["other"]
    assert offered(cli, "qengine enqueue send_m") == ["send_mail"]
    assert offered(cli, "qengine jobs --dsn app:engine --type li") == ["linger", "linger_in_a_process", "linger_in_a_thread"]
    assert offered(cli, "qengine jobs app:engine --type lin", QENGINE_URL="")[0] == "linger"


def test_queues_groups_and_schedules(cli: Cli) -> None:
    cli.enqueue("a", queue="mail")
    cli.dead()
    cli.engine(lambda engine: engine.backend.heartbeat(WorkerInfo("w", "h", 1, "1", ["a"], ["more-mail"], 1)))

    async def declare(engine: Engine) -> None:
        @engine.cron("0 0 1 1 *")
        @engine.task()
        async def plan() -> None: ...

        await engine.drain(types=["plan"])

    cli.engine(declare)
    assert offered(cli, "qengine jobs --queue m") == ["mail", "more-mail"]
    (group,) = cli.json("dead")["groups"]
    assert offered(cli, "qengine dead requeue ") == [group["group"]]
    assert offered(cli, f"qengine requeue --error {group['group'][:3]}") == [group["group"]]
    assert [name.split(":")[0] for name in offered(cli, "qengine schedules pause pl")] == ["plan"]


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/x.db", "oracle://x", "", "postgresql://127.0.0.1:9/none"])
def test_whatever_goes_wrong_nothing_is_offered(tmp_path: Path, url: str) -> None:
    assert offered(Cli(tmp_path, url), "qengine jobs --type a") == []


def test_asking_leaves_the_log_as_it_was(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from qengine.cli import main

    for name, value in (("_QENGINE_COMPLETE", "complete_bash"), ("COMP_WORDS", "qengine jobs --type x"), ("COMP_CWORD", "3")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("QENGINE_URL", cli.url)
    with pytest.raises(SystemExit):
        main([])
    assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash on this machine")
def test_bash_takes_the_script(cli: Cli) -> None:
    cli.enqueue("send_mail")
    script = """
    source <(qengine --show-completion bash)
    COMP_WORDS=(qengine jobs --type se) COMP_CWORD=3
    _qengine_completion qengine
    echo "${COMPREPLY[@]}"
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "QENGINE_URL": cli.url, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("send_mail\n", "")
