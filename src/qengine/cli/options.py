"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from qengine import Status
from qengine.cli.complete import complete_groups, complete_queues, complete_types

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
OneId = Annotated[int, typer.Argument(metavar="ID", help="The job's id.", show_default=False)]
Statuses = Annotated[
    list[Status] | None, typer.Option("--status", "-s", help="Only jobs in this status. Repeatable.", show_default=False)
]
TypeName = Annotated[
    str | None,
    typer.Option("--type", "-t", help="Only jobs of this type.", show_default=False, autocompletion=complete_types),
]
QueueName = Annotated[
    str | None,
    typer.Option("--queue", "-q", help="Only jobs of this queue.", show_default=False, autocompletion=complete_queues),
]
ErrorGroup = Annotated[
    str | None,
    typer.Option(
        "--error",
        metavar="GROUP",
        help="Only jobs whose failure is of this group: its short name, or its error, as `qengine dead` lists them.",
        show_default=False,
        autocompletion=complete_groups,
    ),
]
Text = Annotated[
    str | None, typer.Option("--text", help="Only jobs with this text in their payload or last error.", show_default=False)
]
CreatedAfter = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Only jobs enqueued since then: ISO 8601 with an offset, or how long ago: 2h.", show_default=False
    ),
]
CreatedBefore = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only jobs enqueued before that, given in the same way.", show_default=False),
]
Everything = Annotated[bool, typer.Option("--all", help="Without a filter: all of them.")]
Rate = Annotated[
    float | None,
    typer.Option(metavar="N", help="Let so many of them a second come due, in place of all at once.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")]
Where = Annotated[str | None, typer.Argument(metavar="[URL | MODULE:ENGINE]", help="The same as --dsn.", show_default=False)]
PayloadPairs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Parameters. A value that is JSON is taken as JSON, any other as text.",
        show_default=False,
    ),
]
PayloadJson = Annotated[
    str | None,
    typer.Option(
        "--payload", "-p", metavar="JSON", help="The payload as a JSON object; - reads it from stdin.", show_default=False
    ),
]


def dsn_of(context: typer.Context, dsn: str | None) -> str | None:
    """The `--dsn` of a subcommand, which may also have been given before it: `qengine dead --dsn URL requeue`."""
    above = context.parent
    if above is None or _typed(context) or not _typed(above):
        return dsn
    found: str | None = above.params["dsn"]
    return found


def _typed(context: Any) -> bool:
    source = context.get_parameter_source("dsn")
    return source is not None and source.name == "COMMANDLINE"
