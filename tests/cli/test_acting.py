import datetime as dt
import json
from pathlib import Path

import pytest
from command import Cli

from qengine import Engine


def count(cli: Cli) -> int:
    return sum(cli.json("stats")["by_status"].values())


def test_the_whole_way_in_real_processes(cli: Cli) -> None:
    assert cli("enqueue", "add", "a=40", "b=2").stdout == "job 1 enqueued\n"
    assert cli("enqueue", "fail", "message=no", "--max-attempts", "1", "--json").stdout.startswith("{")
    cli("worker", "app:engine", "--once")
    assert "dead (exhausted)" in cli("jobs").stdout
    assert "result\n42\n" in cli("show", 1).stdout
    assert cli("requeue", 2).stdout == "1 job requeued\n"
    assert cli("cancel", 2).stdout == "1 job cancelled\n"
    assert json.loads(cli("stats", "--json").stdout)["by_status"]["cancelled"] == 1


def test_enqueue_from_pairs(cli: Cli) -> None:
    done = cli.json("enqueue", "send", "to=a@example.com", "n=5", "flag=true", 'text="5"', "list=[1, 2]", "empty=", "eq=a=b")
    job = cli.job(done["id"])
    assert (job.type, job.status) == ("send", "pending")
    assert job.payload == {
        "to": "a@example.com", "n": 5, "flag": True, "text": "5", "list": [1, 2], "empty": "", "eq": "a=b"
    }  # fmt: skip
    assert done["existed"] is False


def test_enqueue_from_json(cli: Cli) -> None:
    done = cli.inside("enqueue", "send", "--payload", '{"to": "ü@example.com"}')
    job_id = int(done.stdout.split()[1])
    assert done.stdout == f"job {job_id} enqueued\n"
    assert cli.job(job_id).payload == {"to": "ü@example.com"}


def test_enqueue_from_stdin(cli: Cli) -> None:
    assert cli.job(cli.json("enqueue", "send", "-p", "-", stdin='{"a": 1}')["id"]).payload == {"a": 1}


def test_enqueue_without_a_payload(cli: Cli) -> None:
    assert cli.job(cli.json("enqueue", "send")["id"]).payload == {}


def test_enqueue_with_every_option(cli: Cli) -> None:
    options = (
        "--priority 2 --queue mail --unique-key k --max-attempts 9 --timeout 1.5 --expires 90 --at 2090-01-31T08:00:00+01:00"
    )
    job = cli.job(cli.json("enqueue", "send", *options.split())["id"])
    assert (job.priority, job.queue, job.unique_key, job.max_attempts, job.timeout) == (2, "mail", "k", 9, 1.5)
    assert job.scheduled_for == dt.datetime(2090, 1, 31, 7, tzinfo=dt.UTC)
    assert job.expires_at - job.created_at == dt.timedelta(seconds=90)
    later = cli.job(cli.json("enqueue", "send", "--delay", "60")["id"])
    assert later.scheduled_for - later.created_at == dt.timedelta(seconds=60)


def test_enqueue_says_when_the_unique_key_was_taken(cli: Cli) -> None:
    first = cli.json("enqueue", "send", "--unique-key", "k")
    second = cli.json("enqueue", "send", "--unique-key", "k")
    assert (second["id"], second["existed"]) == (first["id"], True)
    assert "nothing was stored" in cli.inside("enqueue", "send", "--unique-key", "k").stdout
    assert count(cli) == 1


def test_an_applications_engine_checks_the_payload(cli: Cli) -> None:
    assert "'c'" in cli.fails("enqueue", "add", "a=1", "c=2", "--dsn", "app:engine", code=2)
    assert "a" in cli.fails("enqueue", "add", 'a="one"', "--dsn", "app:engine", code=2)
    assert count(cli) == 0
    cli.inside("enqueue", "add", "a=1", "--dsn", "app:engine")
    assert count(cli) == 1


def test_requeue_by_id(cli: Cli) -> None:
    job_id = cli.dead()
    assert cli.inside("requeue", job_id).stdout == "1 job requeued\n"
    job = cli.job(job_id)
    assert (job.status, job.attempts) == ("pending", 0)


def test_requeue_names_each_job_that_it_left_alone(cli: Cli) -> None:
    dead, waiting = cli.dead(), cli.enqueue("add", {"a": 1})
    done = cli.inside("requeue", dead, waiting, 4711, dead, code=1)
    assert done.stdout == "1 job requeued\n"
    first, second = done.stderr.splitlines()
    assert first == f"qengine: job {waiting} is pending and was not requeued"
    assert "no job 4711" in second
    assert cli.job(dead).status == "pending"


def test_requeue_by_filter_means_dead_jobs(cli: Cli) -> None:
    dead, other = cli.dead(), cli.enqueue("fail", {"message": "x"})
    cli.inside("cancel", other)
    assert cli.json("requeue", "--type", "fail") == {"requeued": 1}
    assert (cli.job(dead).status, cli.job(other).status) == ("pending", "cancelled")
    assert cli.json("requeue", "--type", "fail", "--status", "cancelled") == {"requeued": 1}


def test_requeue_by_group_of_errors(cli: Cli) -> None:
    wanted, other = cli.dead("user 17 is gone"), cli.dead("no route to host")
    group = cli.job(wanted).error_group
    assert cli.json("requeue", "--error", group) == {"requeued": 1}
    assert (cli.job(wanted).status, cli.job(other).status) == ("pending", "dead")


def test_named_jobs_have_no_rate(cli: Cli) -> None:
    dead = cli.dead()
    assert "--rate goes with a filter" in cli.fails("requeue", dead, "--rate", "1", code=2)
    assert cli.job(dead).status == "dead"


def test_requeue_all(cli: Cli) -> None:
    first, second = cli.dead(), cli.dead()
    completed = cli.enqueue("add", {"a": 1})
    cli("worker", "app:engine", "--once")
    assert cli.inside("requeue", "--all").stdout == "2 jobs requeued\n"
    assert [cli.job(i).status for i in (first, second, completed)] == ["pending", "pending", "completed"]
    assert cli.inside("requeue", "--all").stdout == "0 jobs requeued\n"


@pytest.mark.parametrize("command", ["requeue", "cancel", "delete"])
def test_nothing_named_is_refused(cli: Cli, command: str) -> None:
    job_id = cli.enqueue("add", {"a": 1})
    assert "which jobs?" in cli.fails(command, code=2)
    assert "not both" in cli.fails(command, job_id, "--type", "add", code=2)
    assert "not both" in cli.fails(command, job_id, "--all", code=2)
    assert "valid integer" in cli.fails(command, "one", code=2)
    assert cli.job(job_id).status == "pending"


@pytest.mark.parametrize("command", ["requeue", "cancel", "delete"])
def test_a_filter_that_matches_nothing_is_told_by_the_exit_code(cli: Cli, command: str) -> None:
    assert cli.inside(command, "--type", "unheard-of", "--yes", code=1).stdout.startswith("0 jobs ")


def test_cancel(cli: Cli) -> None:
    first, second, later = cli.enqueue("add", {"a": 1}), cli.enqueue("other"), cli.enqueue("other", delay=60)
    assert cli.json("cancel", first) == {"cancelled": 1}
    assert cli.inside("cancel", first, code=1).stderr == f"qengine: job {first} is cancelled and was not cancelled\n"
    assert cli.json("cancel", "--type", "other", "--queue", "mail", "--yes", code=1) == {"cancelled": 0}
    assert cli.inside("cancel", "--all", "--yes").stdout == "2 jobs cancelled\n"
    assert [cli.job(i).status for i in (first, second, later)] == ["cancelled"] * 3


def test_migrate_reports_what_it_did(tmp_path: Path, url: str) -> None:
    cli = Cli(tmp_path, url)
    assert "qengine migrate" in cli.fails("stats", code=4)
    applied = cli.json("migrate")["applied"]
    assert applied
    assert applied[0].startswith("0001_")
    assert cli.json("migrate", url) == {"applied": []}
    assert cli.inside("migrate").stdout == "the schema is up to date\n"
    assert count(cli) == 0


def test_migrate_prints_its_sql_and_touches_nothing(tmp_path: Path, url: str) -> None:
    cli = Cli(tmp_path, url)
    assert "CREATE TABLE" in cli.inside("migrate", "--sql").stdout
    cli.fails("stats", code=4)


def test_an_applications_engine_is_migrated_whatever_its_own_setting(tmp_path: Path, url: str) -> None:
    (tmp_path / "app.py").write_text(
        "import os\nfrom qengine import Engine\nengine = Engine(os.environ['APP_URL'], migrate=False)\n"
    )
    cli = Cli(tmp_path, url)
    assert "qengine migrate" in cli.fails("stats", "app:engine", code=4)
    assert "0001_" in cli.inside("migrate", "app:engine").stdout
    assert Engine(url).registry.names == ()
    cli.inside("stats", "app:engine")
