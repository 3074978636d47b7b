"""`qengine schedules`: the cron schedules, and pausing, resuming and firing one by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from qengine import Engine, Job, Schedule
from qengine.cli.complete import complete_schedules
from qengine.cli.errors import CommandError, ExitCode
from qengine.cli.options import AsJson, Dsn, dsn_of
from qengine.cli.output import console, job_document, print_json, table
from qengine.cli.target import run
from qengine.cli.text import moment, relative

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The schedule's name, or its type where that has a single schedule.",
        show_default=False,
        autocompletion=complete_schedules,
    ),
]


def schedules(context: typer.Context, dsn: Dsn = None, as_json: AsJson = False) -> None:
    """List the cron schedules that workers have declared, with their next and last fires."""
    if context.invoked_subcommand is not None:
        return

    async def read(engine: Engine) -> list[Schedule]:
        return await engine.schedules()

    found = run(dsn, read)
    if as_json:
        print_json({"schedules": [dataclasses.asdict(schedule) for schedule in found]})
        return
    out = console()
    if not found:
        out.print("no worker has declared a schedule")
        return
    rows = [
        [s.name, s.type, s.cron, s.tz, s.catch_up, "paused" if s.paused else _soon(s), relative(s.last_fire) or "never"]
        for s in found
    ]
    out.print(table(["name", "type", "cron", "time zone", "catch up", "next fire", "last fire"], rows))


def _soon(schedule: Schedule) -> str:
    return f"{moment(schedule.next_fire)} ({relative(schedule.next_fire)})"


def pause_schedule(context: typer.Context, name: Name, dsn: Dsn = None, as_json: AsJson = False) -> None:
    """Let a schedule fire no more until it is resumed."""
    _act(context, name, dsn, Engine.pause_schedule, paused=True, as_json=as_json)


def resume_schedule(context: typer.Context, name: Name, dsn: Dsn = None, as_json: AsJson = False) -> None:
    """Let a paused schedule fire again, from its next fire time on. Nothing is caught up."""
    _act(context, name, dsn, Engine.resume_schedule, paused=False, as_json=as_json)


def _act(
    context: typer.Context,
    name: str,
    dsn: str | None,
    method: Callable[[Engine, str], Awaitable[object]],
    *,
    paused: bool,
    as_json: bool,
) -> None:
    async def act(engine: Engine) -> str:
        found = await _find(engine, name)
        await method(engine, found)
        return found

    found = run(dsn_of(context, dsn), act)
    if as_json:
        print_json({"schedule": found, "paused": paused})
    else:
        print(f"the schedule {found} is {'paused' if paused else 'resumed'}")


def run_schedule(context: typer.Context, name: Name, dsn: Dsn = None, as_json: AsJson = False) -> None:
    """Enqueue the job of a schedule now, besides its fires."""

    async def act(engine: Engine) -> Job[Any]:
        return await engine.fire_now(await _find(engine, name))

    job = run(dsn_of(context, dsn), act)
    if as_json:
        print_json(job_document(job))
    else:
        print(f"job {job.id} enqueued")


async def _find(engine: Engine, name: str) -> str:
    """The name of the schedule that is meant. Raises CommandError when it is none or several."""
    known = await engine.schedules()
    if any(schedule.name == name for schedule in known):
        return name
    alike = [schedule.name for schedule in known if schedule.type == name]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise CommandError(f"{name} has several schedules; name one: {', '.join(repr(one) for one in alike)}")
    raise CommandError(f"there is no schedule {name}; `qengine schedules` lists them", ExitCode.FAILED)
