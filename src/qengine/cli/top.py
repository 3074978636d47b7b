"""`qengine top`: the queue, live, on a terminal."""

from __future__ import annotations

import importlib.util
import sys
from typing import Annotated

import typer

from qengine import Engine
from qengine.cli.errors import CommandError
from qengine.cli.options import AsJson, Dsn, Where
from qengine.cli.output import print_json
from qengine.cli.target import run
from qengine.cli.view import document, look


def top(
    where: Where = None,
    dsn: Dsn = None,
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between looks at the database.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Watch types, throughput, running jobs and workers, live; pause, requeue and cancel by key. --json: one look."""
    if as_json:
        print_json(document(run(where or dsn, lambda engine: look(engine, wait_for_counts=True))))
        return
    if importlib.util.find_spec("textual") is None:
        raise CommandError("qengine top needs textual; pip install 'qengine[tui]'")
    if not sys.stdout.isatty():
        raise CommandError("qengine top needs a terminal; `qengine top --json` and `qengine stats` look once")
    from qengine.cli.screen import Top  # an extra

    async def show(engine: Engine) -> None:
        screen = Top(engine, every)
        await screen.run_async()
        if screen.failure is not None:
            raise screen.failure

    run(where or dsn, show)
