"""The commands that act on many jobs: `requeue`, `cancel`, `delete`, `prune`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Any

import typer

from qengine import Engine, JobNotFound, Status
from qengine.cli.ask import must_confirm
from qengine.cli.errors import CommandError, ExitCode, complain
from qengine.cli.long import Work, run_long, tell_interruption
from qengine.cli.options import (
    AsJson,
    CreatedAfter,
    CreatedBefore,
    Dsn,
    ErrorGroup,
    Everything,
    Ids,
    QueueName,
    Rate,
    Statuses,
    Text,
    TypeName,
    Yes,
)
from qengine.cli.output import print_json
from qengine.cli.parse import seconds_of
from qengine.cli.selection import Conditions, ask_first, conditions_of, resolved
from qengine.cli.text import counted

Act = Callable[..., Awaitable[int]]


def requeue(
    ids: Ids = None,
    dsn: Dsn = None,
    status: Statuses = None,
    type: TypeName = None,
    queue: QueueName = None,
    error: ErrorGroup = None,
    text: Text = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    everything: Everything = False,
    rate: Rate = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Put dead, cancelled or completed jobs back in line, with all their attempts. A filter without --status means dead jobs."""
    conditions = conditions_of(
        status=status,
        type=type,
        queue=queue,
        error=error,
        text=text,
        created_after=created_after,
        created_before=created_before,
    )
    if ids and rate is not None:
        raise CommandError("--rate goes with a filter: jobs that are named by id go back at once")
    act = Engine.requeue if rate is None else partial(Engine.requeue, rate=rate)
    meant = _meant(ids, conditions, everything, [Status.DEAD])
    return _on_jobs(dsn, "requeue", "requeued", act, ids, meant, everything=everything, yes=yes, undoable=True, as_json=as_json)


def cancel(
    ids: Ids = None,
    dsn: Dsn = None,
    status: Statuses = None,
    type: TypeName = None,
    queue: QueueName = None,
    error: ErrorGroup = None,
    text: Text = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    everything: Everything = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Cancel jobs that wait or run. A running one is stopped when its worker next renews its lease."""
    conditions = conditions_of(
        status=status,
        type=type,
        queue=queue,
        error=error,
        text=text,
        created_after=created_after,
        created_before=created_before,
    )
    meant = _meant(ids, conditions, everything, [Status.PENDING, Status.PROCESSING, Status.FAILED])
    return _on_jobs(dsn, "cancel", "cancelled", Engine.cancel, ids, meant, everything=everything, yes=yes, as_json=as_json)


def delete(
    ids: Ids = None,
    dsn: Dsn = None,
    status: Statuses = None,
    type: TypeName = None,
    queue: QueueName = None,
    error: ErrorGroup = None,
    text: Text = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    everything: Everything = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Delete jobs and their history, for good. A filter without --status means those that have ended."""
    conditions = conditions_of(
        status=status,
        type=type,
        queue=queue,
        error=error,
        text=text,
        created_after=created_after,
        created_before=created_before,
    )
    meant = _meant(ids, conditions, everything, [Status.COMPLETED, Status.DEAD, Status.CANCELLED])
    return _on_jobs(dsn, "delete", "deleted", Engine.delete, ids, meant, everything=everything, yes=yes, as_json=as_json)


def prune(
    older_than: Annotated[
        str,
        typer.Option(metavar="AGE", help="Only jobs that ended longer ago than this: 90s, 10m, 36h, 7d.", show_default=False),
    ],
    dsn: Dsn = None,
    status: Annotated[
        list[Status] | None,
        typer.Option("--status", "-s", help="completed, cancelled, dead. Repeatable. [default: completed, cancelled]"),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Delete jobs that ended long ago, with their history. Workers do it by themselves, as the engine's retention says."""
    age = seconds_of("--older-than", older_than)
    statuses = status or [Status.COMPLETED, Status.CANCELLED]
    if set(statuses) - {Status.COMPLETED, Status.CANCELLED, Status.DEAD}:
        raise CommandError("--status: jobs that have ended are completed, cancelled or dead; `qengine delete` takes the others")
    if not yes:
        must_confirm(f"delete all jobs that ended more than {older_than} ago ({' or '.join(statuses)})", "prune")

    async def prune(engine: Engine, work: Work) -> None:
        await engine.prune(age, statuses, progress=work.step)

    return report(run_long(dsn, "pruned", None, prune), "pruned", [], as_json)


def _meant(ids: Sequence[int] | None, conditions: dict[str, Any], everything: bool, usual: list[Status]) -> Conditions:
    """The conditions made whole: without a status, the usual ones. Raises CommandError unless it is clear what is meant."""
    if ids and (conditions or everything):
        raise CommandError("give ids or a filter, not both")
    if not (ids or conditions or everything):
        raise CommandError("which jobs? give ids, a filter (--type, --queue, …), or --all")
    return {"status": usual, **conditions}


def _on_jobs(
    dsn: str | None,
    act: str,
    done: str,
    method: Act,
    ids: Sequence[int] | None,
    conditions: Conditions,
    *,
    everything: bool,
    yes: bool,
    as_json: bool,
    undoable: bool = False,
) -> int:
    """Act on the named jobs, or on those that meet the conditions; the exit code."""
    refused: list[str] = []
    total = len(dict.fromkeys(ids)) if ids else ask_first(dsn, act, conditions, yes=yes, undoable=undoable)

    async def each(engine: Engine, work: Work) -> None:
        if ids:
            await _by_id(engine, work, method, done, ids, refused)
        else:
            await method(engine, **await resolved(engine, conditions), progress=work.step)

    work = run_long(dsn, done, total, each)
    return report(work, done, refused, as_json, nothing_is_fine=everything)


def report(work: Work, done: str, refused: Sequence[str], as_json: bool, *, nothing_is_fine: bool = True) -> int:
    """Say how many jobs were dealt with, which were not and why; the exit code."""
    for reason in refused:
        complain(reason)
    if as_json:
        print_json({done: work.done})
    else:
        print(f"{counted(work.done, 'job')} {done}")
    interrupted = tell_interruption(work)
    if interrupted is not None:
        return interrupted
    return ExitCode.FAILED if refused or (work.done == 0 and not nothing_is_fine) else ExitCode.OK


async def _by_id(engine: Engine, work: Work, method: Act, done: str, ids: Sequence[int], refused: list[str]) -> None:
    """One by one, so that each that was left alone can be named with its reason."""
    count = 0
    for job_id in dict.fromkeys(ids):
        if await method(engine, ids=[job_id]):
            count += 1
        else:
            refused.append(await _why_not(engine, job_id, done))
        work.step(count)


async def _why_not(engine: Engine, job_id: int, done: str) -> str:
    try:
        job = await engine.job(job_id)
    except JobNotFound as missing:
        return str(missing)
    return f"job {job_id} is {job.status} and was not {done}"
