"""The result as tables of text, for the terminal and for the page alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.campaign import Outcome
from benchmarks.catalogue import Entry, entries
from benchmarks.figures import Figure, figure, ratio
from benchmarks.goals import Verdict
from benchmarks.measures import GROWTH, MEASURES, VERBS, Measure

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Table:
    """A heading, what to know about it, and cells."""

    title: str
    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Column:
    """A figure as it is shown."""

    figure: str
    title: str
    digits: int = 0
    scale: float = 1.0
    spread: bool = False
    """Whether the lowest and the highest sample are shown with it."""

    def cell(self, values: Sequence[float]) -> str:
        """The median, and the spread."""
        if not values:
            return ""
        found = figure([value * self.scale for value in values])
        text = f"{found.median:,.{self.digits}f}"
        if self.spread and found.samples > 1:
            text += f" ({found.low:,.{self.digits}f} - {found.high:,.{self.digits}f})"
        return text


@dataclass(frozen=True)
class Group:
    """Measures that are shown in one table. The first column is the one in which systems are compared."""

    name: str
    note: str
    columns: Sequence[Column]


RATE = Column("rate", "jobs/s", spread=True)
COSTS = (
    Column("worker_cpu", "CPU, process", 1, 1000),
    Column("server_cpu", "CPU, server", 1, 1000),
    Column("written", "bytes"),
)
COSTS_NOTE = (
    "CPU is in microseconds a job. *Bytes* are what was written for a job: on PostgreSQL to its write-ahead log, on SQLite to "
    "the log and from there into the file."
)
GROUPS = (
    Group("Enqueue", f"On return a job is durable. {COSTS_NOTE}", (RATE, *COSTS)),
    Group(
        "Drain",
        "By one process at concurrency 100, of jobs of one type that do nothing, where nothing else is said. A job counts when "
        f"it is durably done, and none ran twice. {COSTS_NOTE} *MB* is the memory that the process held in the end.",
        (RATE, *COSTS, Column("memory", "MB")),
    ),
    Group("The database alone", "A driver in a loop on qengine's own tables: no engine, no handlers.", (RATE, *COSTS)),
    Group(
        "Pick-up",
        "Milliseconds from before the enqueue to the start of the handler, the insert included. At half load, jobs are sent "
        "one by one at half the rate that the system is known to enqueue so, or to drain; *sent/s* says what was reached. Of "
        "fewer than a thousand jobs in a sample, p99.9 is the slowest.",
        (
            Column("p50", "p50, ms", 2, spread=True),
            Column("p99", "p99, ms", 2, spread=True),
            Column("p99.9", "p99.9, ms", 2, spread=True),
            Column("fed", "sent/s"),
        ),
    ),
    Group(
        "Idle",
        "What a worker costs that has nothing to do, in percent of one core.",
        (
            Column("idle", "%", 3, spread=True),
            Column("idle_worker", "worker", 3),
            Column("idle_server", "server", 3),
        ),
    ),
    Group(
        "Memory",
        "MB that one worker holds while it runs a million jobs.",
        (
            Column("memory", "after all", 1, spread=True),
            Column("memory_first", "after the first tenth", 1),
            Column("memory_growth", "growth", 2),
        ),
    ),
    Group(
        "A pinned transaction",
        "Jobs claimed a second of claiming, a hundred at a time: before another session opens a transaction and forgets it, "
        "after a tenth of all jobs has passed beside that, and after eight tenths; then the sizes, in MB. A million jobs in all, "
        "each due a little after the one before it; those of one `enqueue_many` are due at the same instant, and on PostgreSQL "
        "are claimed at about half of this rate then.",
        (
            Column("before", "before", spread=True),
            Column("soon", "after a tenth", spread=True),
            Column("late", "after all", spread=True),
            Column("table_mb", "table"),
            Column("index_mb", "indexes"),
            Column("file_mb", "file"),
            Column("log_mb", "log"),
        ),
    ),
)


def measured(outcome: Outcome, place: str) -> list[Table]:
    """All but growth, a table for each group of which there is anything."""
    return [table for group in GROUPS if (table := _group(outcome, place, group)).rows]


def _group(outcome: Outcome, place: str, group: Group) -> Table:
    rows = [
        _row(outcome, place, measure, entry, group)
        for measure in MEASURES
        if measure.group == group.name
        for entry in entries(place, peers=True)
        if outcome.values(place, measure.name, entry.name, group.columns[0].figure)
    ]
    header = ["measure", "system", *(column.title for column in group.columns), "samples", "qengine ÷ it"]
    return _without_empty_columns(Table(group.name, group.note, header, rows))


def _row(outcome: Outcome, place: str, measure: Measure, entry: Entry, group: Group) -> list[str]:
    def values(name: str, of: str = entry.name) -> list[float]:
        return outcome.values(place, measure.name, of, name)

    leading = group.columns[0].figure
    compared = None if entry.kind == "ours" else ratio(values(leading, "qengine"), values(leading))
    cells = [column.cell(values(column.figure)) for column in group.columns]
    return [measure.title, entry.name, *cells, str(len(values(leading))), with_interval(compared) if compared else ""]


def with_interval(found: Figure) -> str:
    """A ratio and its interval, where there is more than a sample to tell it from."""
    text = f"{found.median:.2f}"
    return f"{text} ({found.low:.2f} - {found.high:.2f})" if found.samples > 1 else text


def growth(outcome: Outcome, place: str) -> list[Table]:
    """qengine's verbs as other jobs, types and workers become more."""
    others = [row for kind in GROWTH if kind not in ("types", "workers") for row in _growing(outcome, place, kind)]
    each = "Calls a second, and in brackets how many times what they are in the first line of the kind."
    hundred = "A claim and a settle are of 100 jobs."
    found = (
        Table("Growth: other jobs in the table", f"{each} {hundred}", ["other jobs", *VERBS, "samples"], others),
        Table(
            "Growth: types",
            f"{each} {hundred} A hundred jobs of each type wait.",
            ["types", *VERBS, "samples"],
            _growing(outcome, place, "types"),
        ),
        Table(
            "Growth: workers",
            f"{each} Each worker has connections of its own and claims and settles 100 jobs at a time; all of them run in one "
            "process.",
            ["workers", *VERBS, "samples"],
            _growing(outcome, place, "workers"),
        ),
    )
    return [_without_empty_columns(table) for table in found if table.rows]


def _growing(outcome: Outcome, place: str, kind: str) -> list[list[str]]:
    rows = []
    least: dict[str, list[float]] = {}
    for size in GROWTH[kind]:
        cells, samples = [], 0
        for verb in VERBS:
            values = outcome.values(place, f"growth-{kind}-{size}", "qengine", verb)
            samples = max(samples, len(values))
            compared = ratio(values, least.setdefault(verb, values))
            cells.append(f"{figure(values).median:,.0f} ({compared.median:.2f})" if compared else "")
        if samples:
            name = f"{size:,}" if kind in ("types", "workers") else f"{size:,} {kind}"
            rows.append([name, *cells, str(samples)])
    return rows


def _without_empty_columns(table: Table) -> Table:
    used = [n for n in range(len(table.header)) if any(row[n] for row in table.rows)]
    rows = [[row[n] for n in used] for row in table.rows]
    return Table(table.title, table.note, [table.header[n] for n in used], rows)


def goals(verdicts: Sequence[Verdict]) -> Table:
    """Wanted and found."""
    rows = [
        [
            verdict.goal.title + (f" ({verdict.note})" if verdict.note else ""),
            verdict.place,
            f"{'≥' if verdict.goal.at_least else '≤'} {verdict.goal.bound:g} {verdict.goal.unit}".strip(),
            with_interval(verdict.found) if verdict.found else "",
            {True: "met", False: "missed", None: "not measured"}[verdict.met],
        ]
        for verdict in verdicts
    ]
    return Table("Goals", "", ["goal", "on", "wanted", "found", ""], rows)


def systems(outcome: Outcome, place: str) -> Table:
    """Which they are, and what they leave out."""
    taking_part = {sample.entry for sample in outcome.samples if sample.place == place}
    rows = [
        [entry.name, _version(entry), outcome.runtimes.get(f"{place}, {entry.name}", ""), entry.leaves_out]
        for entry in entries(place, peers=True)
        if entry.name in taking_part
    ]
    return Table("Systems", "", ["system", "version", "runs in", "what it leaves out"], rows)


def _version(entry: Entry) -> str:
    """The version that is pinned; that of qengine, and of the drivers, is among the facts about the run."""
    if entry.kind != "peer":
        return ""
    if entry.node:
        package = json.loads((HERE.parent / entry.module).with_name("package.json").read_text())
        return str(package["dependencies"][entry.name])
    lines: Iterable[str] = (HERE / "requirements" / f"{entry.requirements}.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if "==" in line)
