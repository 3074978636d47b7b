"""The commands that change something: `enqueue`, `requeue`, `cancel`, `migrate`."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, NoReturn

import typer

from qengine import Engine, Job, JobNotFound, Status
from qengine.backends.protocol import QueueBackend
from qengine.cli.errors import CommandError, ExitCode, complain
from qengine.cli.options import AsJson, Dsn, ErrorGroup, Everything, Ids, QueueName, Statuses, TypeName, Where
from qengine.cli.output import job_document, print_json
from qengine.cli.target import backend_of, find_engine, run
from qengine.cli.text import counted

# -- enqueue


def enqueue(
    type: Annotated[str, typer.Argument(metavar="TYPE", help="The name of the task.", show_default=False)],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="The payload. A value that is JSON is taken as JSON, any other as text.",
            show_default=False,
        ),
    ] = None,
    payload: Annotated[
        str | None,
        typer.Option(
            "--payload", "-p", metavar="JSON", help="The payload as a JSON object; - reads it from stdin.", show_default=False
        ),
    ] = None,
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
    content = _payload(payload, arguments or [])
    given = {
        "priority": priority,
        "delay": delay,
        "at": _moment(at),
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


def _payload(text: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    if text is None:
        return _from_pairs(pairs)
    if pairs:
        raise CommandError("give the payload as --payload or as key=value, not both")
    try:
        value = json.loads(sys.stdin.read() if text == "-" else text, parse_constant=_no_constant)
    except ValueError as error:
        raise CommandError(
            f'the payload is not JSON: {error}; quote it for the shell: --payload \'{{"to": "a@example.com"}}\''
        ) from None
    if not isinstance(value, dict):
        raise CommandError(
            'the payload must be a JSON object of the handler\'s parameters: --payload \'{"to": "a@example.com"}\''
        )
    return value


def _from_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise CommandError(f"{pair} is not key=value")
        if key in payload:
            raise CommandError(f"{key} is given twice")
        try:
            payload[key] = json.loads(text, parse_constant=_no_constant)
        except ValueError:
            payload[key] = text
    return payload


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _moment(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise CommandError(f"--at {text}: write ISO 8601 with an offset, for instance 2030-01-31T08:00:00+01:00")
    return time


# -- requeue and cancel


def requeue(
    ids: Ids = None,
    dsn: Dsn = None,
    status: Statuses = None,
    type: TypeName = None,
    queue: QueueName = None,
    error: ErrorGroup = None,
    everything: Everything = False,
    as_json: AsJson = False,
) -> int:
    """Put dead, cancelled or completed jobs back in line, with all their attempts. A filter without --status means dead jobs."""
    conditions = {"status": status, "type": type, "queue": queue, "error_group": error}
    if everything and not status:
        conditions["status"] = [Status.DEAD]
    return _on_jobs(dsn, Engine.requeue, "requeued", ids, conditions, everything, as_json)


def cancel(
    ids: Ids = None,
    dsn: Dsn = None,
    status: Statuses = None,
    type: TypeName = None,
    queue: QueueName = None,
    everything: Everything = False,
    as_json: AsJson = False,
) -> int:
    """Cancel jobs that wait or run. A running one is stopped when its worker next renews its lease."""
    conditions = {"status": status, "type": type, "queue": queue}
    if everything and not status:
        conditions["status"] = [Status.PENDING, Status.PROCESSING, Status.FAILED]
    return _on_jobs(dsn, Engine.cancel, "cancelled", ids, conditions, everything, as_json)


def _on_jobs(
    dsn: str | None,
    act: Callable[..., Awaitable[int]],
    done: str,
    ids: Sequence[int] | None,
    conditions: dict[str, Any],
    everything: bool,
    as_json: bool,
) -> int:
    """Act on the named jobs, or on those that meet the conditions; the exit code."""
    given = {name: value for name, value in conditions.items() if value}
    if ids and given:
        raise CommandError("give ids or a filter, not both")
    if not ids and not given:
        raise CommandError("which jobs? give ids, a filter (--type, --queue, …), or --all")

    async def each(engine: Engine) -> tuple[int, list[str]]:
        if ids:
            return await _by_id(engine, act, done, ids)
        return await act(engine, **given), []

    count, refused = run(dsn, each)
    for reason in refused:
        complain(reason)
    if as_json:
        print_json({done: count})
    else:
        print(f"{counted(count, 'job')} {done}")
    named_nothing = count == 0 and not everything
    return ExitCode.FAILED if refused or named_nothing else ExitCode.OK


async def _by_id(engine: Engine, act: Callable[..., Awaitable[int]], done: str, ids: Sequence[int]) -> tuple[int, list[str]]:
    """One by one, so that each that was left alone can be named with its reason."""
    count, refused = 0, []
    for job_id in dict.fromkeys(ids):
        if await act(engine, ids=[job_id]):
            count += 1
            continue
        try:
            job = await engine.job(job_id)
            refused.append(f"job {job_id} is {job.status} and was not {done}")
        except JobNotFound as missing:
            refused.append(str(missing))
    return count, refused


# -- migrate


def migrate(
    where: Where = None,
    dsn: Dsn = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL of all migrations, and touch nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database's schema up to this release. Other processes that migrate wait for each other."""
    backend = backend_of(find_engine(where or dsn))
    if sql:
        print(backend.migration_sql())
        return
    applied = asyncio.run(_migrated(backend))
    if as_json:
        print_json({"applied": applied})
    else:
        print(f"applied {', '.join(applied)}" if applied else "the schema is up to date")


async def _migrated(backend: QueueBackend) -> list[str]:
    try:
        await backend.open()
        return await backend.migrate()
    finally:
        await backend.close()
