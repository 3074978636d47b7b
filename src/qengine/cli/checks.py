"""What the engine knows that the database alone does not: who serves what, what waits too long, what fails."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qengine import Activity, Engine, Finding, Pause, Schedule, WorkerInfo
from qengine.cli.text import counted, duration

HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
LATE = dt.timedelta(seconds=60)
"""A fire that is later than this has nobody who fires it."""
LAG = 1.0
"""Seconds by which an event loop may be late."""
RUNS = 20
"""Runs of a type in the last hour from which on the share that failed says something."""
_NAMES = 10


@dataclass(frozen=True, slots=True)
class Facts:
    """What is read once, and judged by each of the checks."""

    now: dt.datetime
    workers: Sequence[WorkerInfo]
    due: Mapping[str, dt.datetime]
    pauses: Sequence[Pause]
    schedules: Sequence[Schedule]
    activity: Sequence[Activity]
    died: Sequence[tuple[dt.date, int]]


async def checked(engine: Engine) -> list[Finding]:
    """All findings: the database's own, then the engine's."""
    findings = await engine.diagnose()
    if any(finding.check == "schema" and finding.level == "problem" for finding in findings):
        return findings
    now = await engine.backend.now()
    facts = Facts(
        now,
        await engine.workers(),
        await engine.oldest_due(),
        await engine.pauses(),
        await engine.schedules(),
        await engine.activity(60, now - HOUR),
        await engine.dead_by_day(now - DAY),
    )
    return findings + [check(facts) for check in (_workers, _versions, _lag, _waiting, _paused, _schedules, _failing, _dead)]


def _workers(facts: Facts) -> Finding:
    if facts.workers:
        running = sum(worker.running for worker in facts.workers)
        return Finding("workers", "ok", f"{counted(len(facts.workers), 'live worker')}, {counted(running, 'job')} running")
    if not facts.due:
        return Finding("workers", "ok", "no worker is alive, and nothing is due")
    text = f"no worker is alive, and jobs are due: {_named(facts.due)}"
    return Finding("workers", "problem", text, "start one: `qengine worker module:engine`")


def _versions(facts: Facts) -> Finding:
    versions = sorted({worker.version for worker in facts.workers})
    if len(versions) < 2:
        return Finding("versions", "ok", f"all workers are of release {versions[0]}" if versions else "no worker is alive")
    return Finding(
        "versions", "warning", f"workers are of the releases {_named(versions)}", "finish the deploy: restart the old ones"
    )


def _lag(facts: Facts) -> Finding:
    slow = [worker for worker in facts.workers if (worker.loop_lag or 0.0) > LAG]
    if not slow:
        return Finding("loop_lag", "ok", f"no worker's event loop is more than {duration(LAG)} late")
    text = "event loops are late: " + _named([f"{w.host} pid {w.pid} by {duration(w.loop_lag or 0.0)}" for w in slow])
    return Finding(
        "loop_lag", "warning", text, "a handler blocks it: make it a `def`, or give it `executor='process'`; or run more workers"
    )


def _waiting(facts: Facts) -> Finding:
    paused = {pause.name for pause in facts.pauses if pause.kind == "type"}
    late = {name: facts.now - since for name, since in facts.due.items() if name not in paused and facts.now - since > HOUR}
    if not late:
        return Finding("waiting", "ok", f"no job has been due for more than {duration(HOUR.total_seconds())}")
    text = "jobs wait for long: " + _named([f"{name} for {duration(age.total_seconds())}" for name, age in late.items()])
    return Finding(
        "waiting", "warning", text, "run more workers, or with more `--concurrency`; `qengine top` shows what keeps them"
    )


def _paused(facts: Facts) -> Finding:
    endless = [f"the {pause.kind} {pause.name}" for pause in facts.pauses if pause.until is None]
    if not endless:
        return Finding("pauses", "ok", "nothing is paused without end")
    return Finding("pauses", "warning", f"paused until resumed: {_named(endless)}", "if that was forgotten: `qengine resume`")


def _schedules(facts: Facts) -> Finding:
    late = [one.name for one in facts.schedules if not one.paused and facts.now - one.next_fire > LATE]
    if not late:
        return Finding("schedules", "ok", "no fire of a schedule is overdue")
    text = f"nobody fires {_named(late)}"
    return Finding(
        "schedules",
        "problem",
        text,
        "start a worker that declares them; pause those that are no longer wanted: `qengine schedules`",
    )


def _failing(facts: Facts) -> Finding:
    runs: dict[str, int] = {}
    failed: dict[str, int] = {}
    for slot in facts.activity:
        runs[slot.type] = runs.get(slot.type, 0) + slot.completed + slot.failed + slot.dead
        failed[slot.type] = failed.get(slot.type, 0) + slot.failed + slot.dead
    bad = [
        f"{name} {failed[name]} of {runs[name]}" for name in sorted(runs) if runs[name] >= RUNS and 2 * failed[name] > runs[name]
    ]
    if not bad:
        return Finding("failing", "ok", "of no type did most runs fail in the last hour")
    return Finding(
        "failing", "warning", f"most runs of the last hour failed: {_named(bad)}", "read why: `qengine dead --retrying`"
    )


def _dead(facts: Facts) -> Finding:
    number = sum(count for _, count in facts.died)
    if not number:
        return Finding("dead", "ok", "no job died in the last day")
    return Finding("dead", "warning", f"{counted(number, 'job')} died in the last day", "read why, and requeue: `qengine dead`")


def _named(things: Mapping[str, object] | Sequence[str]) -> str:
    names = list(things)
    return ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")
