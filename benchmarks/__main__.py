"""The command: `python -m benchmarks --help`, or `./dev bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import campaign, report
from benchmarks.catalogue import POSTGRES, SQLITE
from benchmarks.measures import MEASURES


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="The core of it, under three minutes.")] = False,
    place: Annotated[list[str] | None, typer.Option("--on", help="sqlite or postgres; both by default.")] = None,
    measure: Annotated[list[str] | None, typer.Option(help="Only this: " + ", ".join(m.name for m in MEASURES))] = None,
    system: Annotated[list[str] | None, typer.Option(help="Only this system.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Samples of each; 5, with --quick 3.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds a sample, roughly; 2, with --quick 0.4.")] = None,
    out: Annotated[Path, typer.Option(help="Where the result goes, as JSON.")] = Path("benchmarks/results/latest.json"),
) -> None:
    """Measure qengine on SQLite and on an embedded PostgreSQL, beside what the databases themselves can do."""
    settings = campaign.Settings(
        places=place or (SQLITE, POSTGRES),
        measures=measure or (),
        names=system or (),
        rounds=rounds or (3 if quick else 5),
        seconds=seconds or (0.4 if quick else 2.0),
        quick=quick,
    )
    console = Console()
    if not console.is_terminal:
        console = Console(width=132)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("starting", total=None)
        outcome = campaign.carry_out(
            settings, told=lambda done, total, what: progress.update(bar, completed=done, total=total, description=what)
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(campaign.as_mapping(outcome), indent=1) + "\n")
    report.show(outcome, console)


if __name__ == "__main__":
    typer.run(bench)
