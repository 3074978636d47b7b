"""A run of the benchmarks: every measure of every system, interleaved, in rounds."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
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
    seconds: float = 1.0
    """How long a sample of a rate takes, roughly."""
    quick: bool = False
    peers: bool = False
    names: Sequence[str] = ()
    """Systems; none: all."""
    largest: int = 1_000_000
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
    runtimes: dict[str, str] = field(default_factory=dict)
    """By `place, entry`: the interpreter and its event loop."""
    seconds: float = 0.0

    def values(self, place: str, measure: str, entry: str, figure: str) -> list[float]:
        """The samples of one figure."""
        return [
            sample.figures[figure]
            for sample in self.samples
            if (sample.place, sample.measure, sample.entry) == (place, measure, entry) and figure in sample.figures
        ]

    def merged(self, later: Outcome) -> Outcome:
        """What both runs found. Of a measure of a system that is in both, the later one's samples are kept."""
        again = {(sample.place, sample.measure, sample.entry) for sample in later.samples}
        kept = [sample for sample in self.samples if (sample.place, sample.measure, sample.entry) not in again]
        found = {f"{place}, {entry}, {measure}" for place, measure, entry in again}
        return Outcome(
            replace(self.settings, rounds=max(self.settings.rounds, later.settings.rounds)),
            self.machine | {"load_before": max(self.machine["load_before"], later.machine["load_before"])},
            self.places | later.places,
            kept + later.samples,
            {what: why for what, why in self.failures.items() if what not in found} | later.failures,
            self.runtimes | later.runtimes,
            self.seconds + later.seconds,
        )


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
    wanted = [measure for measure in MEASURES if _is_wanted(measure, settings)]
    # What is compared takes turns: not only the systems, but also the measures that are shown together.
    for _, together in groupby(wanted, key=lambda measure: (measure.group, measure.group == "Growth" and measure.order.kind)):
        block = list(together)
        for number in range(settings.rounds):
            for measure in block:
                for entry in chosen:
                    if _takes_part(entry, measure) and number < _rounds(entry, measure, settings):
                        yield _Step(place, measure, entry, number)


def _is_wanted(measure: Measure, settings: Settings) -> bool:
    if measure.group == "Growth" and measure.order.jobs > settings.largest:
        return False
    if settings.measures:
        return any(measure.name == name or measure.name.startswith(f"{name}-") for name in settings.measures)
    return not (measure.full_only and settings.quick)


def _takes_part(entry: Entry, measure: Measure) -> bool:
    return entry.kind in measure.takers and (not entry.measures or measure.name in entry.measures)


def _rounds(entry: Entry, measure: Measure, settings: Settings) -> int:
    """How many samples are taken; with `--quick` a single one where one holds many observations."""
    limits = [measure.rounds, measure.peer_rounds if entry.kind == "peer" else None]
    if settings.quick and measure.order.workload in ("pickup", "idle"):
        limits.append(1)
    return min([settings.rounds, *(limit for limit in limits if limit is not None)])


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
        log_before: int | None = None

        def loaded() -> None:
            nonlocal log_before
            place.settle_down(url)
            log_before = place.log_position(url)

        try:
            results = processes.run(
                interpreter,
                entry.module,
                measure.orders(entry, url, place.server, settings.seconds),
                loaded,
                one_by_one=measure.order.workload == "pickup",
                patience=measure.patience,
            )
            figures = measure.figures(results)
        except (processes.SubjectFailed, ValueError) as error:
            outcome.failures[key] = str(error)
            return
        log_after = place.log_position(url)
    if log_before is not None and log_after is not None and "written" in figures:
        figures["written"] = (log_after - log_before) / results[0]["jobs"]
    outcome.runtimes[f"{place.name}, {entry.name}"] = _runtime(results[0])
    outcome.samples.append(Sample(place.name, measure.name, entry.name, step.round, figures))


def _runtime(result: Mapping[str, Any]) -> str:
    loop, version = result["loop"], result["python"]
    return f"Node.js {version}" if loop == "node" else f"Python {version}, {loop}"


def from_mapping(found: dict[str, Any]) -> Outcome:
    """Back from the JSON file."""
    parts = dict(found)
    samples = [Sample(**sample) for sample in parts.pop("samples")]
    return Outcome(Settings(**parts.pop("settings")), samples=samples, **parts)


def as_mapping(outcome: Outcome) -> Mapping[str, Any]:
    """For the JSON file."""
    return asdict(outcome)
