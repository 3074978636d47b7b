"""Leases: one holder at a time, and no write but under the token that the job has."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from qengine.testing.torture.checks.violation import Violation
from qengine.testing.torture.history import Change, History
from qengine.testing.torture.ledger import Event


def one_holder(history: History) -> Iterator[Violation]:
    """No lease token has two holders, and nobody runs without a claim."""
    holders: dict[tuple[int, int], Event] = {}
    claims = {(change.job, change.token): change for change in history.changes if change.is_claim}
    for begin in history.begins:
        key = (begin.facts["job"], begin.facts["token"])
        if key in holders:
            yield Violation("one holder", f"job {key[0]} ran twice under token {key[1]}: {holders[key]} and {begin}", key[0])
        holders[key] = begin
        if history.changes:
            claim = claims.get(key)
            if claim is None:
                yield Violation("one holder", f"job {key[0]} ran under token {key[1]}, which was never given: {begin}", key[0])
            elif claim.worker != begin.facts["worker"]:
                yield Violation("one holder", f"job {key[0]}, token {key[1]}: {claim.worker} claimed, {begin} ran", key[0])


def stale_writes_are_refused(history: History) -> Iterator[Violation]:
    """No write is accepted under a token that is known to be spent when the write begins."""
    spent = _spent(history)
    for write in history.of_kind("write"):
        job, token = write.facts["job"], write.facts["token"]
        if write.facts["answer"] != "accepted":
            continue
        for moment, by in spent.get(job, ()):
            if by > token and moment < write.facts["began"]:
                text = f"job {job}: {write.facts['op']} under token {token} was accepted after token {by} was known"
                yield Violation("stale writes are refused", text, job)
                break


def _spent(history: History) -> dict[int, list[tuple[float, float]]]:
    """For each job: from when (monotonic) every token below which is spent, as far as processes knew."""
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for begin in history.begins:
        found[begin.facts["job"]].append((begin.t, begin.facts["token"]))
    for write in history.of_kind("write"):
        if write.facts["op"] == "transaction" and write.facts["answer"] == "accepted":
            found[write.facts["job"]].append((write.t, write.facts["token"] + 0.5))
    return found


def writes_carry_their_token(history: History) -> Iterator[Violation]:
    """What is written about a running job was written under the token that the job had: results, errors, checkpoints."""
    for change in history.changes:
        said = _token_in(change)
        if said is not None and said != change.token_before:
            text = f"job {change.job} had token {change.token_before} when {said} wrote: {change}"
            yield Violation("stale writes are refused", text, change.job)


def _token_in(change: Change) -> int | None:
    if change.before == "processing" and change.after == "completed" and isinstance(change.result, dict):
        token = change.result.get("token")
        return None if token is None else int(token)
    if change.before == "processing" and change.error is not None:
        match = re.search(r"token=(\d+)", change.error)
        return int(match[1]) if match and not change.is_crash else None
    if isinstance(change.checkpoint, dict) and "token" in change.checkpoint:
        return int(change.checkpoint["token"])
    if isinstance(change.progress, dict):
        match = re.fullmatch(r"token (\d+)", str(change.progress.get("message")))
        return int(match[1]) if match else None
    return None


def checkpoints_last(history: History) -> Iterator[Violation]:
    """A run goes on from the last checkpoint that was acknowledged."""
    saved: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for event in history.of_kind("write", "resumed"):
        job, token = event.facts["job"], event.facts["token"]
        if event.kind == "resumed":
            best = max((step for by, step in saved[job] if by < token), default=0)
            if event.facts["step"] < best:
                text = f"job {job} went on from step {event.facts['step']}, step {best} was acknowledged"
                yield Violation("a checkpoint that was acknowledged lasts", text, job)
        elif event.facts["op"] == "checkpoint" and event.facts["answer"] == "accepted":
            saved[job].append((token, event.facts["step"]))


def an_end_is_an_end(history: History) -> Iterator[Violation]:
    """After a completion that a handler saw committed, the job is not given out again (judged by the ledgers alone)."""
    completed: dict[int, int] = {}
    for event in history.of_kind("write"):
        if event.facts["op"] == "transaction" and event.facts["answer"] == "accepted":
            completed[event.facts["job"]] = event.facts["token"]
    for begin in history.begins:
        # A holder that was frozen may begin late under an old token; whatever it writes is refused.
        by = completed.get(begin.facts["job"])
        if by is not None and begin.facts["token"] > by:
            text = f"job {begin.facts['job']} ran again after it was completed under token {by}: {begin}"
            yield Violation("a job that has ended does not run again", text, begin.facts["job"])
