"""The goals, as ratios within one run or as bounds, and whether they are met."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.campaign import Outcome
from benchmarks.catalogue import POSTGRES, SQLITE
from benchmarks.figures import ratio


@dataclass(frozen=True)
class Goal:
    """One figure of ours against a bound, or against the same figure of something else in the same run."""

    title: str
    place: str
    measure: str
    figure: str
    bound: float
    against: str = ""
    """`raw …`, `bare engine`, `peers` (the best of those in Python), or empty: the bound is absolute."""
    at_least: bool = True
    other_measure: str = ""
    """Compare with our own figure in this measure."""
    unit: str = ""


@dataclass(frozen=True)
class Verdict:
    """How a goal fared."""

    goal: Goal
    value: float | None
    low: float | None
    high: float | None

    @property
    def met(self) -> bool | None:
        """None: not measured."""
        if self.value is None:
            return None
        return self.value >= self.goal.bound if self.goal.at_least else self.value <= self.goal.bound


def _on_both(title: str, measure: str, bound: float, other: str) -> tuple[Goal, ...]:
    return tuple(Goal(title, place, measure, "rate", bound, other_measure=other) for place in (POSTGRES, SQLITE))


GOALS = (
    Goal("idle worker, of a core", SQLITE, "idle", "idle", 0.5, at_least=False, unit="%"),
    Goal("idle worker and server, of a core", POSTGRES, "idle", "idle", 0.5, at_least=False, unit="%"),
    Goal("pick-up in process, p50", SQLITE, "pickup", "p50", 2.0, at_least=False, unit="ms"),
    Goal("pick-up in process, p50", POSTGRES, "pickup", "p50", 10.0, at_least=False, unit="ms"),
    Goal("pick-up from another process, p50", SQLITE, "pickup-other", "p50", 10.0, at_least=False, unit="ms"),
    Goal("pick-up from another process, p50", POSTGRES, "pickup-other", "p50", 10.0, at_least=False, unit="ms"),
    Goal("pick-up in process, ÷ a bare NOTIFY and claim", POSTGRES, "pickup", "p50", 2.0, "raw asyncpg", at_least=False),
    Goal("pick-up from another process, ÷ the same", POSTGRES, "pickup-other", "p50", 2.0, "raw asyncpg", at_least=False),
    Goal("drain, ÷ bare engine", POSTGRES, "drain-100", "rate", 0.6, "bare engine"),
    Goal("drain, ÷ bare engine", SQLITE, "drain-100", "rate", 0.5, "bare engine"),
    Goal("drain, ÷ the fastest peer", POSTGRES, "drain-100", "rate", 2.0, "peers"),
    Goal("drain, ÷ graphile-worker (Node)", POSTGRES, "drain-100", "rate", 1.0, "graphile-worker"),
    Goal("drain, ÷ the fastest peer", SQLITE, "drain-100", "rate", 5.0, "peers"),
    Goal("drain at concurrency 10, ÷ at 100", POSTGRES, "drain-10", "rate", 0.6, other_measure="drain-100"),
    Goal("drain at concurrency 10, ÷ at 100", SQLITE, "drain-10", "rate", 0.6, other_measure="drain-100"),
    *_on_both("drain by two processes, ÷ one", "drain-2", 1.2, "drain-100"),
    *_on_both("drain by four processes, ÷ two", "drain-4", 1.0, "drain-2"),
    *_on_both("drain of 100 types, ÷ one", "drain-types-100", 0.5, "drain-100"),
    Goal("enqueue one by one, ÷ a raw INSERT", POSTGRES, "enqueue-one", "rate", 0.85, "raw asyncpg"),
    Goal("enqueue one by one, ÷ a raw INSERT", SQLITE, "enqueue-one", "rate", 0.85, "raw sqlite3"),
    Goal("enqueue one by one, ÷ the fastest peer", POSTGRES, "enqueue-one", "rate", 1.5, "peers"),
    Goal("enqueue by 50, ÷ the raw grouped insert", POSTGRES, "enqueue-callers", "rate", 0.4, "raw asyncpg"),
    Goal("enqueue by 50, ÷ the fastest peer", POSTGRES, "enqueue-callers", "rate", 5.0, "peers"),
    Goal("enqueue by 50, ÷ one by one", SQLITE, "enqueue-callers", "rate", 4.0, other_measure="enqueue-one"),
    Goal("enqueue in bulk, ÷ raw unnest in chunks", POSTGRES, "enqueue-bulk", "rate", 0.5, "raw asyncpg"),
    Goal("enqueue in bulk, ÷ the fastest peer", POSTGRES, "enqueue-bulk", "rate", 1.5, "peers"),
)


def judge(outcome: Outcome) -> list[Verdict]:
    """Every goal that this run could tell about, first those of the places it measured."""
    return [_verdict(outcome, goal) for goal in GOALS if goal.place in outcome.places]


def _verdict(outcome: Outcome, goal: Goal) -> Verdict:
    ours = outcome.values(goal.place, goal.measure, "qengine", goal.figure)
    if not goal.against and not goal.other_measure:
        return Verdict(goal, *((sorted(ours)[len(ours) // 2], min(ours), max(ours)) if ours else (None, None, None)))
    if goal.other_measure:
        theirs = outcome.values(goal.place, goal.other_measure, "qengine", goal.figure)
    elif goal.against == "peers":
        theirs = _best_peer(outcome, goal)
    else:
        theirs = outcome.values(goal.place, goal.measure, goal.against, goal.figure)
    if not ours or not theirs:
        return Verdict(goal, None, None, None)
    found = ratio(ours, theirs)
    return Verdict(goal, found.median, found.low, found.high)


def _best_peer(outcome: Outcome, goal: Goal) -> list[float]:
    from statistics import median

    from benchmarks.catalogue import PEERS

    found = [
        outcome.values(goal.place, goal.measure, peer.name, goal.figure)
        for peer in PEERS
        if peer.place == goal.place and not peer.node
    ]
    return max((values for values in found if values), key=median, default=[])
