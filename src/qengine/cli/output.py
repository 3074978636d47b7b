"""What commands print: tables for people, one JSON document for programs. Nothing of a job is read as markup."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from qengine import Job
from qengine.cli.text import clean

JOB_KEYS = tuple(name for name in Job.__struct_fields__ if name not in ("existed", "_waiter"))
"""The keys of a job in JSON, in order; `existed` belongs to the answer to an enqueue."""

_WIDTH_OF_A_PIPE = 200


def console() -> Console:
    """Standard output. Piped, a table gets the room that it needs."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE
    return Console(markup=False, highlight=False, emoji=False, width=width)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A table of `rows`; the columns named in `right` are aligned to the right."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=column in right, overflow="fold")
    for row in rows:
        made.add_row(*(clean(str(cell)) for cell in row))
    return made


def print_json(value: Any) -> None:
    """One JSON document in ASCII, so that it passes through any pipe."""
    print(json.dumps(value, indent=2, default=plain))


def job_document(job: Job[Any]) -> dict[str, Any]:
    """A job with the keys of JOB_KEYS."""
    return {key: getattr(job, key) for key in JOB_KEYS}


def plain(value: Any) -> Any:
    """What JSON does not know by itself, in what it does."""
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
