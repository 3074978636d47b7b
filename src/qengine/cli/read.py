"""The commands that look at jobs: `stats`, `jobs`, `show`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from qengine import AuditEntry, Engine, Job, JobError, Pause, Stats, Status
from qengine.cli.look import entries_table, entry_document, until
from qengine.cli.options import (
    AsJson,
    CreatedAfter,
    CreatedBefore,
    Dsn,
    ErrorGroup,
    Limit,
    OneId,
    QueueName,
    Statuses,
    Text,
    TypeName,
    Where,
)
from qengine.cli.output import console, job_document, print_json, table
from qengine.cli.selection import conditions_of, resolved
from qengine.cli.target import run
from qengine.cli.text import clean, counted, duration, moment, one_line, pretty, relative

_ERROR_WIDTH = 60
_ACTIONS = 20
"""Actions on a job that are shown, the latest."""


def stats(where: Where = None, dsn: Dsn = None, as_json: AsJson = False) -> None:
    """Count the jobs by type and status, and what nobody handles."""

    async def read(engine: Engine) -> tuple[Stats, list[Pause]]:
        return await engine.stats(), await engine.pauses()

    found, pauses = run(where or dsn, read)
    if as_json:
        print_json(found)
    else:
        _print_stats(found, pauses)


def _print_stats(found: Stats, pauses: list[Pause]) -> None:
    statuses = [str(status) for status in Status]
    rows = [[name, *(counts[s] for s in statuses), _average(found, name)] for name, counts in sorted(found.by_type.items())]
    out = console()
    out.print(
        table(["type", *statuses, "attempts"], [*rows, ["all", *(found.by_status[s] for s in statuses), ""]], right=statuses)
    )
    oldest = (
        "nothing is due" if found.oldest_pending is None else f"the oldest due job has waited {duration(found.oldest_pending)}"
    )
    out.print(f"\n{counted(found.workers, 'live worker')}; {oldest}")
    for name, count in sorted(found.unhandled.items()):
        out.print(clean(f"no live worker handles {name}: {counted(count, 'job')} waiting"))
    for pause in pauses:
        out.print(clean(f"the {pause.kind} {pause.name} is paused until {until(pause)}"))


def _average(found: Stats, name: str) -> str:
    return f"{found.avg_attempts[name]:.2f}" if name in found.avg_attempts else ""


def jobs(
    where: Where = None,
    dsn: Dsn = None,
    status: Statuses = None,
    type: TypeName = None,
    queue: QueueName = None,
    error: ErrorGroup = None,
    text: Text = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    limit: Limit = 50,
    after: Annotated[int | None, typer.Option(help="Only jobs past this id: the next page.", show_default=False)] = None,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="Against the order of the ids.")] = False,
    as_json: AsJson = False,
) -> None:
    """List jobs in the order of their ids; with --text, the newest first."""
    conditions = conditions_of(
        status=status,
        type=type,
        queue=queue,
        error=error,
        text=text,
        created_after=created_after,
        created_before=created_before,
    )

    async def read(engine: Engine) -> tuple[list[Job[Any]], int | None]:
        chosen = await resolved(engine, conditions)
        if text:
            return await _search(engine, chosen, limit, after)
        found = await engine.jobs(**chosen, limit=limit, after=after, newest_first=newest_first)
        return found, found[-1].id if len(found) == limit else None

    found, more = run(where or dsn, read)
    if as_json:
        print_json({"jobs": [job_document(job) for job in found], "after": more})
        return
    out = console()
    out.print(table(_JOB_COLUMNS, map(_job_row, found), right=["id", "priority"]))
    if more is not None:
        out.print(f"\nthe next page: --after {more}")


async def _search(engine: Engine, chosen: dict[str, Any], limit: int, after: int | None) -> tuple[list[Job[Any]], int | None]:
    """Search on until there are `limit` jobs or all has been looked through; and where to go on."""
    found: list[Job[Any]] = []
    while True:
        page = await engine.search(**chosen, limit=limit - len(found), after=after)
        found += page.jobs
        after = page.after
        if after is None or len(found) == limit:
            return found, after


_JOB_COLUMNS = ["id", "type", "queue", "status", "priority", "attempts", "when", "last error"]


def _job_row(job: Job[Any]) -> list[object]:
    status = f"{job.status} ({job.dead_reason})" if job.dead_reason else job.status
    error = one_line(job.last_error or "", _ERROR_WIDTH)
    return [job.id, job.type, job.queue, status, job.priority, f"{job.attempts}/{job.max_attempts}", _when(job), error]


def _when(job: Job[Any]) -> str:
    """The time that says most about a job in its status."""
    if job.status in (Status.PENDING, Status.FAILED):
        return f"due {relative(job.scheduled_for)}"
    if job.status is Status.PROCESSING:
        return f"started {relative(job.started_at)}"
    return f"ended {relative(job.completed_at)}"


def show(id: OneId, dsn: Dsn = None, as_json: AsJson = False) -> None:
    """Show one job: its state, payload, result, the history of its errors, and what was done to it by hand."""

    async def read(engine: Engine) -> tuple[Job[Any], list[JobError], list[AuditEntry]]:
        return await engine.job(id), await engine.errors(id), await engine.audit_trail(_ACTIONS, id)

    job, errors, actions = run(dsn, read)
    if as_json:
        more = {"errors": [dataclasses.asdict(e) for e in errors], "actions": [entry_document(e) for e in actions]}
        print_json({**job_document(job), **more})
    else:
        _print_job(job, errors, actions)


def _print_job(job: Job[Any], errors: list[JobError], actions: list[AuditEntry]) -> None:
    out = console()
    out.print(table(["job", str(job.id)], _facts(job)))
    for title, value in (("payload", job.payload), ("checkpoint", job.checkpoint), ("result", job.result)):
        if value is not None:
            out.print(f"\n{title}", style="bold")
            out.print(pretty(value), soft_wrap=True)
    if errors:
        out.print("\nerrors", style="bold")
        rows = [[e.attempt, moment(e.ended_at), e.worker or "", one_line(e.error)] for e in errors]
        out.print(table(["attempt", "ended", "worker", "error"], rows, right=["attempt"]))
        if errors[-1].traceback:
            out.print("\nlast traceback", style="bold")
            out.print(clean(errors[-1].traceback), soft_wrap=True)
    if actions:
        out.print("\ndone by hand", style="bold")
        out.print(entries_table(actions))
    if job.status is Status.DEAD:
        out.print(f"\nchange its payload: qengine amend {job.id} KEY=VALUE; run it again: qengine requeue {job.id}")


def _facts(job: Job[Any]) -> Iterator[tuple[str, object]]:
    """What is known about a job, and only that."""
    yield "type", job.type
    yield "queue", job.queue
    yield "status", f"{job.status} ({job.dead_reason})" if job.dead_reason else job.status
    yield "priority", job.priority
    yield "attempts", f"{job.attempts} of {job.max_attempts}"
    optional: Mapping[str, object] = {
        "crashes": job.crashes or None,
        "unique key": job.unique_key,
        "timeout": job.timeout and duration(job.timeout),
        "worker": job.locked_by,
        "progress": job.progress and ", ".join(f"{key} {value}" for key, value in job.progress.items() if value is not None),
        "last error": job.last_error and one_line(job.last_error),
    }
    yield from ((name, value) for name, value in optional.items() if value is not None)
    times = ("created_at", "scheduled_for", "started_at", "locked_until", "expires_at", "completed_at")
    for name in times:
        time = getattr(job, name)
        if time is not None:
            yield name.removesuffix("_at").replace("_", " "), f"{moment(time)}  {relative(time)}"
