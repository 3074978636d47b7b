"""The result as a table on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks.campaign import Outcome
from benchmarks.catalogue import entries
from benchmarks.figures import figure, ratio
from benchmarks.goals import Verdict, judge
from benchmarks.measures import GROWING, GROWTH_KINDS, GROWTH_SIZES, MEASURES, PERCENTILES

UNITS = {"rate": "jobs/s", "idle": "% of a core"} | dict.fromkeys(PERCENTILES, "ms")


def show(outcome: Outcome, console: Console) -> None:
    """Everything that was measured, and the goals."""
    for place, facts in outcome.places.items():
        console.print(_table(outcome, place, facts))
        if (growth := growth_table(outcome, place)).rows:
            console.print(growth)
    console.print(_goals(judge(outcome)))
    for what, why in outcome.failures.items():
        console.print(f"not measured: {what}: {why}", style="yellow", markup=False)
    about = outcome.machine
    console.print(
        f"{about['cores']} cores, {about['processor']}, Python {about['python']}; load before {about['load_before']}; "
        f"{outcome.seconds:.0f} s",
        highlight=False,
    )


def _table(outcome: Outcome, place: str, facts: dict[str, object]) -> Table:
    title = f"{place}: {', '.join(f'{name} {value}' for name, value in facts.items())}"
    table = Table("measure", "system", title=title, title_justify="left")
    for name in ("median", "from - to", "unit", "qengine ÷ it", "CPU ms / 1,000: worker", "server"):
        table.add_column(name, justify="right")
    for measure in MEASURES:
        for entry in entries(place, peers=True):
            for name in UNITS:
                values = outcome.values(place, measure.name, entry.name, name)
                if not values or name == "p99.9":
                    continue
                ours = outcome.values(place, measure.name, "qengine", name)
                table.add_row(
                    measure.title,
                    entry.name,
                    *_cells(values, name),
                    f"{ratio(ours, values).median:.2f}" if ours and entry.kind != "ours" and name == "rate" else "",
                    *(_cpu(outcome, place, measure.name, entry.name, which) for which in ("worker_cpu", "server_cpu")),
                )
        if table.rows:
            table.add_section()
    return table


def growth_table(outcome: Outcome, place: str) -> Table:
    """Each verb with many other jobs, beside itself with a thousand."""
    table = Table("other jobs", *GROWING, title=f"{place}: calls a second (÷ with {GROWTH_SIZES[0]:,})", title_justify="left")
    for kind in GROWTH_KINDS:
        for size in GROWTH_SIZES:
            cells = [growth_cell(outcome, place, kind, size, verb) for verb in GROWING]
            if any(cells):
                table.add_row(f"{size:,} {kind}", *cells)
    return table


def growth_cell(outcome: Outcome, place: str, kind: str, size: int, verb: str) -> str:
    """A rate, and its ratio to that with the fewest other jobs; empty when it was not measured."""
    values = outcome.values(place, f"growth-{kind}-{size}", "qengine", verb)
    least = outcome.values(place, f"growth-{kind}-{GROWTH_SIZES[0]}", "qengine", verb)
    if not values:
        return ""
    return f"{figure(values).median:,.0f}" + (f" ({ratio(values, least).median:.2f})" if least else "")


def _cells(values: list[float], name: str) -> tuple[str, str, str]:
    found = figure(values)
    digits = ",.0f" if name == "rate" else ".2f"
    spread = f"{found.low:{digits}} - {found.high:{digits}}" if found.samples > 1 else ""
    unit = UNITS[name] + (f" {name}" if name in PERCENTILES else "")
    return f"{found.median:{digits}}", spread, unit


def _cpu(outcome: Outcome, place: str, measure: str, entry: str, which: str) -> str:
    values = outcome.values(place, measure, entry, which)
    return f"{figure(values).median * 1000:.1f}" if values else ""


def _goals(verdicts: list[Verdict]) -> Table:
    table = Table("goal", "on", title="Goals", title_justify="left")
    for name in ("wanted", "found", "95 %", ""):
        table.add_column(name, justify="right")
    for verdict in verdicts:
        if verdict.value is None:
            continue
        goal = verdict.goal
        table.add_row(
            goal.title,
            goal.place,
            f"{'≥' if goal.at_least else '≤'} {goal.bound:g} {goal.unit}",
            f"{verdict.value:.2f}",
            f"{verdict.low:.2f} - {verdict.high:.2f}",
            "[green]met[/]" if verdict.met else "[red]missed[/]",
        )
    return table
