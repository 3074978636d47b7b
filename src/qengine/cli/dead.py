"""`qengine dead`: what is dead, by type and error, and back in line by the group."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from qengine import Engine, FailureGroup, Status
from qengine.cli.bulk import report
from qengine.cli.complete import complete_groups
from qengine.cli.errors import CommandError
from qengine.cli.groups import ALL_GROUPS, find_group, short_name
from qengine.cli.long import Work, run_long
from qengine.cli.options import AsJson, Dsn, ErrorGroup, Everything, Limit, Rate, TypeName, Yes, dsn_of
from qengine.cli.output import console, print_json, table
from qengine.cli.selection import Conditions, ask_first, conditions_of, resolved
from qengine.cli.target import run
from qengine.cli.text import one_line, relative

_ERROR_WIDTH = 90


def dead(
    context: typer.Context,
    dsn: Dsn = None,
    type: TypeName = None,
    retrying: Annotated[bool, typer.Option("--retrying", help="Groups of which no job is dead yet, too.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List dead jobs by type and error, the largest groups first; `qengine dead requeue` puts a group back in line."""
    if context.invoked_subcommand is not None:
        return

    async def read(engine: Engine) -> list[FailureGroup]:
        return await engine.failures(ALL_GROUPS)

    found = [group for group in run(dsn, read) if type in (None, group.type)]
    groups = [group for group in found if group.dead or retrying][:limit]
    if as_json:
        print_json({"groups": [{"group": short_name(g), **dataclasses.asdict(g)} for g in groups]})
        return
    out = console()
    if not groups:
        out.print("nothing is dead" + ("; some jobs failed and are tried again: --retrying lists them" if found else ""))
        return
    rows = [
        [
            short_name(g),
            g.type,
            g.dead,
            g.count - g.dead,
            relative(g.first),
            relative(g.last),
            g.sample,
            one_line(g.error, _ERROR_WIDTH),
        ]
        for g in groups
    ]
    columns = ["group", "type", "dead", "retrying", "first", "last", "sample", "error"]
    out.print(table(columns, rows, right=["dead", "retrying", "sample"]))
    first = groups[0]
    out.print(f"\nread why: qengine show {first.sample}; run a group again: qengine dead requeue {short_name(first)}")


def dead_requeue(
    context: typer.Context,
    groups: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GROUP]...", help="Groups, by short name.", show_default=False, autocompletion=complete_groups),
    ] = None,
    dsn: Dsn = None,
    type: TypeName = None,
    error: ErrorGroup = None,
    everything: Everything = False,
    rate: Rate = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Put the dead jobs of groups back in line, with all their attempts; at a rate, if one is given (shared by the groups)."""
    where = dsn_of(context, dsn)
    chosen = _chosen(where, groups or [], conditions_of(type=type, error=error), everything)
    asked = [ask_first(where, "requeue", conditions, yes=yes, undoable=True) for conditions in chosen]
    known = [number for number in asked if number is not None]
    each = None if rate is None else rate / len(chosen)

    async def requeue(engine: Engine, work: Work) -> None:
        for conditions in chosen:
            await engine.requeue(**await resolved(engine, conditions), rate=each, progress=work.step)
            work.next_part()

    work = run_long(where, "requeued", sum(known) if len(known) == len(chosen) else None, requeue)
    return report(work, "requeued", [], as_json, nothing_is_fine=everything)


def _chosen(where: str | None, names: list[str], given: dict[str, Any], everything: bool) -> list[Conditions]:
    """The conditions that select each of the groups, or all dead jobs that were meant."""
    if names and (given or everything):
        raise CommandError("give groups or a filter, not both")
    if not names:
        if not (given or everything):
            raise CommandError("which groups? name them (`qengine dead` lists them), or give --type, --error or --all")
        return [{"status": [Status.DEAD], **given}]

    async def read(engine: Engine) -> list[FailureGroup]:
        return await engine.failures(ALL_GROUPS)

    found = run(where, read)
    groups = dict.fromkeys(find_group(found, name) for name in names)
    return [{"status": [Status.DEAD], "type": group.type, "error_group": group.error} for group in groups]
