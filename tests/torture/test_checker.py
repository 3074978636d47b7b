"""The checker is only worth what it catches: a good history is clean, and each kind of bad one is caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from qengine.testing.torture.checker import CHECKS, check
from qengine.testing.torture.history import Change, History, Row, Rules
from qengine.testing.torture.ledger import Event
from qengine.testing.torture.options import Options
from qengine.testing.torture.report import Outcome, told

RULES = Rules(
    max_crashes=5,
    ageing=1.0,
    crons={"tick_all": "all", "tick_one": "one", "tick_skip": "skip"},
    cron_period=10,
    guilty=("poison",),
    unknown="nobody",
    grace=3,
)
W, X = "worker-w", "worker-x"
PIDS = {W: 10, X: 11}


class Story:
    """A history, told in order. Each step moves the clock by a second."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.rows: dict[int, Row] = {}
        self.changes: list[Change] = []
        self.events: list[Event] = []
        self.fires: list[tuple[str, float]] = []
        self.effects: list[tuple[int, int]] = []
        self.orders: set[str] = set()
        self.rules = RULES
        self.rested = True

    def history(self) -> History:
        return History(self.rules, self.rows, self.changes, self.events, self.fires, self.effects, self.orders, self.rested)

    def event(self, kind: str, pid: int = 1, role: str = "worker", **facts: Any) -> None:
        self.now += 1
        self.events.append(Event(self.now, self.now, pid, role, kind, facts))

    def enqueued(self, id: int, type: str = "plain", *, marker: str | None = None, due: float | None = None, **row: Any) -> None:
        """Somebody tried to enqueue a job, it was stored, and the enqueue returned."""
        marker = marker or f"m{id}"
        self.event("try", way="one", markers=[marker], type=type)
        self.stored(id, type, marker, due, **row)
        self.event("ack", markers=[marker], ids=[id], existed=[False])

    def stored(self, id: int, type: str, marker: str | None, due: float | None = None, **row: Any) -> None:
        self.now += 1
        due = self.now if due is None else due
        payload = {} if marker is None else {"marker": marker}
        made = Row(id, type, "pending", 5, 0, 3, 0, 0, due, self.now, payload=payload)
        self.rows[id] = replace(made, **row)
        rank = due + self.rows[id].priority * self.rules.ageing
        self._change(id, before=None, after="pending", rank=rank)

    def _change(self, id: int, **values: Any) -> None:
        row = self.rows[id]
        made = Change(
            len(self.changes) + 1, self.now, id, row.type, row.status, row.status, row.token, row.token,
            row.attempts, row.attempts, row.max_attempts, row.crashes, row.crashes, row.priority, row.due, None, None,
        )  # fmt: skip
        change = replace(made, **values)
        self.changes.append(change)
        self.rows[id] = replace(
            row,
            status=change.after if change.after is not None else row.status,
            token=change.token,
            attempts=change.attempts,
            crashes=change.crashes,
            dead_reason=change.dead_reason,
            result=change.result if change.result is not None else row.result,
        )

    def became(self, id: int, after: str, *, given_back: bool = False, **values: Any) -> None:
        """A running job left its holder."""
        self.now += 1
        row = self.rows[id]
        values = {"crashes": 0, "token": row.token + 1, "worker": W, **values}
        self._change(id, after=after, attempts=row.attempts - given_back, **values)

    def claimed(self, id: int, worker: str = W, **values: Any) -> None:
        self.now += 1
        row = self.rows[id]
        values = {"token": row.token + 1, "attempts": row.attempts + 1, "worker": worker, **values}
        self._change(id, after="processing", **values)

    def begun(self, id: int, worker: str = W, *, token: int | None = None) -> None:
        row = self.rows[id]
        self.event(
            "begin", PIDS[worker], job=id, token=row.token if token is None else token, type=row.type, attempt=row.attempts,
            crashes=row.crashes, worker=worker,
        )  # fmt: skip

    def ran(self, id: int, worker: str = W) -> None:
        """Claimed and begun."""
        self.claimed(id, worker)
        self.begun(id, worker)

    def returned(self, id: int, worker: str = W) -> None:
        token = self.rows[id].token
        self.event("end", PIDS[worker], job=id, token=token, how="return")
        self.became(id, "completed", result={"token": token}, worker=worker)

    def wrote(self, id: int, op: str, answer: str = "accepted", *, token: int | None = None, **facts: Any) -> None:
        token = self.rows[id].token if token is None else token
        self.event("write", job=id, token=token, op=op, answer=answer, began=self.now + 0.5, **facts)

    def effect(self, id: int) -> None:
        """Written and completed in one transaction."""
        token = self.rows[id].token
        self.effects.append((id, token))
        self.became(id, "completed")
        self.wrote(id, "transaction", token=token)

    def crashed(self, id: int, worker: str = W) -> None:
        crashes = self.rows[id].crashes + 1
        dead = crashes >= self.rules.max_crashes
        reason = "crash_loop" if dead else None
        self.became(id, "dead" if dead else "pending", given_back=True, crashes=crashes, worker=worker, dead_reason=reason)

    def died(self, worker: str = W, why: str = "its own hand") -> None:
        self.event("exit", role="nemesis", victim=PIDS[worker], name="worker-0", status=-9, why=why, took=None)

    def fired(self, id: int, name: str, time: float) -> None:
        self.fires.append((name, time))
        self.stored(id, name, None, due=time, created=time)
        self.ran(id)
        self.returned(id)

    def rules_of_violations(self) -> set[str]:
        return {violation.rule for violation in check(self.history())}


def good() -> Story:
    """A bit of everything, all of it right."""
    story = Story()
    story.enqueued(1)
    story.ran(1)
    story.wrote(1, "checkpoint", step=3)
    story.died(why="kill worker")
    story.crashed(1)
    story.ran(1, X)
    story.event("resumed", job=1, token=3, step=3)
    story.wrote(1, "progress", "refused", token=1)
    story.returned(1, X)
    story.enqueued(2, "effect")
    story.ran(2)
    story.effect(2)
    story.enqueued(3)
    for attempt in range(3):
        story.ran(3)
        error = f"PlannedFailure: token={story.rows[3].token}"
        last = attempt == 2
        story.became(3, "dead" if last else "failed", error=error, dead_reason="exhausted" if last else None)
    story.event("asks", act="requeue", ids=[3])
    story._change(3, after="pending", token=story.rows[3].token + 1, attempts=0, crashes=0)
    story.event("acts", act="requeue", ids=[3])
    story.event("asks", act="cancel", ids=[3])
    story._change(3, after="cancelled", token=story.rows[3].token + 1)
    story.enqueued(4, "poison")
    for _ in range(5):
        story.ran(4)
        story.died()
        story.crashed(4)
    story.enqueued(5, "nobody")
    for place, name in enumerate(RULES.crons):
        for fire in range(4):
            story.fired(100 + 10 * place + fire, name, 2_000.0 + 10 * fire)
    return story


def test_a_good_history_is_clean() -> None:
    assert check(good().history()) == []


def lost(story: Story) -> None:
    story.event("ack", markers=["gone"], ids=[77], existed=[False])


def swapped(story: Story) -> None:
    story.event("ack", markers=["other"], ids=[1], existed=[False])


def invented(story: Story) -> None:
    story.stored(20, "plain", "never-tried")
    story.ran(20)
    story.returned(20)


def stored_twice(story: Story) -> None:
    story.enqueued(20, marker="twice")
    story.ran(20)
    story.returned(20)
    story.stored(21, "plain", "twice")
    story.ran(21)
    story.returned(21)


def deleted(story: Story) -> None:
    story._change(1, after=None)
    del story.rows[1]


def order_without_job(story: Story) -> None:
    story.event("try", way="order", markers=["o"], type="effect", fails=False)
    story.orders.add("o")


def job_without_order(story: Story) -> None:
    story.enqueued(20, "effect", marker="o")
    story.ran(20)
    story.effect(20)
    story.event("try", way="order", markers=["o"], type="effect", fails=False)


def order_rolled_back_and_yet_there(story: Story) -> None:
    job_without_order(story)
    story.orders.add("o")
    story.event("try", way="order", markers=["o"], type="effect", fails=True)


def still_processing(story: Story) -> None:
    story.enqueued(20)
    story.ran(20)


def still_waiting(story: Story) -> None:
    story.enqueued(20)


def sums_that_do_not_agree(story: Story) -> None:
    story.rows[1] = replace(story.rows[1], status="dead")


def row_without_insertion(story: Story) -> None:
    story.event("try", way="one", markers=["m20"], type="plain")
    story.rows[20] = replace(story.rows[1], id=20, payload={"marker": "m20"})


def unknown_type_touched(story: Story) -> None:
    story.claimed(5)
    story.became(5, "pending", given_back=True)


def ended_twice(story: Story) -> None:
    story._change(1, after="completed", token=story.rows[1].token + 1)


def ended_and_ran_again(story: Story) -> None:
    story.ran(1)
    story.returned(1)


def requeued_by_nobody(story: Story) -> None:
    story._change(1, after="pending", token=story.rows[1].token + 1, attempts=0, crashes=0)
    story.ran(1)
    story.returned(1)


def requeued_more_often_than_asked(story: Story) -> None:
    story._change(3, after="pending", token=story.rows[3].token + 1, attempts=0, crashes=0)
    story._change(3, after="cancelled", token=story.rows[3].token + 1)


def requeue_that_keeps_attempts(story: Story) -> None:
    story.event("asks", act="requeue", ids=[1])
    story._change(1, after="pending", token=story.rows[1].token + 1)
    story.ran(1)
    story.returned(1)


def token_went_back(story: Story) -> None:
    story.enqueued(20)
    story.ran(20)
    story.became(20, "completed", token=0)


def taken_while_running(story: Story) -> None:
    story.enqueued(20)
    story.ran(20)
    story.claimed(20, X)
    story.returned(20)


def claim_without_new_token(story: Story) -> None:
    story.enqueued(20)
    story.claimed(20, token=0)
    story.became(20, "completed", token=1)


def end_without_new_token(story: Story) -> None:
    story.enqueued(20)
    story.ran(20)
    story.became(20, "completed", token=1)


def cancelled_by_nobody(story: Story) -> None:
    story.enqueued(20)
    story._change(20, after="cancelled", token=1)


def hole_in_the_changes(story: Story) -> None:
    story.enqueued(20)
    story.rows[20] = replace(story.rows[20], token=4)
    story.ran(20)
    story.returned(20)


def too_many_attempts(story: Story) -> None:
    story.enqueued(20, max_attempts=1)
    for _ in range(2):
        story.ran(20)
        story.became(20, "failed")
    story.ran(20)
    story.returned(20)


def crash_that_costs_an_attempt(story: Story) -> None:
    story.enqueued(20)
    story.ran(20)
    story.died(why="kill worker")
    story.became(20, "pending", crashes=1)
    story.ran(20)
    story.returned(20)


def snooze_that_costs_an_attempt(story: Story) -> None:
    story.enqueued(20)
    story.ran(20)
    story.became(20, "pending")
    story.ran(20)
    story.returned(20)


def exhausted_too_early(story: Story) -> None:
    story.enqueued(20)
    story.ran(20)
    story.became(20, "dead", dead_reason="exhausted")


def crashes_not_set_back(story: Story) -> None:
    story.enqueued(20, crashes=1)
    story.ran(20)
    story.became(20, "completed", crashes=1)


def two_holders(story: Story) -> None:
    story.enqueued(20)
    story.ran(20)
    story.begun(20, X)
    story.returned(20)


def ran_without_a_claim(story: Story) -> None:
    story.begun(1, token=9)


def ran_by_another(story: Story) -> None:
    story.enqueued(20)
    story.claimed(20, W)
    story.begun(20, X)
    story.returned(20)


def stale_extend(story: Story) -> None:
    story.wrote(1, "extend", token=1)


def stale_write_after_completion(story: Story) -> None:
    story.wrote(2, "progress", token=1)


def stale_settle(story: Story) -> None:
    story.enqueued(20)
    story.ran(20)
    story.died(why="kill worker")
    story.crashed(20)
    story.ran(20, X)
    story.became(20, "completed", result={"token": 1})


def stale_failure(story: Story) -> None:
    story.enqueued(20)
    story.ran(20)
    story.died(why="kill worker")
    story.crashed(20)
    story.ran(20, X)
    story.became(20, "dead", error="PlannedFailure: token=1", dead_reason="discarded")


def stale_checkpoint(story: Story) -> None:
    story.enqueued(20)
    story.ran(20)
    story._change(20, checkpoint={"token": 7, "step": 1})
    story.returned(20)


def stale_progress(story: Story) -> None:
    story.enqueued(20)
    story.ran(20)
    story._change(20, progress={"done": 1, "message": "token 7"})
    story.returned(20)


def checkpoint_lost(story: Story) -> None:
    story.wrote(3, "checkpoint", token=1, step=5)
    story.event("resumed", job=3, token=3, step=0)


def ran_again_after_its_transaction(story: Story) -> None:
    story.changes = []
    story.begun(2, token=3)


def effect_twice(story: Story) -> None:
    story.effects.append((2, 1))


def effect_missing(story: Story) -> None:
    story.effects.clear()


def effect_of_a_cancelled_job(story: Story) -> None:
    story.enqueued(20, "effect")
    story.event("asks", act="cancel", ids=[20])
    story._change(20, after="cancelled", token=1)
    story.effects.append((20, 1))


def effect_of_a_stale_holder(story: Story) -> None:
    story.effects[0] = (2, 0)


def effect_without_job(story: Story) -> None:
    story.effects.append((99, 1))


def innocent_in_a_crash_loop(story: Story) -> None:
    story.now += 1000
    story.enqueued(20)
    for _ in range(5):
        story.ran(20, X)
        story.crashed(20, X)


def crash_loop_too_late(story: Story) -> None:
    story.enqueued(20)
    story.rows[20] = replace(story.rows[20], crashes=5)
    story.ran(20)
    story.died(why="kill worker")
    story.became(20, "pending", given_back=True, crashes=6)
    story.ran(20)
    story.returned(20)


def guilty_runs_on(story: Story) -> None:
    story.begun(4, token=11)


def guilty_gets_away(story: Story) -> None:
    story.enqueued(20, "poison")
    story.ran(20)
    story.returned(20)


def two_suspects_at_once(story: Story) -> None:
    for id in (20, 21):
        story.enqueued(id, crashes=2)
    for id in (20, 21):
        story.ran(id)
    for id in (20, 21):
        story.returned(id)


def fire_doubled(story: Story) -> None:
    story.stored(30, "tick_one", None, due=2_000.0, created=2_000.0)
    story.ran(30)
    story.returned(30)


def fire_without_job(story: Story) -> None:
    story.fires.append(("tick_one", 2_050.0))


def fire_left_out(story: Story) -> None:
    story.fired(30, "tick_all", 2_070.0)


def fire_at_the_wrong_time(story: Story) -> None:
    story.fired(30, "tick_one", 2_043.0)


def fire_that_should_have_been_skipped(story: Story) -> None:
    story.fired(30, "tick_skip", 2_040.0)
    story.rows[30] = replace(story.rows[30], created=2_500.0)


def fire_missing_in_the_calm(story: Story) -> None:
    story.rules = replace(RULES, calm=(2_000.0, 2_100.0))


def starved(story: Story) -> None:
    story.enqueued(20, "line", priority=10)
    for id in range(21, 31):
        story.now += 5
        story.enqueued(id, "line", priority=1)
        story.ran(id)
        story.returned(id)
    story.ran(20)
    story.returned(20)


def ended_by_itself(story: Story) -> None:
    story.event("odd", text="worker-1 ended by itself")


def killed_by_nobody(story: Story) -> None:
    story.enqueued(40)
    story.ran(40)
    story.died()


BAD: dict[Callable[[Story], None], str] = {
    lost: "no acknowledged enqueue is lost",
    swapped: "no acknowledged enqueue is lost",
    invented: "nothing is invented",
    stored_twice: "nothing is invented",
    deleted: "nothing is lost",
    order_without_job: "a job enqueued with conn= shares its transaction's fate",
    job_without_order: "a job enqueued with conn= shares its transaction's fate",
    order_rolled_back_and_yet_there: "a job enqueued with conn= shares its transaction's fate",
    still_processing: "at the end all is at rest",
    still_waiting: "at the end all is at rest",
    sums_that_do_not_agree: "the sums agree",
    row_without_insertion: "the sums agree",
    unknown_type_touched: "a type no worker knows stays pending",
    ended_twice: "a job ends once",
    ended_and_ran_again: "a job that has ended does not run again",
    requeued_by_nobody: "a job that has ended does not run again",
    requeued_more_often_than_asked: "an end is an end",
    requeue_that_keeps_attempts: "a requeued job begins anew",
    token_went_back: "the token never goes back",
    taken_while_running: "one holder",
    claim_without_new_token: "a claim raises token and attempts by one",
    end_without_new_token: "the token grows when a job leaves its holder",
    cancelled_by_nobody: "a job that waits ends only by an operator, or expired",
    hole_in_the_changes: "each change follows from the last",
    too_many_attempts: "attempts never exceed max_attempts",
    crash_that_costs_an_attempt: "a crash costs no attempt",
    snooze_that_costs_an_attempt: "what goes back in line has its attempt given back",
    exhausted_too_early: "exhausted means that every attempt was spent",
    crashes_not_set_back: "a run that ends by itself sets crashes to 0 and spends its attempt",
    two_holders: "one holder",
    ran_without_a_claim: "one holder",
    ran_by_another: "one holder",
    stale_extend: "stale writes are refused",
    stale_write_after_completion: "stale writes are refused",
    stale_settle: "stale writes are refused",
    stale_failure: "stale writes are refused",
    stale_checkpoint: "stale writes are refused",
    stale_progress: "stale writes are refused",
    checkpoint_lost: "a checkpoint that was acknowledged lasts",
    ran_again_after_its_transaction: "a job that has ended does not run again",
    effect_twice: "a transactional effect happens exactly once",
    effect_missing: "a transactional effect happens exactly once",
    effect_of_a_cancelled_job: "a transactional effect happens exactly once",
    effect_of_a_stale_holder: "a transactional effect happens exactly once",
    effect_without_job: "a transactional effect happens exactly once",
    innocent_in_a_crash_loop: "only the guilty become crash_loop",
    crash_loop_too_late: "max_crashes makes a job dead",
    guilty_runs_on: "the guilty are stopped within max_crashes",
    guilty_gets_away: "the guilty are stopped within max_crashes",
    two_suspects_at_once: "suspects run alone",
    fire_doubled: "no fire is doubled",
    fire_without_job: "no fire is lost",
    fire_left_out: "no fire is lost",
    fire_at_the_wrong_time: "a schedule fires at its times",
    fire_that_should_have_been_skipped: "missed fires are skipped",
    fire_missing_in_the_calm: "no fire is lost",
    starved: "everything gets its turn",
    ended_by_itself: "a worker ends when it is told to, and only then",
    killed_by_nobody: "a worker ends when it is told to, and only then",
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_a_bad_history_is_caught(spoil: Callable[[Story], None]) -> None:
    story = good()
    spoil(story)
    assert BAD[spoil] in story.rules_of_violations()


def test_every_check_catches_something() -> None:
    caught = set()
    for spoil in BAD:
        story = good()
        spoil(story)
        history = story.history()
        caught |= {one for one in CHECKS if list(one(history))}
    assert caught == set(CHECKS)


def test_a_violation_is_told_with_the_jobs_whole_history() -> None:
    story = good()
    stale_settle(story)
    history = story.history()
    text = told(Outcome(Options(seed=42), "SQLite", 1.0, history, check(history), {"full disk": "not root"}))
    assert "| seed | 42 |" in text
    assert "| - full disk | not run: not root |" in text
    assert "STALE WRITES ARE REFUSED" in text
    assert "worker[10] begin job=20 token=1" in text
    assert "database processing -> pending token=2" in text
    assert "at the end: Row(id=20" in text


def test_what_the_nemesis_did_to_an_innocent_is_no_violation() -> None:
    story = good()
    story.enqueued(20)
    for _ in range(5):
        story.ran(20, X)
        story.died(X, why="kill worker")
        story.crashed(20, X)
    assert check(story.history()) == []


def test_a_late_run_under_a_spent_token_is_no_violation() -> None:
    story = good()
    story.enqueued(20, "effect")
    story.claimed(20, W)
    story.died(why="freeze worker")
    story.crashed(20)
    story.ran(20, X)
    story.effect(20)
    story.begun(20, W, token=1)
    story.wrote(20, "transaction", "refused", token=1)
    assert check(story.history()) == []
