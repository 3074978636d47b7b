"""The commands that look at what is around the jobs: `workers`, `pauses`, `audit`."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from typing import Annotated, Any

import typer

from qengine import AuditEntry, Engine, Job, Pause, WorkerInfo
from qengine.cli.options import AsJson, Dsn, Limit, Where
from qengine.cli.output import console, print_json, table
from qengine.cli.target import run
from qengine.cli.text import duration, moment, one_line, relative

RUNNING = 10_000
"""Running jobs that are looked at, at the most."""
_SHOWN_JOBS = 5
_DETAIL_WIDTH = 100


def workers(where: Where = None, dsn: Dsn = None, as_json: AsJson = False) -> None:
    """List the live workers and what they run."""

    async def read(engine: Engine) -> tuple[list[WorkerInfo], list[Job[Any]]]:
        return await engine.workers(), await engine.running(RUNNING)

    found, running = run(where or dsn, read)
    held: dict[str | None, list[Job[Any]]] = defaultdict(list)
    for job in running:
        held[job.locked_by].append(job)
    if as_json:
        documents = [{**dataclasses.asdict(w), "jobs": [{"id": job.id, "type": job.type} for job in held[w.id]]} for w in found]
        print_json({"workers": documents})
        return
    out = console()
    if not found:
        out.print("no worker is alive")
        return
    rows = [
        [
            w.host,
            w.pid,
            w.version,
            f"{w.running}/{w.concurrency}",
            "" if w.loop_lag is None else duration(w.loop_lag),
            relative(w.started_at),
            relative(w.heartbeat),
            "all" if w.queues is None else ", ".join(w.queues),
            _shown(held[w.id]),
            ", ".join(w.types),
        ]
        for w in found
    ]
    columns = ["host", "pid", "version", "running", "lag", "started", "heard of", "queues", "jobs", "types"]
    out.print(table(columns, rows, right=["pid", "running", "lag"]))


def _shown(jobs: list[Job[Any]]) -> str:
    more = f" and {len(jobs) - _SHOWN_JOBS} more" if len(jobs) > _SHOWN_JOBS else ""
    return ", ".join(f"{job.id} {job.type}" for job in jobs[:_SHOWN_JOBS]) + more


def pauses(where: Where = None, dsn: Dsn = None, as_json: AsJson = False) -> None:
    """List the types and queues that are paused."""

    async def read(engine: Engine) -> list[Pause]:
        return await engine.pauses()

    found = run(where or dsn, read)
    if as_json:
        print_json({"pauses": [dataclasses.asdict(pause) for pause in found]})
    elif not found:
        console().print("nothing is paused")
    else:
        console().print(table(["kind", "name", "until"], [[p.kind, p.name, until(p)] for p in found]))


def until(pause: Pause) -> str:
    """When a pause ends, in words."""
    return "resumed" if pause.until is None else f"{moment(pause.until)} ({relative(pause.until)})"


def audit(
    where: Where = None,
    dsn: Dsn = None,
    job: Annotated[int | None, typer.Option(help="Only what was done to this job alone.", show_default=False)] = None,
    limit: Limit = 50,
    before: Annotated[int | None, typer.Option(help="Only entries before this one: the next page.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List what was done by hand, the latest first: who, what, to how many jobs."""

    async def read(engine: Engine) -> list[AuditEntry]:
        return await engine.audit_trail(limit, job, before)

    found = run(where or dsn, read)
    more = found[-1].id if len(found) == limit else None
    if as_json:
        print_json({"entries": [entry_document(entry) for entry in found], "before": more})
        return
    out = console()
    if not found:
        out.print("nothing was done by hand yet")
        return
    out.print(entries_table(found))
    if more is not None:
        out.print(f"\nthe next page: --before {more}")


def entry_document(entry: AuditEntry) -> dict[str, Any]:
    """An entry of the record, for JSON."""
    keys = ("id", "at", "actor", "action", "detail", "job_id", "jobs")
    return {key: getattr(entry, key) for key in keys}


def entries_table(entries: list[AuditEntry]) -> Any:
    """Entries of the record, for people."""
    rows = [
        [
            e.id,
            moment(e.at),
            e.actor,
            e.action,
            "?" if e.jobs is None else e.jobs,
            one_line(json.dumps(e.detail, ensure_ascii=False, default=str), _DETAIL_WIDTH),
        ]
        for e in entries
    ]
    return table(["entry", "at", "who", "what", "jobs", "detail"], rows, right=["entry", "jobs"])
