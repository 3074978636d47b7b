"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from qengine import Status

Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        "-d",
        envvar="QENGINE_URL",
        show_envvar=True,
        metavar="URL",
        help="The database (sqlite:///app.db, postgresql://user@host/db), or the engine of an application (module:engine).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="The jobs, by id.", show_default=False)]
Statuses = Annotated[
    list[Status] | None, typer.Option("--status", "-s", help="Only jobs in this status. Repeatable.", show_default=False)
]
TypeName = Annotated[str | None, typer.Option("--type", "-t", help="Only jobs of this type.", show_default=False)]
QueueName = Annotated[str | None, typer.Option("--queue", "-q", help="Only jobs of this queue.", show_default=False)]
ErrorGroup = Annotated[str | None, typer.Option("--error", help="Only jobs whose failure is of this group.", show_default=False)]
Everything = Annotated[bool, typer.Option("--all", help="Without a filter: all of them.")]
Where = Annotated[str | None, typer.Argument(metavar="[URL | MODULE:ENGINE]", help="The same as --dsn.", show_default=False)]
