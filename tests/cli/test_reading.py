import json
import re
import subprocess

from command import Cli

JOB_KEYS = [
    "id", "type", "queue", "priority", "payload", "status",
    "attempts", "max_attempts", "crashes", "last_error", "dead_reason", "scheduled_for",
    "rank", "locked_until", "locked_by", "lease_token", "unique_key", "partition_key",
    "timeout", "expires_at", "result", "progress", "checkpoint", "headers",
    "created_at", "updated_at", "started_at", "completed_at", "error_group",
]  # fmt: skip
STATUSES = ["pending", "processing", "completed", "failed", "dead", "cancelled"]


def test_stats_as_json(cli: Cli) -> None:
    cli.enqueue("add", {"a": 1})
    cli.enqueue("add", {"a": 1})
    cli("worker", "app:engine", "--once")
    cli.enqueue("elsewhere", queue="mail")
    found = cli.json("stats")
    assert list(found) == ["by_status", "by_type", "by_queue", "avg_attempts", "oldest_pending", "unhandled", "workers"]
    assert found["by_status"] == dict.fromkeys(STATUSES, 0) | {"pending": 1, "completed": 2}
    assert found["by_type"]["add"] == dict.fromkeys(STATUSES, 0) | {"completed": 2}
    assert found["by_queue"]["mail"]["pending"] == 1
    assert found["avg_attempts"] == {"add": 1.0}
    assert 0 <= found["oldest_pending"] < 60
    assert found["unhandled"] == {"elsewhere": 1}
    assert found["workers"] == 0


def test_stats_for_people(cli: Cli) -> None:
    cli.enqueue("elsewhere")
    lines = [line.split() for line in cli.inside("stats").stdout.splitlines()]
    assert lines[0] == ["type", *STATUSES, "attempts"]
    assert lines[1] == ["elsewhere", "1", "0", "0", "0", "0", "0"]
    assert lines[2] == ["all", "1", "0", "0", "0", "0", "0"]
    assert "no live worker handles elsewhere: 1 job waiting" in cli.inside("stats").stdout


def test_stats_of_an_empty_database(cli: Cli) -> None:
    assert "nothing is due" in cli.inside("stats").stdout
    assert cli.json("stats")["oldest_pending"] is None


def test_jobs_are_filtered(cli: Cli) -> None:
    first, second = cli.enqueue("add", {"a": 1}), cli.enqueue("other", queue="mail")
    third = cli.enqueue("add", {"a": 2}, delay=3600)
    cli.inside("cancel", third)

    def ids(*filters: str) -> list[int]:
        return [job["id"] for job in cli.json("jobs", *filters)["jobs"]]

    assert ids() == [first, second, third]
    assert ids("--newest-first") == [third, second, first]
    assert ids("--type", "add") == [first, third]
    assert ids("--queue", "mail") == [second]
    assert ids("--status", "cancelled") == [third]
    assert ids("--status", "pending", "--type", "add") == [first]
    assert ids("--status", "pending", "--status", "cancelled") == [first, second, third]
    assert ids("--type", "unheard-of") == []


def test_jobs_come_in_pages(cli: Cli) -> None:
    ids = [cli.enqueue("add", {"a": n}) for n in range(3)]
    page = cli.json("jobs", "--limit", "2")
    assert ([job["id"] for job in page["jobs"]], page["after"]) == (ids[:2], ids[1])
    page = cli.json("jobs", "--limit", "2", "--after", page["after"])
    assert ([job["id"] for job in page["jobs"]], page["after"]) == (ids[2:], None)
    assert f"--after {ids[1]}" in cli.inside("jobs", "--limit", "2").stdout


def test_a_job_in_json_has_stable_keys(cli: Cli) -> None:
    cli.enqueue("add", {"a": 1}, unique_key="k", delay=60)
    (job,) = cli.json("jobs")["jobs"]
    assert list(job) == JOB_KEYS
    assert job["payload"] == {"a": 1}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", job["scheduled_for"])


def test_jobs_for_people(cli: Cli) -> None:
    waiting, dead = cli.enqueue("add", {"a": 1}, delay=7200), cli.dead()
    out = cli.inside("jobs").stdout
    assert re.search(rf"^ *{waiting} +add +default +pending +5 +0/3 +due in (119|120) min", out, re.MULTILINE)
    assert re.search(
        rf"^ *{dead} +fail +default +dead \(exhausted\) +5 +1/1 +ended .* ago +ValueError: no such user", out, re.MULTILINE
    )


def test_show_tells_the_history(cli: Cli) -> None:
    job_id = cli.dead()
    shown = cli.json("show", job_id)
    assert list(shown) == [*JOB_KEYS, "errors", "actions"]
    assert (shown["status"], shown["dead_reason"]) == ("dead", "exhausted")
    (error,) = shown["errors"]
    assert list(error) == ["job_id", "attempt", "worker", "started_at", "ended_at", "error", "traceback"]
    assert (error["attempt"], error["error"]) == (1, "ValueError: no such user")
    out = cli.inside("show", job_id).stdout
    assert "dead (exhausted)" in out
    assert '"message": "no such user"' in out
    assert "raise ValueError(message)" in out


def test_show_tells_the_result(cli: Cli) -> None:
    job_id = cli.enqueue("add", {"a": 40, "b": 2})
    cli("worker", "app:engine", "--once")
    assert cli.json("show", job_id)["result"] == 42
    assert "result\n42\n" in cli.inside("show", job_id).stdout


def test_show_without_such_a_job(cli: Cli) -> None:
    assert "no job 4711" in cli.fails("show", 4711, code=1)
    assert "no job 4711" in cli.fails("show", 4711, "--json", code=1)


def test_what_a_job_carries_is_shown_as_text(cli: Cli) -> None:
    hostile = "\x1b[31mred\x1b[0m [bold]markup[/bold] :boom: \x9b2J \u202ereversed"
    job_id = cli.dead(message=hostile)
    for out in (cli.inside("show", job_id).stdout, cli.inside("jobs").stdout):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)
        assert "[bold]markup[/bold] :boom:" in out
        assert r"\x1b[31mred" in out
    assert cli.json("show", job_id)["payload"] == {"message": hostile}


def test_names_of_people_survive(cli: Cli) -> None:
    job_id = cli.enqueue("add", {"a": "Jürgen 李 🦊"})
    assert "Jürgen 李 🦊" in cli("show", job_id).stdout
    assert "rgen" in cli("show", job_id, env={"PYTHONIOENCODING": "ascii"}).stdout


def test_a_reader_that_goes_away_is_no_error(cli: Cli) -> None:
    for n in range(3):
        cli.enqueue("add", {"a": n, "b": "x" * 100_000})
    process = cli.start("jobs", "--json")
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait(timeout=20) == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_json_is_all_that_is_on_stdout(cli: Cli) -> None:
    for command in (["stats"], ["jobs"], ["migrate"], ["show", cli.enqueue("add")]):
        done: subprocess.CompletedProcess[str] = cli(*command, "--json")
        json.loads(done.stdout)
        assert done.stderr == ""
