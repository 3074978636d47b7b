"""The judgement: pure functions from a history to the promises that were broken.

Each check is a generator of violations; `CHECKS` is all of them. What the database's triggers recorded is judged
where it is there; the ledgers and the rows at the end are judged always.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qengine.testing.torture.causes import Causes
from qengine.testing.torture.history import OWN_HAND, Change, History, Row
from qengine.testing.torture.ledger import Event

FINAL = ("completed", "dead", "cancelled")
WAITING = ("pending", "failed")
OVERTAKEN_FOR = 8.0
"""Seconds for which a job may be overtaken beyond its bound: a claim that was rolled back skips a job for a moment."""
SETTLING_DOWN = 30.0
"""Seconds of the calm until every worker is back and every schedule on time."""
ON_TIME = 60.0
"""Seconds for which a fire time counts as on time (`qengine.schedule.TOLERANCE`)."""
SLACK = 12.0


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise."""

    rule: str
    text: str
    job: int | None = None


Check = Callable[[History], Iterator[Violation]]


def check(history: History) -> list[Violation]:
    """All that is wrong."""
    return [violation for one in CHECKS for violation in one(history)]


# -- what is stored


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


# -- the life of each job


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


# -- leases


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


# -- effects


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


# -- crashes


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


# -- schedules


def schedules_fire_once(history: History) -> Iterator[Violation]:
    """No fire is doubled, and none is lost against its catch-up policy."""
    for name, catch_up in history.rules.crons.items():
        fired = sorted(time for schedule, time in history.fires if schedule == name)
        rows = [row for row in history.rows.values() if row.type == name]
        for time, count in Counter(row.due for row in rows).items():
            if count > 1:
                yield Violation("no fire is doubled", f"{name} was enqueued {count} times for {time:.0f}")
        if {round(row.due) for row in rows} != {round(time) for time in fired}:
            odd = {round(row.due) for row in rows} ^ {round(time) for time in fired}
            yield Violation("no fire is lost", f"{name}: fires without a job, or jobs without a fire: {sorted(odd)[:10]}")
        yield from _fire_times(history, name, fired)
        if catch_up == "all":
            yield from _every_fire(history, name, fired)
        if catch_up == "skip":
            yield from _skipped(history, rows)
        yield from _fires_in_the_calm(history, name, {round(time) for time in fired})


def _fire_times(history: History, name: str, fired: list[float]) -> Iterator[Violation]:
    for time in fired:
        if abs(time / history.rules.cron_period - round(time / history.rules.cron_period)) > 1e-6:
            yield Violation("a schedule fires at its times", f"{name} fired for {time}")


def _every_fire(history: History, name: str, fired: list[float]) -> Iterator[Violation]:
    for one, next_ in itertools.pairwise(fired):
        if next_ - one > history.rules.cron_period + 0.5:
            yield Violation("no fire is lost", f"{name} (catch-up all) fired for {one:.0f} and next for {next_:.0f}")


def _skipped(history: History, rows: list[Row]) -> Iterator[Violation]:
    jumps = [event.at for event in history.faults if event.facts["name"] == "clock jump"]
    made = {change.job: change.at for change in history.changes if change.before is None}
    for row in rows:
        late = row.created - row.due
        at = made.get(row.id)
        jumped = at is None or any(-5 < at - jump < 5 for jump in jumps)
        if late > ON_TIME + SLACK and not jumped:
            yield Violation("missed fires are skipped", f"job {row.id} ({row.type}) was enqueued {late:.0f} s late", row.id)


def _fires_in_the_calm(history: History, name: str, fired: set[int]) -> Iterator[Violation]:
    if history.rules.calm is None:
        return
    period = round(history.rules.cron_period)
    begin, end = history.rules.calm[0] + SETTLING_DOWN, history.rules.calm[1] - SLACK
    first = -(-int(begin) // period) * period
    missed = [time for time in range(first, int(end), period) if time not in fired]
    if missed:
        yield Violation("no fire is lost", f"{name} was not fired for {missed[:10]}, when nothing was broken any more")


# -- order


def nobody_starves(history: History) -> Iterator[Violation]:
    """A job of priority p is overtaken only by jobs that come due within (p - 1) x ageing after it (DESIGN 2.6)."""
    line: list[tuple[float, int]] = []
    standing: dict[int, Change] = {}
    overtaken: dict[int, float] = {}
    for change in history.changes:
        if change.type != "line":
            continue
        job = change.job
        if change.is_claim:
            while line and (line[0][1] not in standing or standing[line[0][1]].rank != line[0][0]):
                heapq.heappop(line)
            if line and line[0][1] != job:
                yield from _overtaken(history, standing[line[0][1]], change, overtaken)
        standing.pop(job, None)
        if change.rank is not None and change.crashes < 2:
            standing[job] = change
            heapq.heappush(line, (change.rank, job))
        elif change.is_claim:
            overtaken.pop(job, None)


def _overtaken(history: History, waiting: Change, claimed: Change, overtaken: dict[int, float]) -> Iterator[Violation]:
    bound = (waiting.priority - 1) * history.rules.ageing
    if claimed.due <= waiting.due + bound:
        return
    since = overtaken.setdefault(waiting.job, claimed.at)
    if since != float("inf") and claimed.at - since > OVERTAKEN_FOR:
        overtaken[waiting.job] = float("inf")
        text = (
            f"job {waiting.job} of priority {waiting.priority}, due {waiting.due:.3f}, has been overtaken for "
            f"{claimed.at - since:.1f} s; now by job {claimed.job}, "
            f"due {claimed.due - waiting.due:.1f} s later (bound {bound:g} s)"
        )
        yield Violation("everything gets its turn", text, waiting.job)


# -- processes


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


CHECKS: tuple[Check, ...] = (
    nothing_is_lost,
    nothing_is_invented,
    orders_and_jobs_agree,
    all_comes_to_rest,
    unknown_types_wait,
    changes_are_legal,
    one_holder,
    stale_writes_are_refused,
    writes_carry_their_token,
    checkpoints_last,
    an_end_is_an_end,
    effects_happen_once,
    only_the_guilty_crash_loop,
    suspects_run_alone,
    schedules_fire_once,
    nobody_starves,
    workers_end_well,
)
