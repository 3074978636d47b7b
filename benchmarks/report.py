"""The result as tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from benchmarks import tables
from benchmarks.campaign import Outcome
from benchmarks.goals import judge
from benchmarks.tables import Table

COLOURS = {"met": "[green]met[/]", "missed": "[red]missed[/]"}


def show(outcome: Outcome, console: Console) -> None:
    """Everything that was measured, and the goals."""
    for place, facts in outcome.places.items():
        console.print(f"{place}: {', '.join(f'{name} {value}' for name, value in facts.items())}", highlight=False)
        for table in (*tables.measured(outcome, place), *tables.growth(outcome, place)):
            console.print(_drawn(table))
    console.print(_drawn(tables.goals([verdict for verdict in judge(outcome) if verdict.found])))
    for what, why in outcome.failures.items():
        console.print(f"not measured: {what}: {why}", style="yellow", markup=False)
    about = outcome.machine
    console.print(
        f"{about['cores']} cores, {about['processor']}, Python {about['python']}; load before {about['load_before']}; "
        f"{outcome.seconds:.0f} s",
        highlight=False,
    )


def _drawn(table: Table) -> RichTable:
    drawn = RichTable(title=table.title, title_justify="left")
    for number, name in enumerate(table.header):
        drawn.add_column(name, justify="left" if number < 2 else "right")
    for row in table.rows:
        drawn.add_row(*(COLOURS.get(cell, escape(cell)) for cell in row))
    return drawn
