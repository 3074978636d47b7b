"""The life of each job: every change of its row that the database's triggers recorded."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from qengine.testing.torture.checks.violation import Violation
from qengine.testing.torture.history import FINAL, WAITING, Change, History


def changes_are_legal(history: History) -> Iterator[Violation]:
    """Statuses change only as the picture of the states says; an end is an end, unless an operator requeued the job."""
    requeued = _asked(history, "requeue")
    cancelled = _asked(history, "cancel")
    for change in history.changes:
        wrong = _wrong_step(change, requeued.get(change.job, 0), cancelled.get(change.job, 0))
        if wrong is not None:
            yield Violation(*wrong, change.job)
    for job, changes in history.changes_by_job.items():
        back = sum(1 for change in changes if change.before in FINAL and change.after == "pending")
        if back > requeued.get(job, 0):
            yield Violation("an end is an end", f"job {job} went back in line {back} times, requeued {requeued.get(job, 0)}", job)
        for one, next_ in itertools.pairwise(changes):
            if (one.after, one.token, one.attempts, one.crashes) != (
                next_.before, next_.token_before, next_.attempts_before, next_.crashes_before,
            ):  # fmt: skip
                yield Violation("each change follows from the last", f"job {job}: {one} is followed by {next_}", job)


def _asked(history: History, act: str) -> Counter[int]:
    """How often an operator asked to do something to each job; a killed one may have succeeded."""
    return Counter(id for event in history.of_kind("asks") if event.facts["act"] == act for id in event.facts["ids"])


def _wrong_step(change: Change, requeued: int, cancelled: int) -> tuple[str, str] | None:
    before, after = change.before, change.after
    step = f"job {change.job} ({change.type}): {change}"
    if change.token < change.token_before:
        return "the token never goes back", step
    if change.attempts > change.max_attempts:
        return "attempts never exceed max_attempts", step
    if before is None:
        return None if (after, change.token, change.attempts) == ("pending", 0, 0) else ("a new job is pending", step)
    if before in FINAL:
        if after == before and change.token == change.token_before:
            return None
        if after == "pending" and requeued:
            fresh = change.token > change.token_before and change.attempts == change.crashes == 0
            return None if fresh else ("a requeued job begins anew", step)
        return ("a job ends once", step) if after in FINAL else ("a job that has ended does not run again", step)
    if before in WAITING:
        return _wrong_step_of_waiting(change, cancelled, step)
    return _wrong_step_of_running(change, cancelled, step)


def _wrong_step_of_waiting(change: Change, cancelled: int, step: str) -> tuple[str, str] | None:
    after = change.after
    if change.is_claim:
        raised = change.token == change.token_before + 1 and change.attempts == change.attempts_before + 1
        return None if raised else ("a claim raises token and attempts by one", step)
    if after in WAITING:
        same = after == change.before and change.token == change.token_before and change.attempts == change.attempts_before
        return None if same else ("only a claim changes a job that waits", step)
    if after == "cancelled" and cancelled:
        return None
    if after == "dead" and change.dead_reason == "expired":
        return None
    return ("a job that waits ends only by an operator, or expired", step) if after is not None else None


def _wrong_step_of_running(change: Change, cancelled: int, step: str) -> tuple[str, str] | None:
    if change.after == "processing":
        same = (change.token, change.attempts) == (change.token_before, change.attempts_before)
        return None if same else ("one holder", f"taken from its holder while it runs: {step}")
    if change.after is None:
        return None
    if change.token != change.token_before + 1:
        return "the token grows when a job leaves its holder", step
    if change.is_crash:
        given_back = change.attempts == change.attempts_before - 1 and change.crashes == change.crashes_before + 1
        return None if given_back and change.after in ("pending", "dead") else ("a crash costs no attempt", step)
    if change.after == "dead" and change.dead_reason == "exhausted" and change.attempts != change.max_attempts:
        return "exhausted means that every attempt was spent", step
    if change.after == "pending" and change.attempts != change.attempts_before - 1:
        return "what goes back in line has its attempt given back", step
    if change.after in ("completed", "failed") and (change.crashes or change.attempts != change.attempts_before):
        return "a run that ends by itself sets crashes to 0 and spends its attempt", step
    return None
