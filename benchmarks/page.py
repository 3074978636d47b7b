"""docs/performance.md, made from the result: what was measured, on what, the goals met and missed, and the plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.campaign import Outcome
from benchmarks.catalogue import Entry, entries
from benchmarks.figures import figure, ratio
from benchmarks.goals import Verdict, judge
from benchmarks.measures import GROWING, GROWTH_KINDS, GROWTH_SIZES, MEASURES, PERCENTILES, Measure
from benchmarks.plots import plots
from benchmarks.report import UNITS, growth_cell

HEAD = """# Performance

This page is made by `./dev bench --docs`; run it to have your own figures. Rates differ from machine to machine and from hour
to hour: compare within the page. Each figure is the median of its samples, which were taken in turns (one of each system, then
the next round), with the lowest and the highest beside it. A drain counts a job when it is durably done and checks that none
ran twice. Pick-up is the time from before the enqueue to the start of the handler, the insert included. *Raw* is the driver in
a loop on qengine's own tables, in batches of 100; the *bare engine* adds slots, a buffer and deadlines in asyncio, and nothing
else. CPU is in milliseconds for a thousand jobs.
"""


def write(outcome: Outcome, docs: Path) -> Path:
    """Write the page and its plots into the folder `docs`."""
    pictures = plots(outcome)
    folder = docs / "performance"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pictures.items():
        (folder / name).write_text(text)
    page = docs / "performance.md"
    page.write_text("\n".join(_lines(outcome, pictures)) + "\n")
    return page


def _lines(outcome: Outcome, pictures: Iterable[str]) -> Iterable[str]:
    about = outcome.machine
    yield HEAD
    yield (
        f"Measured on {about['cores']} cores ({about['processor']}), {about['system']}, Python {about['python']}, "
        f"with a load of {about['load_before']} before it began; "
        f"{outcome.settings.rounds} rounds, about {outcome.settings.seconds:g} s a sample."
    )
    if about["load_before"] > about["cores"] / 4:
        yield "\nThe machine was busy with other work: the ratios are rough, and the absolute figures say little."
    yield "\n## Goals\n"
    yield from _goals(judge(outcome))
    for place, facts in outcome.places.items():
        yield f"\n## {'PostgreSQL' if place == 'postgres' else 'SQLite'}\n"
        yield ", ".join(f"{name} {value}" for name, value in facts.items()) + ".\n"
        yield from _measured(outcome, place)
        yield from _growth(outcome, place)
        for name in pictures:
            if name.startswith(f"{place}-"):
                yield f"\n![{name.removesuffix('.svg')}](performance/{name})"
        yield from _left_out(outcome, place)
    if outcome.failures:
        yield "\n## Not measured\n"
        yield from (f"- {what}: {why}" for what, why in outcome.failures.items())


def _goals(verdicts: Sequence[Verdict]) -> Iterable[str]:
    yield "| goal | on | wanted | found | 95 % | |\n|---|---|---|---|---|---|"
    for verdict in verdicts:
        goal = verdict.goal
        bound = f"{'≥' if goal.at_least else '≤'} {goal.bound:g} {goal.unit}".strip()
        if verdict.value is None:
            yield f"| {goal.title} | {goal.place} | {bound} | · | · | not measured |"
        else:
            found = f"{verdict.value:.2f} | {verdict.low:.2f} - {verdict.high:.2f}"
            yield f"| {goal.title} | {goal.place} | {bound} | {found} | {'met' if verdict.met else '**missed**'} |"


def _measured(outcome: Outcome, place: str) -> Iterable[str]:
    yield "| measure | system | median | from - to | unit | qengine ÷ it | CPU worker | CPU server |"
    yield "|---|---|--:|--:|---|--:|--:|--:|"
    for measure in MEASURES:
        for entry in entries(place, peers=True):
            for name in UNITS:
                if row := _row(outcome, place, measure, entry, name):
                    yield row


def _row(outcome: Outcome, place: str, measure: Measure, entry: Entry, name: str) -> str:
    values = outcome.values(place, measure.name, entry.name, name)
    if not values:
        return ""
    found, digits = figure(values), ",.0f" if name == "rate" else ".2f"
    spread = f"{found.low:{digits}} - {found.high:{digits}}" if found.samples > 1 else ""
    unit = f"{UNITS[name]} {name}" if name in PERCENTILES else UNITS[name]
    ours = outcome.values(place, measure.name, "qengine", name)
    compared = f"{ratio(ours, values).median:.2f}" if ours and entry.kind != "ours" else ""
    cpu = " | ".join(
        f"{figure(used).median * 1000:.1f}" if (used := outcome.values(place, measure.name, entry.name, which)) else ""
        for which in ("worker_cpu", "server_cpu")
    )
    return f"| {measure.title} | {entry.name} | {found.median:{digits}} | {spread} | {unit} | {compared} | {cpu} |"


def _growth(outcome: Outcome, place: str) -> Iterable[str]:
    rows = []
    for kind in GROWTH_KINDS:
        for size in GROWTH_SIZES:
            cells = [growth_cell(outcome, place, kind, size, verb) for verb in GROWING]
            if any(cells):
                rows.append(f"| {size:,} {kind} | {' | '.join(cells)} |")
    if rows:
        least = f"{GROWTH_SIZES[0]:,}"
        yield f"\nCalls a second with so many other jobs in the table (÷ with {least}); claim and settle are of 100 jobs:\n"
        yield f"| other jobs | {' | '.join(GROWING)} |\n|---|{'--:|' * len(GROWING)}"
        yield from rows


def _left_out(outcome: Outcome, place: str) -> Iterable[str]:
    measured = {sample.entry for sample in outcome.samples if sample.place == place}
    notes = [
        f"- {entry.name}: {entry.leaves_out}"
        for entry in entries(place, peers=True)
        if entry.name in measured and entry.leaves_out
    ]
    if notes:
        yield "\nWhat the others leave out:\n"
        yield from notes
