"""A run of the benchmarks: every measure of every system, interleaved, in rounds."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks import processes
from benchmarks.catalogue import POSTGRES, SQLITE, Entry, entries
from benchmarks.measures import MEASURES, Measure
from benchmarks.places import Place, PostgresPlace, SQLitePlace, machine

Pythons = Callable[[Entry], str]
"""The interpreter in whose environment an entry runs. Raises processes.SubjectFailed saying why there is none."""


@dataclass(frozen=True)
class Settings:
    """What a run is to do."""

    places: Sequence[str] = (SQLITE, POSTGRES)
    measures: Sequence[str] = ()
    """Names; none: all."""
    rounds: int = 5
    seconds: float = 2.0
    """How long a sample of a rate takes, roughly."""
    quick: bool = False
    peers: bool = False
    names: Sequence[str] = ()
    """Systems; none: all."""
    largest: int = 100_000
    """How many other jobs there are at the most when growth is measured."""


@dataclass
class Sample:
    """The figures of one measurement."""

    place: str
    measure: str
    entry: str
    round: int
    figures: dict[str, float]


@dataclass
class Outcome:
    """All that a run found."""

    settings: Settings
    machine: dict[str, Any]
    places: dict[str, dict[str, Any]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """By `place, entry, measure`: why there are no figures."""
    seconds: float = 0.0

    def values(self, place: str, measure: str, entry: str, figure: str) -> list[float]:
        """The samples of one figure."""
        return [
            sample.figures[figure]
            for sample in self.samples
            if (sample.place, sample.measure, sample.entry) == (place, measure, entry) and figure in sample.figures
        ]


@dataclass(frozen=True)
class _Step:
    place: Place
    measure: Measure
    entry: Entry
    round: int


def carry_out(
    settings: Settings,
    python: Pythons = lambda entry: sys.executable,
    *,
    told: Callable[[Outcome, int, int, str], None] = lambda outcome, done, total, following: None,
) -> Outcome:
    """Do the run. `told` hears before each step: what was found so far, steps done, steps in all, and what comes next.

    An interruption (Ctrl-C) ends the run early, with what was found.
    """
    outcome = Outcome(settings, machine())
    began = time.monotonic()
    with ExitStack() as stack:
        steps = []
        for name in settings.places:
            place: Place = SQLitePlace() if name == SQLITE else stack.enter_context(PostgresPlace())
            outcome.places[name] = place.facts()
            steps += list(_steps(settings, place))
        with contextlib.suppress(KeyboardInterrupt):
            for done, step in enumerate(steps):
                outcome.seconds = time.monotonic() - began
                told(outcome, done, len(steps), f"{step.place.name}: {step.measure.title}, {step.entry.name}")
                _take(outcome, step, settings, python)
    outcome.seconds = time.monotonic() - began
    return outcome


def _steps(settings: Settings, place: Place) -> Iterator[_Step]:
    chosen = [entry for entry in entries(place.name, peers=settings.peers) if not settings.names or entry.name in settings.names]
    for measure in MEASURES:
        named = any(measure.name == name or measure.name.startswith(f"{name}-") for name in settings.measures)
        if not named and (settings.measures or (measure.full_only and settings.quick)):
            continue
        if measure.order.workload == "growth" and measure.order.jobs > settings.largest:
            continue
        for number in range(1 if measure.once and settings.quick else settings.rounds):
            for entry in chosen:
                wanted = entry.kind == "ours" if measure.ours_only else not entry.measures or measure.name in entry.measures
                if wanted:
                    yield _Step(place, measure, entry, number)


def _take(outcome: Outcome, step: _Step, settings: Settings, python: Pythons) -> None:
    place, measure, entry = step.place, step.measure, step.entry
    key = f"{place.name}, {entry.name}, {measure.name}"
    if key in outcome.failures or f"{place.name}, {entry.name}" in outcome.failures:
        return
    try:
        interpreter = python(entry)
    except processes.SubjectFailed as error:
        outcome.failures[f"{place.name}, {entry.name}"] = str(error)
        return
    with place.database() as url:
        orders = measure.orders(entry, url, place.server, settings.seconds)
        try:
            results = processes.run(
                interpreter,
                entry.module,
                orders,
                lambda: place.settle_down(url),
                one_by_one=measure.order.workload == "pickup",
            )
            figures = measure.figures(results)
        except (processes.SubjectFailed, ValueError) as error:
            outcome.failures[key] = str(error)
            return
    outcome.samples.append(Sample(place.name, measure.name, entry.name, step.round, figures))


def from_mapping(found: dict[str, Any]) -> Outcome:
    """Back from the JSON file."""
    parts = dict(found)
    samples = [Sample(**sample) for sample in parts.pop("samples")]
    return Outcome(Settings(**parts.pop("settings")), samples=samples, **parts)


def as_mapping(outcome: Outcome) -> Mapping[str, Any]:
    """For the JSON file."""
    return asdict(outcome)
