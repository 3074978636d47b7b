"""docs/performance.md, made from the result: the goals met and missed, every figure, the plots, and what to know about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.campaign import Outcome
from benchmarks.goals import judge
from benchmarks.measures import MEASURES
from benchmarks.plots import NAMES, plots
from benchmarks.tables import Table

HEAD = """# Performance

How fast qengine is on each database, beside other queues, beside the bare drivers on the same tables, and beside itself when
much else is in the table. The command below made this page from one run on one machine; run it to have your own figures, and
believe those.

```sh
./dev bench --quick                # the core of it, under three minutes
./dev bench                        # everything of qengine and of the drivers
./dev bench --peers --docs         # the other queues too, and this page
./dev bench --help                 # parts of it, and how long they take
```

## How it is measured

Each system runs in a process of its own, by its public API, in the fastest setting that keeps what it was given through a
crash of the machine, in an environment with the pinned versions below, and on a database that is made for the sample. Systems
take turns: a sample of each, then the next round. A figure is the median of its samples, with the lowest and the highest in
brackets; a ratio is of medians, with its 95 % confidence interval (bootstrap) in brackets. What takes long has fewer samples:
the tables count them. `÷ it` above 1 says that qengine is faster where more is better, and slower where less is better.

The *bare engine* is the least that an engine in asyncio does on qengine's tables: slots, a buffer, deadlines, batches, and no
features. It and the *raw* drivers are the ceilings; no queue with qengine's guarantees can surpass them by much.
"""

CAVEATS = """
## What to keep in mind

- Rates differ from machine to machine and from hour to hour by a third: compare within a run.
- Client and server share the cores. On a network, what goes one by one waits for the round trip, and batches gain.
- Handlers here do nothing, or wait. Where yours take longer than a few milliseconds, they decide, and not the queue.
- Queues that do less work are measured all the same: what each leaves out stands beside it.
- An interval from five samples is rough; from one there is none.
"""


def write(outcome: Outcome, docs: Path) -> Path:
    """Write the page and its plots into the folder `docs`."""
    pictures = plots(outcome)
    folder = docs / "performance"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for name, text in pictures.items():
        (folder / name).write_text(text)
    page = docs / "performance.md"
    page.write_text("\n".join(_lines(outcome, pictures)) + "\n")
    return page


def _lines(outcome: Outcome, pictures: Mapping[str, str]) -> Iterable[str]:
    yield HEAD
    yield from _run(outcome)
    yield "\n## Goals\n"
    verdicts = judge(outcome)
    count = Counter(verdict.met for verdict in verdicts)
    yield (
        f"{count[True]} met, {count[False]} missed, {count[None]} not measured. In brackets: of a ratio (`÷`) its interval, of a "
        "figure the lowest and the highest sample.\n"
    )
    yield from _rows(tables.goals(verdicts))
    for place in (name for name in NAMES if name in outcome.places):
        yield f"\n## {NAMES[place]}\n"
        yield _listed(outcome.places[place]) + "."
        for table in tables.measured(outcome, place):
            yield from _section(table)
            group = [measure.name for measure in MEASURES if measure.group == table.title]
            yield from _pictures(pictures, [f"{place}-{name}.svg" for name in group])
        for table in tables.growth(outcome, place):
            yield from _section(table)
            about = table.title.partition(": ")[2].split()[0]
            yield from _pictures(pictures, [name for name in pictures if name.startswith(f"{place}-growth-{about}-")])
        yield from _section(tables.systems(outcome, place))
    if outcome.failures:
        yield "\n## Not measured\n"
        yield from (f"- {what}: {why}" for what, why in outcome.failures.items())
    yield CAVEATS.rstrip()


def _run(outcome: Outcome) -> Iterable[str]:
    about, settings = outcome.machine, outcome.settings
    yield (
        f"Measured on {about['cores']} cores ({about['processor']}), {about['system']}, {about['memory']} of memory, with a load "
        f"of {about['load_before']} before it began, in {outcome.seconds / 60:.0f} minutes; up to {settings.rounds} "
        f"samples of each figure, about {settings.seconds:g} s each. qengine {about['qengine']}; {_listed(about['drivers'])}."
    )
    if about["load_before"] >= about["cores"] / 2:
        yield "\nThe machine was busy with other work: the ratios are rough, and the absolute figures say little."


def _listed(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _section(table: Table) -> Iterable[str]:
    yield f"\n### {table.title}\n"
    if table.note:
        yield table.note + "\n"
    yield from _rows(table)


def _rows(table: Table) -> Iterable[str]:
    yield f"| {' | '.join(table.header)} |"
    yield f"|{'|'.join('---' if _is_text(table, number) else '--:' for number in range(len(table.header)))}|"
    for row in table.rows:
        yield f"| {' | '.join('**missed**' if cell == 'missed' else cell for cell in row)} |"


def _is_text(table: Table, column: int) -> bool:
    return not any(row[column][:1].isdigit() for row in table.rows)


def _pictures(pictures: Iterable[str], wanted: Iterable[str]) -> Iterable[str]:
    known = set(pictures)
    for name in wanted:
        if name in known:
            yield f"\n![{name.removesuffix('.svg').replace('-', ' ')}](performance/{name})"
