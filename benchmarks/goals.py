"""The goals, as ratios within one run or as bounds, and whether they are met."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from benchmarks.campaign import Outcome
from benchmarks.catalogue import PEERS, POSTGRES, SQLITE
from benchmarks.figures import Figure, figure, ratio
from benchmarks.handlers import NAP
from benchmarks.measures import GROWTH

BOTH = (POSTGRES, SQLITE)
OTHER_JOBS = tuple(kind for kind in GROWTH if kind not in ("types", "workers"))


class Found(NamedTuple):
    """What there is to judge, and which of several it is of."""

    figure: Figure
    note: str = ""


Find = Callable[[Outcome, str], Found | None]
"""What a run found on a place; None: it did not measure this."""


@dataclass(frozen=True)
class Goal:
    """A figure, or a ratio of two in the same run, and its bound."""

    title: str
    bound: float
    find: Find
    places: tuple[str, ...] = BOTH
    at_least: bool = True
    unit: str = ""
    surely: bool = False
    """The end of the interval that is the worse counts, not the median."""


@dataclass(frozen=True)
class Verdict:
    """How a goal fared on a place."""

    goal: Goal
    place: str
    found: Figure | None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """None: not measured."""
        if self.found is None:
            return None
        if self.goal.at_least:
            return (self.found.low if self.goal.surely else self.found.median) >= self.goal.bound
        return (self.found.high if self.goal.surely else self.found.median) <= self.goal.bound


def _own(measure: str, name: str) -> Find:
    """A figure of ours."""

    def find(outcome: Outcome, place: str) -> Found | None:
        values = outcome.values(place, measure, "qengine", name)
        return Found(figure(values)) if values else None

    return find


def _beside(measure: str, name: str, system: str) -> Find:
    """A figure of ours ÷ the same of another system; `raw` is the driver of the place."""

    def find(outcome: Outcome, place: str) -> Found | None:
        entry = {POSTGRES: "raw asyncpg", SQLITE: "raw sqlite3"}[place] if system == "raw" else system
        return _found(outcome.values(place, measure, "qengine", name), outcome.values(place, measure, entry, name))

    return find


def _beside_ourselves(measure: str, other: str) -> Find:
    """A rate of ours ÷ our rate in another measure."""

    def find(outcome: Outcome, place: str) -> Found | None:
        return _found(outcome.values(place, measure, "qengine", "rate"), outcome.values(place, other, "qengine", "rate"))

    return find


def _beside_peers(measure: str, name: str, *, least: bool = False, node: bool = False) -> Find:
    """A figure of ours ÷ the same of the best peer: the one with the most, or the `least`."""

    def find(outcome: Outcome, place: str) -> Found | None:
        peers = [peer.name for peer in PEERS if peer.place == place and (node or not peer.node)]
        measured = {peer: values for peer in peers if (values := outcome.values(place, measure, peer, name))}
        if not measured:
            return None
        best = (min if least else max)(measured, key=lambda peer: median(measured[peer]))
        return _found(outcome.values(place, measure, "qengine", name), measured[best], best)

    return find


def _naps(outcome: Outcome, place: str) -> Found | None:
    """Our rate with handlers that wait ÷ the ideal, or ÷ that with handlers that do nothing where it is lower."""
    waiting = outcome.values(place, "drain-nap", "qengine", "rate")
    no_ops = outcome.values(place, "drain-100", "qengine", "rate")
    ideal = 100 / NAP
    if no_ops and median(no_ops) < ideal:
        return _found(waiting, no_ops, "no-op rate")
    return _found(waiting, [ideal], "ideal")


def _growth(verb: str) -> Find:
    """How many times as long a verb takes beside the most other jobs as beside the fewest, of the kind where it is worst."""

    def find(outcome: Outcome, place: str) -> Found | None:
        found = []
        for kind in OTHER_JOBS:
            rates = {
                size: values
                for size in GROWTH[kind]
                if (values := outcome.values(place, f"growth-{kind}-{size}", "qengine", verb))
            }
            if len(rates) > 1 and (slower := ratio(rates[min(rates)], rates[max(rates)])):
                found.append(Found(slower, f"{max(rates):,} {kind}"))
        return max(found, key=lambda one: one.figure.median, default=None)

    return find


def _pinned(outcome: Outcome, place: str) -> Found | None:
    soon, before = (outcome.values(place, "pinned", "qengine", name) for name in ("soon", "before"))
    return _found(soon, before)


def _found(ours: list[float], theirs: list[float], note: str = "") -> Found | None:
    compared = ratio(ours, theirs)
    return Found(compared, note) if compared else None


def _pickup_beside_peers() -> Iterable[Goal]:
    ways = {"pickup": "in process", "pickup-other": "from another process", "pickup-half": "at half load"}
    for measure, way in ways.items():
        for share in ("p50", "p99"):
            find = _beside_peers(measure, share, least=True, node=True)
            yield Goal(f"pick-up {way}, {share} ÷ the best peer", 1.0, find, at_least=False)


_TWO = _beside_ourselves("drain-2", "drain-100")
_PG, _LITE = (POSTGRES,), (SQLITE,)

GOALS = (
    Goal("drain ÷ the fastest Python peer", 2.0, _beside_peers("drain-100", "rate"), _PG),
    Goal("drain ÷ bare engine", 0.6, _beside("drain-100", "rate", "bare engine"), _PG),
    Goal("drain ÷ graphile-worker (Node)", 1.0, _beside("drain-100", "rate", "graphile-worker"), _PG),
    Goal("drain ÷ the fastest peer", 5.0, _beside_peers("drain-100", "rate"), _LITE),
    Goal("drain ÷ bare engine", 0.5, _beside("drain-100", "rate", "bare engine"), _LITE),
    Goal("drain at concurrency 10 ÷ at 100", 0.6, _beside_ourselves("drain-10", "drain-100")),
    Goal("drain by two processes ÷ one", 1.2, _TWO, _PG),
    Goal("drain by two processes ÷ one, lower end of the interval", 1.0, _TWO, _PG, surely=True),
    Goal("drain by four processes ÷ two", 1.0, _beside_ourselves("drain-4", "drain-2"), _PG),
    Goal("drain of 100 types ÷ one", 0.5, _beside_ourselves("drain-types-100", "drain-100")),
    Goal("drain of handlers of 10 ms ÷ what is possible", 0.95, _naps),
    Goal("enqueue one by one ÷ a raw INSERT", 0.85, _beside("enqueue-one", "rate", "raw")),
    Goal("enqueue one by one ÷ the fastest Python peer", 1.5, _beside_peers("enqueue-one", "rate"), _PG),
    Goal("enqueue by 50 ÷ the fastest peer", 5.0, _beside_peers("enqueue-callers", "rate", node=True), _PG),
    Goal("enqueue by 50 ÷ one by one", 4.0, _beside_ourselves("enqueue-callers", "enqueue-one"), _LITE),
    Goal("enqueue by 50 ÷ the raw grouped insert", 0.4, _beside("enqueue-callers", "rate", "raw")),
    Goal("enqueue in bulk ÷ the fastest Python peer", 1.5, _beside_peers("enqueue-bulk", "rate")),
    Goal("enqueue in bulk ÷ raw, in chunks", 0.5, _beside("enqueue-bulk", "rate", "raw")),
    *_pickup_beside_peers(),
    Goal("pick-up in process ÷ a bare NOTIFY and claim", 2.0, _beside("pickup", "p50", "raw"), _PG, at_least=False),
    Goal("pick-up from another process ÷ the same", 2.0, _beside("pickup-other", "p50", "raw"), _PG, at_least=False),
    Goal("pick-up in process, p50", 2.0, _own("pickup", "p50"), _LITE, at_least=False, unit="ms"),
    Goal("pick-up from another process, p50", 10.0, _own("pickup-other", "p50"), _LITE, at_least=False, unit="ms"),
    Goal(
        "CPU a job, worker and server ÷ the best Python peer", 0.5, _beside_peers("drain-100", "cpu", least=True), at_least=False
    ),
    *(
        Goal(f"{verb}, time beside the most other jobs ÷ beside a thousand", 1.3, _growth(verb), at_least=False)
        for verb in ("claim", "settle", "enqueue")
    ),
    Goal("claim after 100,000 jobs beside a pinned transaction ÷ before", 0.8, _pinned),
    Goal("memory of a worker after a million jobs", 60.0, _own("memory", "memory"), at_least=False, unit="MB"),
    Goal("its growth since the first hundred thousand", 2.0, _own("memory", "memory_growth"), at_least=False, unit="MB"),
    Goal("idle worker and server, of a core", 0.5, _own("idle", "idle"), at_least=False, unit="%"),
)


def judge(outcome: Outcome) -> list[Verdict]:
    """Every goal on every place that was measured."""
    return [_verdict(outcome, goal, place) for goal in GOALS for place in goal.places if place in outcome.places]


def _verdict(outcome: Outcome, goal: Goal, place: str) -> Verdict:
    found = goal.find(outcome, place)
    return Verdict(goal, place, *found) if found else Verdict(goal, place, None)
