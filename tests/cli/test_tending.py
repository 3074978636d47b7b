"""The commands that tend a queue: dead letters by group, amending, deleting, pausing, schedules, and the record of it all."""

import datetime as dt
import json

import pytest
from command import Cli

from qengine import Engine, WorkerInfo
from qengine.backends.protocol import Demand

GROUP_KEYS = ["group", "type", "error", "count", "dead", "first", "last", "sample"]


def statuses(cli: Cli, *ids: int) -> list[str]:
    return [str(cli.job(id).status) for id in ids]


# -- the story of a newcomer


def test_a_poison_record_is_found_read_mended_and_requeued(cli: Cli) -> None:
    """With the output of each command as the only guide to the next."""
    cli("enqueue", "add", "a=one", "b=2", "--max-attempts", "1")
    cli("worker", "app:engine", "--once")
    listed = cli.inside("dead").stdout
    assert "payload does not fit" in listed
    advice = listed.splitlines()[-1]
    show = advice.partition("qengine show ")[2].partition(";")[0]
    shown = cli.inside("show", show).stdout
    assert '"a": "one"' in shown
    assert f"qengine amend {show} KEY=VALUE" in shown
    amended = cli.inside("amend", show, "a=40").stdout
    assert amended == f"job {show} amended; it is dead; `qengine requeue {show}` runs it again\n"
    cli.inside("requeue", show)
    cli("worker", "app:engine", "--once")
    again = cli.inside("show", show).stdout
    assert "result\n42\n" in again
    assert '{"before": {"payload": {"a": "one", "b": 2}' in again
    assert cli.inside("dead").stdout == "nothing is dead\n"


# -- dead


def test_dead_jobs_are_listed_by_group(cli: Cli) -> None:
    ids = [cli.dead("user 17 is gone"), cli.dead("user 18 is gone"), cli.dead("no route to host")]
    groups = cli.json("dead")["groups"]
    assert [list(group) for group in groups] == [GROUP_KEYS] * 2
    assert [(group["dead"], group["sample"], group["error"]) for group in groups] == [
        (2, ids[1], "ValueError: user * is gone"),
        (1, ids[2], "ValueError: no route to host"),
    ]
    out = cli.inside("dead").stdout
    assert groups[0]["group"] in out
    assert f"qengine dead requeue {groups[0]['group']}" in out
    assert len(cli.json("dead", "--limit", 1)["groups"]) == 1
    assert cli.json("dead", "--type", "other") == {"groups": []}


def test_what_is_still_retried_is_listed_when_asked_for(cli: Cli) -> None:
    job_id = cli.enqueue("fail", {"message": "not yet"})
    assert cli.inside("dead").stdout == "nothing is dead\n"
    cli("worker", "app:engine", "--once")
    assert "--retrying lists them" in cli.inside("dead").stdout
    (group,) = cli.json("dead", "--retrying")["groups"]
    assert (group["count"], group["dead"], group["sample"]) == (1, 0, job_id)


def test_groups_are_requeued_by_short_name(cli: Cli) -> None:
    first, second, other = cli.dead("user 17 is gone"), cli.dead("user 18 is gone"), cli.dead("no route to host")
    groups = {group["error"]: group["group"] for group in cli.json("dead")["groups"]}
    assert cli.json("dead", "requeue", groups["ValueError: user * is gone"][:7]) == {"requeued": 2}
    assert statuses(cli, first, second, other) == ["pending", "pending", "dead"]
    assert cli.inside("dead", "requeue", groups["ValueError: no route to host"]).stdout == "1 job requeued\n"


def test_groups_are_requeued_by_filter(cli: Cli) -> None:
    first, other = cli.dead("user 17 is gone"), cli.dead("no route to host")
    assert cli.json("dead", "requeue", "--error", "ValueError: user * is gone") == {"requeued": 1}
    assert statuses(cli, first, other) == ["pending", "dead"]
    assert cli.json("dead", "requeue", "--type", "unheard-of", code=1) == {"requeued": 0}
    assert cli.json("dead", "requeue", "--all") == {"requeued": 1}
    assert cli.json("dead", "requeue", "--all") == {"requeued": 0}


def test_which_groups_must_be_clear(cli: Cli) -> None:
    cli.dead("a")
    cli.dead("b")
    assert "which groups?" in cli.fails("dead", "requeue", code=2)
    assert "there is no group 0000" in cli.fails("dead", "requeue", "0000", code=1)
    assert "not both" in cli.fails("dead", "requeue", "0000", "--all", code=2)
    assert "there is no group" in cli.fails("dead", "requeue", "", code=1)


def test_the_beginning_of_several_groups_is_none(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.dead("a")
    cli.dead("b")
    monkeypatch.setattr("qengine.cli.groups.short_name", lambda group: "abcd" + group.error[-1] * 4)
    assert "the beginning of 2 groups" in cli.fails("dead", "requeue", "abcd", code=2)


def test_the_database_may_be_named_before_the_subcommand(cli: Cli) -> None:
    cli.dead()
    elsewhere = {"QENGINE_URL": "sqlite:////no/such/folder/x.db"}
    assert cli.json("dead", "--dsn", cli.url, "requeue", "--all", env=elsewhere) == {"requeued": 1}
    assert cli.json("dead", "requeue", "--all", "--dsn", cli.url, env=elsewhere) == {"requeued": 0}
    assert "/no/such/folder" in cli.fails("dead", "requeue", "--all", env=elsewhere, code=2)
    assert "/no/such/folder" in cli.fails("dead", "--dsn", cli.url, "requeue", "--all", "--dsn", elsewhere["QENGINE_URL"], code=2)


@pytest.mark.parametrize("command", [["dead", "requeue"], ["requeue"]])
def test_jobs_go_back_at_a_rate(cli: Cli, command: list[str]) -> None:
    ids = [cli.dead("gone"), cli.dead("gone"), cli.dead("gone")]
    assert cli.json(*command, "--type", "fail", "--rate", "0.1") == {"requeued": 3}
    due = [cli.job(id).scheduled_for for id in ids]
    assert [round((time - due[0]).total_seconds()) for time in due] == [0, 10, 20]
    assert "rate" in cli.fails(*command, "--type", "fail", "--rate", "0", code=2)


def test_a_rate_is_shared_by_groups(cli: Cli) -> None:
    ids = [cli.dead("a"), cli.dead("a"), cli.dead("b"), cli.dead("b")]
    names = [group["group"] for group in cli.json("dead")["groups"]]
    assert cli.json("dead", "requeue", *names, "--rate", "0.2") == {"requeued": 4}
    due = [cli.job(id).scheduled_for for id in ids]
    assert [round((due[1] - due[0]).total_seconds()), round((due[3] - due[2]).total_seconds())] == [10, 10]


def test_requeue_takes_short_names_too(cli: Cli) -> None:
    first, other = cli.dead("user 17 is gone"), cli.dead("no route to host")
    names = {group["error"]: group["group"] for group in cli.json("dead")["groups"]}
    name = names["ValueError: user * is gone"]
    assert [job["id"] for job in cli.json("jobs", "--error", name)["jobs"]] == [first]
    assert cli.json("requeue", "--error", name, "--type", "other", code=1) == {"requeued": 0}
    assert cli.json("requeue", "--error", name) == {"requeued": 1}
    assert cli.json("requeue", "--error", "0" * 8, code=1) == {"requeued": 0}
    assert statuses(cli, first, other) == ["pending", "dead"]


# -- filters


def test_jobs_are_found_by_text(cli: Cli) -> None:
    ids = [cli.enqueue("send", {"to": f"person-{n}@example.com"}) for n in range(3)]
    found = cli.json("jobs", "--text", "EXAMPLE.com", "--limit", 2)
    assert ([job["id"] for job in found["jobs"]], found["after"] is not None) == (ids[:0:-1], True)
    found = cli.json("jobs", "--text", "example.com", "--after", found["after"])
    assert ([job["id"] for job in found["jobs"]], found["after"]) == (ids[:1], None)
    assert cli.json("cancel", "--text", "person-1@", "--yes") == {"cancelled": 1}
    assert statuses(cli, *ids) == ["pending", "cancelled", "pending"]


def test_jobs_are_chosen_by_their_age(cli: Cli) -> None:
    job_id = cli.enqueue("send")
    created = cli.job(job_id).created_at
    later = (created + dt.timedelta(seconds=1)).isoformat()
    assert len(cli.json("jobs", "--created-after", "2h")["jobs"]) == 1
    assert len(cli.json("jobs", "--created-before", "2h")["jobs"]) == 0
    assert len(cli.json("jobs", "--created-before", later)["jobs"]) == 1
    assert cli.json("delete", "--status", "pending", "--created-after", later, "--yes", code=1) == {"deleted": 0}
    for wrong in ("yesterday", "2 moons", "2030-01-01T00:00:00", "1.2.3h"):
        assert "--created-after" in cli.fails("jobs", "--created-after", wrong, code=2)
    assert "longer ago" in cli.fails("jobs", "--created-after", "99999999999d", code=2)


# -- delete and prune


def test_delete_by_id(cli: Cli) -> None:
    dead, waiting = cli.dead(), cli.enqueue("add")
    assert cli.inside("delete", dead, waiting, 4711, code=1).stdout == "2 jobs deleted\n"
    assert cli.json("jobs") == {"jobs": [], "after": None}


def test_delete_by_filter_means_what_has_ended(cli: Cli) -> None:
    dead, waiting = cli.dead(), cli.enqueue("fail", {"message": "x"})
    assert "add --yes" in cli.fails("delete", "--type", "fail", code=2)
    assert statuses(cli, dead) == ["dead"]
    assert cli.json("delete", "--type", "fail", "--yes") == {"deleted": 1}
    assert statuses(cli, waiting) == ["pending"]
    assert cli.json("delete", "--type", "fail", "--status", "pending", "--yes") == {"deleted": 1}
    assert cli.json("delete", "--all", "--yes") == {"deleted": 0}


@pytest.mark.parametrize("command", [["cancel", "--all"], ["delete", "--all"], ["prune", "--older-than", "1s"]])
def test_a_script_must_say_that_it_is_meant(cli: Cli, command: list[str]) -> None:
    job_id = cli.enqueue("add")
    cli.inside("cancel", job_id)
    assert cli.fails(*command, code=2) == (
        f"{command[0]} acts on every job that meets the filter; add --yes to say that this is meant"
    )
    assert statuses(cli, job_id) == ["cancelled"]


def test_prune(cli: Cli) -> None:
    dead, cancelled = cli.dead(), cli.enqueue("add")
    cli.inside("cancel", cancelled)
    assert cli.json("prune", "--older-than", "7d", "--yes") == {"pruned": 0}
    assert cli.inside("prune", "--older-than", "0s", "--yes").stdout == "1 job pruned\n"
    assert statuses(cli, dead) == ["dead"]
    assert cli.json("prune", "--older-than", "0", "--status", "dead", "--yes") == {"pruned": 1}
    assert "qengine delete" in cli.fails("prune", "--older-than", "0", "--status", "pending", "--yes", code=2)
    assert "write a duration" in cli.fails("prune", "--older-than", "long", "--yes", code=2)


# -- amend


def test_amend_changes_what_is_named_and_leaves_the_rest(cli: Cli) -> None:
    job_id = cli.enqueue("send", {"to": "a", "cc": "b"}, delay=3600)
    amended = cli.json("amend", job_id, "to=c", "--priority", 1)
    assert (amended["payload"], amended["priority"]) == ({"to": "c", "cc": "b"}, 1)
    assert cli.inside("amend", job_id, "--payload", '{"to": "d"}').stdout == f"job {job_id} amended; it is pending\n"
    assert cli.job(job_id).payload == {"to": "d"}
    cli.inside("amend", job_id, "--payload", "-", stdin='{"to": "e"}')
    assert cli.job(job_id).payload == {"to": "e"}
    cli.inside("amend", job_id, "--now")
    job = cli.job(job_id)
    assert job.rank is not None
    assert (job.payload, job.priority) == ({"to": "e"}, 1)
    assert [action["detail"]["before"]["payload"] for action in cli.json("show", job_id)["actions"]] == [
        {"to": "e"}, {"to": "d"}, {"to": "c", "cc": "b"}, {"to": "a", "cc": "b"}
    ]  # fmt: skip


def test_amend_is_refused_with_its_reason(cli: Cli) -> None:
    job_id = cli.dead()
    assert "what is to change?" in cli.fails("amend", job_id, code=2)
    assert "requeue it first" in cli.fails("amend", job_id, "--now", code=2)
    assert "not both" in cli.fails("amend", job_id, "a=1", "--payload", "{}", code=2)
    assert "no job 4711" in cli.fails("amend", 4711, "a=1", code=1)
    assert "massage" in cli.fails("amend", job_id, "massage=1", "--dsn", "app:engine", code=2)
    assert cli.json("audit") == {"entries": [], "before": None}


def test_amend_of_what_is_no_object(cli: Cli) -> None:
    job_id = cli.enqueue("send")

    async def spoil(engine: Engine) -> None:
        await engine.backend.amend(job_id, payload="[1]")

    cli.engine(spoil)
    assert "give a whole --payload" in cli.fails("amend", job_id, "a=1", code=2)
    cli.inside("amend", job_id, "--payload", '{"a": 1}')
    assert cli.job(job_id).payload == {"a": 1}


# -- pauses


def test_types_and_queues_are_paused_and_resumed(cli: Cli) -> None:
    assert cli.inside("pauses").stdout == "nothing is paused\n"
    assert cli.inside("pause", "--type", "send").stdout == "the type send is paused; `qengine resume --type send` ends it\n"
    assert cli.inside("pause", "--queue", "mail", "--for", "2h").stdout == "the queue mail is paused\n"
    assert cli.json("pause", "--queue", "bulk", "--until", "2090-01-01T00:00:00+00:00") == {"paused": True}
    found = {pause["name"]: pause for pause in cli.json("pauses")["pauses"]}
    assert {name: (pause["kind"], bool(pause["until"])) for name, pause in found.items()} == {
        "send": ("type", False),
        "mail": ("queue", True),
        "bulk": ("queue", True),
    }
    assert "in 2 h" in cli.inside("pauses").stdout or "in 120 min" in cli.inside("pauses").stdout
    assert "the type send is paused until resumed" in cli.inside("stats").stdout
    assert cli.inside("resume", "--type", "send").stdout == "the type send is resumed\n"
    assert "was not paused" in cli.fails("resume", "--type", "send", code=1)
    assert cli.json("resume", "--queue", "mail") == {"resumed": True}
    assert cli.json("resume", "--queue", "mail", code=1) == {"resumed": False}


def test_what_is_paused_must_be_clear(cli: Cli) -> None:
    for command in ("pause", "resume"):
        assert "either --type or --queue" in cli.fails(command, code=2)
        assert "either --type or --queue" in cli.fails(command, "--type", "a", "--queue", "b", code=2)
    assert "not both" in cli.fails("pause", "--type", "a", "--for", "1h", "--until", "2090-01-01T00:00:00Z", code=2)
    assert "with an offset" in cli.fails("pause", "--type", "a", "--until", "noon", code=2)


# -- schedules


def declared(cli: Cli, *crons: str) -> list[str]:
    """The names of schedules of a task `plan`, as a worker declares them."""

    async def declare(engine: Engine) -> list[str]:
        async def plan() -> None: ...

        task = engine.task(max_attempts=7, priority=2)(plan)
        for cron in crons:
            engine.cron(cron)(task)
        await engine.drain()
        return [schedule.name for schedule in await engine.schedules()]

    return cli.engine(declare)


def test_schedules_are_listed_paused_resumed_and_run(cli: Cli) -> None:
    assert cli.inside("schedules").stdout == "no worker has declared a schedule\n"
    (name,) = declared(cli, "0 0 1 1 *")
    (found,) = cli.json("schedules")["schedules"]
    assert list(found) == ["name", "type", "cron", "tz", "catch_up", "next_fire", "last_fire", "paused"]
    assert (found["name"], found["type"], found["paused"], found["last_fire"]) == (name, "plan", False, None)
    assert "never" in cli.inside("schedules").stdout
    assert cli.inside("schedules", "pause", name).stdout == f"the schedule {name} is paused\n"
    assert cli.json("schedules")["schedules"][0]["paused"] is True
    assert "paused" in cli.inside("schedules").stdout
    assert cli.json("schedules", "resume", "plan") == {"schedule": name, "paused": False}
    assert cli.json("schedules", "pause", "plan") == {"schedule": name, "paused": True}
    assert cli.inside("schedules", "resume", name).stdout == f"the schedule {name} is resumed\n"
    job = cli.json("schedules", "run", "plan")
    assert (job["type"], job["status"]) == ("plan", "pending")
    assert cli.inside("schedules", "--dsn", cli.url, "run", name).stdout == f"job {job['id'] + 1} enqueued\n"


def test_which_schedule_must_be_clear(cli: Cli) -> None:
    names = declared(cli, "0 0 1 1 *", "0 0 1 2 *")
    assert len(names) == 2
    assert "several schedules" in cli.fails("schedules", "run", "plan", code=2)
    assert "there is no schedule elsewhere" in cli.fails("schedules", "pause", "elsewhere", code=1)
    cli.inside("schedules", "run", names[1])


# -- workers and the record


def test_workers_are_listed_with_what_they_run(cli: Cli) -> None:
    assert cli.inside("workers").stdout == "no worker is alive\n"
    ids = [cli.enqueue("add") for _ in range(7)]

    async def work(engine: Engine) -> None:
        await engine.backend.heartbeat(WorkerInfo("w1", "host-1", 77, "9.9", ["add"], None, 10, running=7, loop_lag=0.25))
        await engine.backend.heartbeat(WorkerInfo("w2", "host-2", 78, "9.9", ["add", "fail"], ["mail"], 5))
        await engine.backend.claim(Demand("w1", {"add": 7}, 7, 60.0))

    cli.engine(work)
    found = {worker["id"]: worker for worker in cli.json("workers")["workers"]}
    assert {job["id"] for job in found["w1"]["jobs"]} == set(ids)
    assert found["w2"]["jobs"] == []
    out = cli.inside("workers").stdout
    for shown in ("host-1", "7/10", "250 ms", "and 2 more", "mail", "add, fail"):
        assert shown in out


def test_the_record_tells_who_did_what(cli: Cli) -> None:
    assert cli.inside("audit").stdout == "nothing was done by hand yet\n"
    job_id = cli.dead()
    cli.inside("requeue", job_id)
    cli.inside("pause", "--type", "fail")
    cli.inside("cancel", "--type", "fail", "--yes")
    found = cli.json("audit", "--limit", 2)
    assert [list(entry) for entry in found["entries"]] == [["id", "at", "actor", "action", "detail", "job_id", "jobs"]] * 2
    assert [(entry["action"], entry["jobs"]) for entry in found["entries"]] == [("cancel", 1), ("pause", 0)]
    assert "@" in found["entries"][0]["actor"]
    rest = cli.json("audit", "--before", found["before"])
    assert [(entry["action"], entry["jobs"], entry["job_id"]) for entry in rest["entries"]] == [("requeue", 1, job_id)]
    assert rest["before"] is None
    assert [entry["action"] for entry in cli.json("audit", "--job", job_id)["entries"]] == ["requeue"]
    assert "--before" in cli.inside("audit", "--limit", 1).stdout
    assert "requeue" in cli.inside("audit").stdout


def test_an_action_that_never_ended_is_told(cli: Cli) -> None:
    from qengine import AuditEntry

    cli.engine(lambda engine: engine.backend.audit(AuditEntry("me", "prune", {"status": ["dead"]})))
    assert cli.json("audit")["entries"][0]["jobs"] is None
    assert '?  {"status": ["dead"]}' in cli.inside("audit").stdout


READS: list[list[str]] = [
    ["stats"], ["jobs"], ["dead"], ["workers"], ["schedules"], ["pauses"], ["audit"], ["doctor"], ["top"]
]  # fmt: skip


@pytest.mark.parametrize("command", READS, ids=lambda command: command[0])
def test_whatever_reads_prints_one_json_document(cli: Cli, command: list[str]) -> None:
    cli.dead()
    done = cli.inside(*command, "--json", code=None)
    assert isinstance(json.loads(done.stdout), dict)
    assert done.stderr == ""
