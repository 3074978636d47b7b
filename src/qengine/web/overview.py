"""The overview: everything at a glance, kept up to date by a stream."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qengine.backends.protocol import Pause, Schedule, WorkerInfo
from qengine.job import Job, Status
from qengine.web.live import RUNNING, View
from qengine.web.render import fragment, page
from qengine.web.settings import of
from qengine.web.stream import EventStream, event

SECTIONS = ("notices", "statuses", "types", "workers", "fires", "hour", "day")
"""The parts of the page that change, each a template in `templates/overview/`."""
LIFETIME = 30.0
"""Seconds after which a stream ends; the browser goes on with the next."""
TYPES = 100
"""Types in the table, at the most."""
JOBS = 5
"""Running jobs shown of one worker, at the most."""
FIRES = 8
"""Schedules shown, those that fire next."""
OVERDUE = 60.0
"""Seconds after its time at which a fire is overdue: any live worker would have fired it."""

NOTHING: Mapping[str, int] = dict.fromkeys(Status, 0)


@dataclass(frozen=True, slots=True)
class TypeRow:
    """What stands in the table for one type."""

    name: str
    counts: Mapping[str, int] | None
    """By status; None until it was counted."""
    due: float | None
    """For how many seconds the first of its line has been due; None when none is in line."""
    pause: Pause | None
    unhandled: bool
    """It waits, and no live worker serves it."""


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """What is shown of one worker."""

    info: WorkerInfo
    busy: int
    """How many of its slots are busy."""
    jobs: Sequence[Job[Any]]
    """Some of the jobs that it holds."""
    more: int
    """How many more it holds."""


# -- from a view to what the templates show


def unhandled(view: View) -> list[str]:
    """The types that wait, due or not, and that no live worker serves, by name."""
    served = {name for info in view.workers for name in info.types}
    counted = view.counts.stats.unhandled if view.counts.stats is not None else {}
    # The count may be older than a worker's start.
    return sorted({*view.unhandled, *(name for name in counted if name not in served)})


def type_rows(view: View) -> tuple[list[TypeRow], int]:
    """The rows by name, and how many more types there are; those that need looking at, and the busiest, are never left out."""
    stored = view.counts.stats.by_type if view.counts.stats is not None else None
    pauses = {pause.name: pause for pause in view.pauses if pause.kind == "type"}
    alone = frozenset(unhandled(view))
    names = {*(stored or ()), *view.due, *pauses, *alone}
    rows = [
        TypeRow(
            name,
            None if stored is None else stored.get(name, NOTHING),
            view.due.get(name),
            pauses.get(name),
            name in alone,
        )
        for name in names
    ]
    rows.sort(key=lambda row: (not (row.unhandled or row.pause), -(row.due or 0), -sum((row.counts or NOTHING).values())))
    return sorted(rows[:TYPES], key=lambda row: row.name), max(0, len(rows) - TYPES)


def worker_rows(view: View) -> list[WorkerRow]:
    """The workers by host and process, each with what it runs."""
    jobs: dict[str | None, list[Job[Any]]] = {}
    for job in sorted(view.running, key=lambda job: job.id):
        jobs.setdefault(job.locked_by, []).append(job)
    all_read = len(view.running) < RUNNING
    rows = []
    for info in sorted(view.workers, key=lambda info: (info.host, info.pid, info.id)):
        held = jobs.get(info.id, [])
        # Its own word is as old as its heartbeat.
        many = len(held) if all_read else max(len(held), info.running)
        rows.append(WorkerRow(info, min(many, info.concurrency), held[:JOBS], many - len(held[:JOBS])))
    return rows


def fire_rows(view: View) -> list[tuple[Schedule, bool]]:
    """The schedules that fire next, and whether their time is long past."""
    schedules = view.activities.schedules if view.activities else ()
    waiting = sorted((one for one in schedules if not one.paused), key=lambda one: (one.next_fire, one.name))
    late = dt.timedelta(seconds=OVERDUE)
    return [(one, view.at is not None and view.at - one.next_fire > late) for one in waiting[:FIRES]]


def _context(view: View) -> dict[str, Any]:
    rows, more = type_rows(view)
    schedules = view.activities.schedules if view.activities else ()
    return {
        "view": view,
        "now": view.at or dt.datetime.now(dt.UTC),
        "unhandled": unhandled(view),
        "rows": rows,
        "more": more,
        "workers": worker_rows(view),
        "fires": fire_rows(view),
        "paused_schedules": sum(one.paused for one in schedules),
    }


def _series(view: View) -> dict[str, Any]:
    """What the charts draw."""
    past = view.activities
    return {"hour": past.hour.as_dict(), "day": past.day.as_dict()} if past else {}


# -- the page and its stream


async def overview(request: Request) -> Response:
    """The page, as things stand now."""
    view = await of(request).live.now()
    return await page(request, "overview.html", nav="overview", series=json.dumps(_series(view)), **_context(view))


async def stream(request: Request) -> Response:
    """What has changed on the page, about once a second."""
    return EventStream(_events(request), LIFETIME)


async def _events(request: Request) -> AsyncGenerator[str, None]:
    live = of(request).live
    sent: dict[str, str] = {}
    past = None
    async with contextlib.aclosing(live.watch(request.headers.get("last-event-id", ""))) as views:
        async for view in views:
            parts = live.drawn(view, request.scope.get("root_path", ""), _draw(request, view))
            news: dict[str, Any] = {
                "away": view.away is not None,
                "sections": {name: html for name, html in parts.items() if sent.get(name) != html},
            }
            if view.activities is not past:
                news["series"] = _series(view)
            yield event(view.id, "view", news)
            sent, past = parts, view.activities


def _draw(request: Request, view: View) -> Callable[[], dict[str, str]]:
    def draw() -> dict[str, str]:
        context = _context(view)
        return {name: fragment(request, f"overview/{name}.html", **context) for name in SECTIONS}

    return draw


routes = [Route("/", overview, name="overview"), Route("/live", stream, name="live")]
