"""`qengine tail`: one line for each thing that happens."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer
from rich.text import Text

from qengine import Engine
from qengine.cli.complete import complete_types
from qengine.cli.errors import complain
from qengine.cli.follow import Event, Kind, follow
from qengine.cli.options import Dsn, Where
from qengine.cli.output import console, plain
from qengine.cli.target import run
from qengine.cli.text import duration, one_line

_STYLES = {Kind.COMPLETED: "green", Kind.FAILED: "yellow", Kind.CRASHED: "red", Kind.DEAD: "bold red", Kind.CANCELLED: "dim"}
_ERROR_WIDTH = 120


def tail(
    where: Where = None,
    dsn: Dsn = None,
    type: Annotated[
        list[str] | None,
        typer.Option(
            "--type", "-t", help="Only jobs of this type. Repeatable.", show_default=False, autocompletion=complete_types
        ),
    ] = None,
    event: Annotated[
        list[Kind] | None, typer.Option("--event", "-e", help="Only events of this kind. Repeatable.", show_default=False)
    ] = None,
    every: Annotated[float, typer.Option("--every", min=0.05, help="Seconds between looks at the database.")] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Tell what happens, as it happens: enqueued, failed (an attempt), crashed, completed, dead, cancelled. Ctrl-C ends it."""
    types, kinds = set(type or ()), set(event or ())
    out = console()

    def emit(found: Event) -> None:
        if (types and found.type not in types) or (kinds and found.event not in kinds):
            return
        if as_json:
            print(json.dumps(dataclasses.asdict(found), default=plain), flush=True)
        else:
            out.print(_line(found), soft_wrap=True)
            out.file.flush()

    async def watch(engine: Engine) -> None:
        await follow(engine, emit, every=every, ready=lambda: complain("watching; Ctrl-C ends it"), tell=complain)

    run(where or dsn, watch)


def _line(event: Event) -> Text:
    line = Text(f"{event.at.astimezone():%H:%M:%S} ")
    line.append(f"{event.event:<10}", _STYLES.get(event.event, ""))
    line.append(f"{event.id} {one_line(event.type)}")
    if event.attempt is not None and event.event is not Kind.CANCELLED:
        line.append(f"  attempt {event.attempt}")
    if event.seconds is not None:
        line.append(f"  {duration(max(0.0, event.seconds))}")
    if event.reason is not None:
        line.append(f"  {event.reason}")
    if event.error is not None:
        line.append(f"  {one_line(event.error, _ERROR_WIDTH)}")
    return line
