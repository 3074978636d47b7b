"""`qengine pause` and `qengine resume`: types and queues from which nothing is started for a while."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from qengine import Engine
from qengine.cli.complete import complete_queues, complete_types
from qengine.cli.errors import CommandError, ExitCode, complain
from qengine.cli.options import AsJson, Dsn
from qengine.cli.output import print_json
from qengine.cli.parse import moment_of, seconds_of
from qengine.cli.target import run

LaneType = Annotated[
    str | None, typer.Option("--type", "-t", help="This type of jobs.", show_default=False, autocompletion=complete_types)
]
LaneQueue = Annotated[
    str | None, typer.Option("--queue", "-q", help="This queue.", show_default=False, autocompletion=complete_queues)
]


def pause(
    dsn: Dsn = None,
    type: LaneType = None,
    queue: LaneQueue = None,
    duration: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="90s, 10m, 36h, 7d. Without it: until resumed.", show_default=False),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="ISO 8601 with an offset, 2030-01-31T08:00:00+01:00.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start no more jobs of a type, or of a queue, on any worker. What runs goes on."""
    what = _lane(type, queue)
    if duration is not None and until is not None:
        raise CommandError("give --for or --until, not both")
    end: float | dt.datetime | None = moment_of("--until", until) if duration is None else seconds_of("--for", duration)

    async def act(engine: Engine) -> None:
        await engine.pause(type=type, queue=queue, until=end)

    run(dsn, act)
    if as_json:
        print_json({"paused": True})
    else:
        print(f"{what} is paused" + (f"; `qengine resume {_options(type, queue)}` ends it" if end is None else ""))


def resume(dsn: Dsn = None, type: LaneType = None, queue: LaneQueue = None, as_json: AsJson = False) -> int:
    """End the pause of a type, or of a queue."""
    what = _lane(type, queue)

    async def act(engine: Engine) -> bool:
        return await engine.resume(type=type, queue=queue)

    ended = run(dsn, act)
    if as_json:
        print_json({"resumed": ended})
    elif ended:
        print(f"{what} is resumed")
    else:
        complain(f"{what} was not paused; `qengine pauses` lists what is")
    return ExitCode.OK if ended else ExitCode.FAILED


def _lane(type: str | None, queue: str | None) -> str:
    if (type is None) == (queue is None):
        raise CommandError("give either --type or --queue")
    return f"the type {type}" if type is not None else f"the queue {queue}"


def _options(type: str | None, queue: str | None) -> str:
    return f"--type {type}" if type is not None else f"--queue {queue}"
