"""What is stored in the end: jobs, and what handlers wrote with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from qengine.testing.torture.checks.violation import Violation
from qengine.testing.torture.history import WAITING, History


def nothing_is_lost(history: History) -> Iterator[Violation]:
    """Each acknowledged enqueue is stored, as what was enqueued."""
    for ack in history.of_kind("ack"):
        for marker, id, existed in zip(ack.facts["markers"], ack.facts["ids"], ack.facts["existed"], strict=False):
            row = history.rows.get(id)
            if row is None:
                yield Violation("no acknowledged enqueue is lost", f"{marker}: enqueue returned job {id}, which is not there", id)
            elif not existed and row.marker != marker:
                yield Violation("no acknowledged enqueue is lost", f"{marker}: job {id} holds {row.marker} instead", id)


def nothing_is_invented(history: History) -> Iterator[Violation]:
    """Each job was enqueued by somebody, once, and nothing disappears."""
    tried = {marker for event in history.of_kind("try") for marker in event.facts["markers"]}
    seen: dict[str, int] = {}
    for row in history.rows.values():
        marker = row.marker
        if marker is None:
            if row.type not in history.rules.crons:
                yield Violation("nothing is invented", f"job {row.id} ({row.type}) was enqueued by nobody", row.id)
        elif marker not in tried:
            yield Violation("nothing is invented", f"job {row.id}: nobody tried to enqueue {marker}", row.id)
        elif marker in seen:
            yield Violation("nothing is invented", f"{marker} is stored twice: as jobs {seen[marker]} and {row.id}", row.id)
        else:
            seen[marker] = row.id
    for change in history.changes:
        if change.after is None:
            yield Violation("nothing is lost", f"job {change.job} was deleted, which nobody asked for", change.job)


def orders_and_jobs_agree(history: History) -> Iterator[Violation]:
    """With `conn=`, a job exists exactly when the application's own row, of the same transaction, does."""
    by_marker = {row.marker: row for row in history.rows.values()}
    acknowledged = {marker for event in history.of_kind("ack") if event.facts["ids"] for marker in event.facts["markers"]}
    rule = "a job enqueued with conn= shares its transaction's fate"
    for event in history.of_kind("try"):
        if event.facts["way"] != "order":
            continue
        [marker] = event.facts["markers"]
        row = by_marker.get(marker)
        if (marker in history.orders) != (row is not None):
            what = "the job is not there" if row is None else "the application's row is not there"
            yield Violation(rule, f"{marker}: {what}", row.id if row else None)
        if event.facts["fails"] and row is not None:
            yield Violation(rule, f"{marker} was rolled back, and yet job {row.id} is there", row.id)
        if marker in acknowledged and marker not in history.orders:
            yield Violation(rule, f"{marker} was committed, and is not there")


def all_comes_to_rest(history: History) -> Iterator[Violation]:
    """At the end nothing is processing, nothing waits but what nobody could run, and the sums agree."""
    rule = "at the end all is at rest"
    for row in history.rows.values():
        if row.status == "processing":
            yield Violation(rule, f"job {row.id} ({row.type}) is still processing", row.id)
        elif row.status in WAITING and row.type != history.rules.unknown and row.type not in history.rules.crons:
            yield Violation(rule, f"job {row.id} ({row.type}) is still {row.status}", row.id)
    if history.changes:
        inserted = sum(1 for change in history.changes if change.before is None)
        if inserted != len(history.rows):
            yield Violation("the sums agree", f"{inserted} jobs were stored, {len(history.rows)} are there")
        yield from _rows_agree(history)


def _rows_agree(history: History) -> Iterator[Violation]:
    for id, changes in history.changes_by_job.items():
        row, last = history.rows.get(id), changes[-1]
        if row is not None and (row.status, row.token, row.attempts) != (last.after, last.token, last.attempts):
            yield Violation("the sums agree", f"job {id} is {row}, its last change was {last}", id)


def unknown_types_wait(history: History) -> Iterator[Violation]:
    """A type that no worker knows is never touched."""
    for row in history.rows.values():
        if row.type == history.rules.unknown and (row.status != "pending" or row.token or row.attempts):
            yield Violation("a type no worker knows stays pending", f"job {row.id}: {row}", row.id)


def effects_happen_once(history: History) -> Iterator[Violation]:
    """What a handler wrote in `ctx.transaction()` is there exactly once if the job is completed, else not at all."""
    count = Counter(job for job, _ in history.effects)
    token_of = dict(history.effects)
    rule = "a transactional effect happens exactly once"
    for row in history.rows.values():
        if row.type != "effect":
            continue
        wanted = 1 if row.status == "completed" else 0
        if count[row.id] != wanted:
            yield Violation(rule, f"job {row.id} is {row.status} and its effect is there {count[row.id]} times", row.id)
        elif wanted and row.token != token_of[row.id] + 1:
            yield Violation(rule, f"job {row.id}: written under token {token_of[row.id]}, the job has {row.token}", row.id)
    for job in count.keys() - history.rows.keys():
        yield Violation(rule, f"the effect of job {job} is there, the job is not", job)
