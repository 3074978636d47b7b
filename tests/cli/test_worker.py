"""Signals and the ends of a worker process. A job that was put back has spent no attempt and no crash."""

import os
import re
import signal
import subprocess
import time

import pytest
from command import Cli

STARTED = "started"


def started(cli: Cli, task: str, *options: str, seconds: float = 60, **popen: bool) -> tuple[subprocess.Popen[str], int]:
    """A worker in the middle of a job, and the job's id."""
    job_id = cli.enqueue(task, {"seconds": seconds})
    process = cli.start("worker", "app:engine", *options, **popen)
    cli.wait_for(STARTED)
    return process, job_id


def end(process: subprocess.Popen[str], code: int, within: float = 15.0) -> str:
    """Wait for the worker's end; what it logged."""
    began = time.monotonic()
    _, logged = process.communicate(timeout=40)
    assert process.returncode == code, logged
    assert time.monotonic() - began < within, logged
    assert "Traceback" not in logged
    return logged


def assert_put_back(cli: Cli, job_id: int) -> None:
    job = cli.job(job_id)
    assert (job.status, job.attempts, job.crashes, job.locked_by) == ("pending", 0, 0, None)
    assert job.rank is not None
    assert cli.json("show", job_id)["errors"] == []


def test_once_runs_what_is_due_and_exits(cli: Cli) -> None:
    done, later = cli.enqueue("add", {"a": 1, "b": 2}), cli.enqueue("add", {"a": 1}, delay=60)
    cli("worker", "app:engine", "--once")
    assert (cli.job(done).result, cli.job(later).status) == (3, "pending")


def test_queues_and_types(cli: Cli) -> None:
    mail, other = cli.enqueue("add", {"a": 1}, queue="mail"), cli.enqueue("add", {"a": 1}, queue="other")
    cli("worker", "app:engine", "--once", "--queue", "mail", "--queue", "default")
    assert (cli.job(mail).status, cli.job(other).status) == ("completed", "pending")
    cli("worker", "app:engine", "--once", "--type", "fail")
    assert cli.job(other).status == "pending"
    cli("worker", "app:engine", "--once", "--type", "add", "--type", "fail")
    assert cli.job(other).status == "completed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_jobs_end(cli: Cli, number: signal.Signals) -> None:
    process, job_id = started(cli, "linger", seconds=1.5)
    process.send_signal(number)
    logged = end(process, 0)
    assert "stopping: running jobs have 30 s to end" in logged
    job = cli.job(job_id)
    assert (job.status, job.attempts, job.result) == ("completed", 1, "done")


def test_a_stopping_worker_claims_nothing_more(cli: Cli) -> None:
    process, _ = started(cli, "linger", seconds=1.5)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    late = cli.enqueue("add", {"a": 1})
    end(process, 0)
    assert cli.job(late).attempts == 0


def test_what_outlasts_the_grace_is_put_back(cli: Cli) -> None:
    process, job_id = started(cli, "linger", "--grace", "0.2")
    process.send_signal(signal.SIGTERM)
    end(process, 0)
    assert_put_back(cli, job_id)
    assert not (cli.folder / "ended").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_puts_back_at_once(cli: Cli, number: signal.Signals, code: int) -> None:
    process, job_id = started(cli, "linger")
    process.send_signal(number)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(number)
    assert "stopping at once" in end(process, code)
    assert_put_back(cli, job_id)


def test_a_signal_that_comes_twice_at_once_counts_once(cli: Cli) -> None:
    """As `timeout` sends it: to the process, and to its group."""
    process, job_id = started(cli, "linger", seconds=1.5)
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    end(process, 0)
    assert cli.job(job_id).status == "completed"


def test_different_signals_right_after_each_other_count_as_two(cli: Cli) -> None:
    process, job_id = started(cli, "linger")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert end(process, process.wait(timeout=20)) is not None
    assert process.returncode in (130, 143)
    assert_put_back(cli, job_id)


def test_a_third_signal_ends_a_worker_whose_loop_is_blocked(cli: Cli) -> None:
    process, _ = started(cli, "block_the_loop")
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    end(process, 143, within=3)


def test_a_handler_in_a_thread_does_not_keep_the_process(cli: Cli) -> None:
    process, job_id = started(cli, "linger_in_a_thread", "--grace", "0.2")
    process.send_signal(signal.SIGTERM)
    assert "still runs in a thread" in end(process, 0)
    assert_put_back(cli, job_id)


def test_ctrl_c_in_a_terminal_does_not_fail_a_handler_in_a_process(cli: Cli) -> None:
    """The terminal signals the whole group of processes, the handler's own among them."""
    process, job_id = started(cli, "linger_in_a_process", seconds=1.5, start_new_session=True)
    os.killpg(process.pid, signal.SIGINT)
    end(process, 0)
    job = cli.job(job_id)
    assert (job.status, job.attempts) == ("completed", 1)


def test_signals_stop_once_too(cli: Cli) -> None:
    process, job_id = started(cli, "linger", "--once", "--grace", "0.2")
    process.send_signal(signal.SIGTERM)
    end(process, 0)
    assert_put_back(cli, job_id)


def test_the_log_holds_no_payload(cli: Cli) -> None:
    cli.enqueue("add", {"a": 1, "b": 424242424242})
    cli.enqueue("add", {"a": "secret-payload"})
    logged = cli("worker", "app:engine", "--once").stderr
    assert "working for app:engine" in logged
    assert "424242424242" not in logged
    assert "secret-payload" not in logged


def test_the_level_of_the_log(cli: Cli) -> None:
    assert "working for" not in cli("worker", "app:engine", "--once", "--log-level", "warning").stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "MODULE:ENGINE"),
        (["app:engine", "--concurrency", "0"], "--concurrency"),
        (["app:engine", "--grace", "-1"], "--grace"),
        (["app:engine", "--type", "unheard-of"], "unheard-of"),
    ],
)
def test_wrong_options(cli: Cli, arguments: list[str], says: str) -> None:
    last = cli("worker", *arguments, code=2).stderr.splitlines()[-1]
    assert re.match("qengine: .*" + re.escape(says), last)
