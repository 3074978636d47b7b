"""The commands that store, change and set up: `enqueue`, `amend`, `migrate`."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Annotated, Any

import typer
from rich.console import Console

from qengine import Engine, Job, Status
from qengine.cli.complete import complete_types
from qengine.cli.errors import CommandError, ExitCode, complain
from qengine.cli.options import AsJson, Dsn, OneId, PayloadJson, PayloadPairs, Where
from qengine.cli.output import job_document, print_json
from qengine.cli.parse import moment_of, payload_of
from qengine.cli.target import find_engine, run

# -- enqueue


def enqueue(
    type: Annotated[
        str,
        typer.Argument(metavar="TYPE", help="The name of the task.", show_default=False, autocompletion=complete_types),
    ],
    arguments: PayloadPairs = None,
    payload: PayloadJson = None,
    dsn: Dsn = None,
    priority: Annotated[int | None, typer.Option(min=1, max=10, help="1 (first) to 10 (last).", show_default=False)] = None,
    delay: Annotated[float | None, typer.Option(min=0, help="Seconds from now until it is due.", show_default=False)] = None,
    at: Annotated[
        str | None, typer.Option(help="When it is due: ISO 8601 with an offset, 2030-01-31T08:00:00+01:00.", show_default=False)
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="The queue.", show_default=False)] = None,
    unique_key: Annotated[
        str | None, typer.Option(help="Nothing is stored while a live job of the type has this key.", show_default=False)
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, help="Attempts before it is dead.", show_default=False)] = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds an attempt may take.", show_default=False)] = None,
    expires: Annotated[
        float | None, typer.Option(min=0, help="Seconds from now after which it is not started.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Store a job. With an application's engine (--dsn module:engine) the payload is checked against the handler."""
    content = payload_of(payload, arguments or [])
    given = {
        "priority": priority,
        "delay": delay,
        "at": moment_of("--at", at),
        "queue": queue,
        "unique_key": unique_key,
        "max_attempts": max_attempts,
        "timeout": timeout,
        "expires": expires,
    }
    options = {name: value for name, value in given.items() if value is not None}

    async def store(engine: Engine) -> Job[Any]:
        return await engine.enqueue(type, content, **options)

    job = run(dsn, store)
    if as_json:
        print_json({**job_document(job), "existed": job.existed})
    else:
        print(f"job {job.id} already has this unique key; nothing was stored" if job.existed else f"job {job.id} enqueued")


# -- amend


def amend(
    id: OneId,
    arguments: PayloadPairs = None,
    payload: PayloadJson = None,
    dsn: Dsn = None,
    priority: Annotated[int | None, typer.Option(min=1, max=10, help="1 (first) to 10 (last).", show_default=False)] = None,
    now: Annotated[bool, typer.Option("--now", help="Let it come due now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Change a job that waits, or the payload of one that is dead or cancelled.

    KEY=VALUE changes these parameters and leaves the others; --payload replaces them all. The old payload stays on record:
    `qengine show` and `qengine audit` tell it.
    """
    changes = payload_of(payload, arguments or [])

    async def change(engine: Engine) -> Job[Any]:
        content: dict[str, Any] | None = changes
        if payload is None:
            content = {**await _old_payload(engine, id), **changes} if changes else None
        return await engine.amend(id, payload=content, priority=priority, due_now=now)

    if payload is None and not changes and priority is None and not now:
        raise CommandError("what is to change? give KEY=VALUE, --payload, --priority or --now")
    job = run(dsn, change)
    if as_json:
        print_json(job_document(job))
        return
    again = f"; `qengine requeue {id}` runs it again" if job.status in (Status.DEAD, Status.CANCELLED) else ""
    print(f"job {id} amended; it is {job.status}{again}")


async def _old_payload(engine: Engine, id: int) -> dict[str, Any]:
    old = (await engine.job(id)).payload
    if not isinstance(old, dict):
        raise CommandError(f"the payload of job {id} is no JSON object, so no part of it can be changed; give a whole --payload")
    return old


# -- migrate


def migrate(
    where: Where = None,
    dsn: Dsn = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL of all migrations, and touch nothing.")] = False,
    as_json: AsJson = False,
) -> int:
    """Bring the database's schema up to this release. Other processes that migrate wait for each other."""
    engine = find_engine(where or dsn)
    if sql:
        print(engine.migration_sql())
        return ExitCode.OK
    errors = Console(stderr=True, markup=False, highlight=False)
    try:
        with errors.status("migrating") if errors.is_terminal else nullcontext():
            applied = asyncio.run(engine.migrate())
    except KeyboardInterrupt:
        complain("interrupted; the migration that was under way is undone, and `qengine migrate` goes on from there")
        return ExitCode.INTERRUPTED
    if as_json:
        print_json({"applied": applied})
    else:
        print(f"applied {', '.join(applied)}" if applied else "the schema is up to date")
    return ExitCode.OK
