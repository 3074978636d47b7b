"""The command: `python -m benchmarks --help`, or `./dev bench`."""

from __future__ import annotations

import json
import sys
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import campaign, environments, page, report
from benchmarks.campaign import Outcome, Settings
from benchmarks.catalogue import POSTGRES, SQLITE
from benchmarks.measures import MEASURES

ROOT = Path(__file__).resolve().parent.parent
NAMES = ", ".join(measure.name for measure in MEASURES if measure.group != "Growth")


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="The core of it, under three minutes.")] = False,
    peers: Annotated[bool, typer.Option("--peers", help="Other queues too, each in an environment that is made for it.")] = False,
    place: Annotated[list[str] | None, typer.Option("--on", help="sqlite or postgres; both by default.")] = None,
    measure: Annotated[list[str] | None, typer.Option(help=f"Only this, or all that begin so: {NAMES}, growth.")] = None,
    system: Annotated[list[str] | None, typer.Option(help="Only this system.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Samples of each; 5, with --quick 3.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds a sample, roughly; 1, with --quick 0.4.")] = None,
    largest: Annotated[
        int, typer.Option(help="Other jobs in the table, at the most, when growth is measured; up to 10 million.")
    ] = 1_000_000,
    out: Annotated[Path, typer.Option(help="Where the result goes, as JSON.")] = ROOT / "benchmarks/results/latest.json",
    again: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Measure nothing: show this result. Several are put together, the last one counts."),
    ] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Write docs/performance.md and its plots.")] = False,
) -> None:
    """Measure qengine on SQLite and on an embedded PostgreSQL, beside what the databases themselves can do.

    On two quiet cores everything takes about 20 minutes, with --peers about 40 and what it takes to install them. It can be done
    in parts, by --on, --measure and --out, which --from puts together. Ctrl-C ends a run with what was found.
    """
    settings = Settings(
        places=place or (SQLITE, POSTGRES),
        measures=measure or (),
        names=system or (),
        rounds=rounds or (3 if quick else 5),
        seconds=seconds or (0.4 if quick else 1.0),
        quick=quick,
        peers=peers,
        largest=largest,
    )
    if again:
        found = [campaign.from_mapping(json.loads(path.read_text())) for path in again]
        outcome = reduce(Outcome.merged, found)
    else:
        outcome = _measure(settings, out)
        _save(outcome, out)
    console = Console()
    report.show(outcome, console if console.is_terminal else Console(width=150))
    if docs:
        console.print(f"written: {page.write(outcome, ROOT / 'docs')}")


def _measure(settings: Settings, out: Path) -> Outcome:
    # Beside the peers, everything runs in an environment with the same event loop (uvloop).
    python: Any = environments.python if settings.peers else lambda entry: sys.executable
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("starting", total=None)

        def told(outcome: Outcome, done: int, total: int, following: str) -> None:
            _save(outcome, out)
            progress.update(bar, completed=done, total=total, description=following)

        return campaign.carry_out(settings, python, told=told)


def _save(outcome: Outcome, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(campaign.as_mapping(outcome), indent=1) + "\n")


if __name__ == "__main__":
    typer.run(bench)
