"""Crashes of workers: who is to blame for them, and what becomes of the jobs that they ran."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from qengine.testing.torture.causes import Causes
from qengine.testing.torture.checks.violation import Violation
from qengine.testing.torture.history import OWN_HAND, Change, History, Row
from qengine.testing.torture.ledger import Event


def only_the_guilty_crash_loop(history: History) -> Iterator[Violation]:
    """Jobs that kill their process are dead within max_crashes; others are not, unless the nemesis itself saw to it."""
    rules, causes = history.rules, Causes(history)
    begun = Counter(event.facts["job"] for event in history.begins if event.facts["type"] in rules.guilty)
    for row in history.rows.values():
        if row.type in rules.guilty:
            yield from _guilty(row, begun[row.id], history)
        elif row.dead_reason == "crash_loop" and history.changes:
            for crash in _last_crashes(history, row.id):
                if not causes.of(crash):
                    text = (
                        f"job {row.id} ({row.type}) is dead by crash_loop, and nothing happened to its holder at {crash.at:.3f}"
                    )
                    yield Violation("only the guilty become crash_loop", text, row.id)
                    break
    for change in history.changes:
        if change.is_crash and (change.crashes >= rules.max_crashes) != (change.after == "dead"):
            yield Violation("max_crashes makes a job dead", f"job {change.job}: {change}", change.job)


def _guilty(row: Row, begun: int, history: History) -> Iterator[Violation]:
    if begun > history.rules.max_crashes:
        text = f"job {row.id} ({row.type}) ran {begun} times; max_crashes is {history.rules.max_crashes}"
        yield Violation("the guilty are stopped within max_crashes", text, row.id)
    if history.rested and row.dead_reason != "crash_loop":
        yield Violation("the guilty are stopped within max_crashes", f"job {row.id} ({row.type}) is {row.status}", row.id)


def _last_crashes(history: History, job: int) -> list[Change]:
    crashes = [change for change in history.changes_by_job[job] if change.is_crash]
    return crashes[-history.rules.max_crashes :]


def suspects_run_alone(history: History) -> Iterator[Violation]:
    """A process runs at most one job with two crashes or more at a time."""
    left = {(change.job, change.token_before): change.at for change in history.changes if change.leaves_holder}
    ended: dict[tuple[int, int], float] = {}
    for event in history.of_kind("end"):
        ended.setdefault((event.facts["job"], event.facts["token"]), event.at)
    running: dict[int, Event] = {}
    for begin in history.begins:
        if begin.facts["crashes"] < 2 or begin.facts["type"] == "stubborn":
            continue
        other = running.get(begin.pid)
        if other is not None:
            key = (other.facts["job"], other.facts["token"])
            if min(left.get(key, begin.at + 1), ended.get(key, begin.at + 1)) > begin.at:
                text = f"{begin} while {other} was running in the same process"
                yield Violation("suspects run alone", text, begin.facts["job"])
        running[begin.pid] = begin


def workers_end_well(history: History) -> Iterator[Violation]:
    """No worker ends by itself, or does not end when it is asked to."""
    rule = "a worker ends when it is told to, and only then"
    for event in history.of_kind("odd"):
        yield Violation(rule, event.facts["text"])
    deadly: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for event in history.of_kind("begin", "end", "exit"):
        facts = event.facts
        if event.kind == "begin" and facts["type"] in history.rules.guilty:
            deadly[event.pid].add((facts["job"], facts["token"]))
        elif event.kind == "end":
            deadly[event.pid].discard((facts["job"], facts["token"]))
        elif event.kind == "exit" and not deadly.pop(facts["victim"], None) and facts["why"] == OWN_HAND:
            yield Violation(rule, f"{facts['name']}[{facts['victim']}] was killed by nobody, and ran nothing that kills")
