"""Cron schedules: when they fire next and fired last, what was missed, and pausing and firing them by hand."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qengine.backends.protocol import Schedule
from qengine.errors import ConfigurationError
from qengine.schedule import TOLERANCE, next_fire
from qengine.web.guard import form_of
from qengine.web.paths import path_to
from qengine.web.render import page, redirect
from qengine.web.settings import of
from qengine.web.text import one_line

COMING = 3
"""Fires to come that are shown."""
MOST_MISSED = 100
"""Missed fires are counted up to this number."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule, with what its expression makes of it."""

    schedule: Schedule
    coming: list[dt.datetime]
    """The next fires from now on; none while it is paused."""
    missed: int
    """Fire times that have passed and that nobody has dealt with."""
    problem: str = ""
    """Why its expression or time zone cannot be read here."""


def planned(schedule: Schedule, now: dt.datetime) -> Plan:
    """What is to come of a schedule, and what was missed."""
    try:
        missed, at = 0, schedule.next_fire
        if not schedule.paused and now - at > TOLERANCE:
            while at <= now and missed < MOST_MISSED:
                missed, at = missed + 1, next_fire(schedule.cron, schedule.tz, at)
        coming: list[dt.datetime] = []
        after = max(now, schedule.next_fire - dt.timedelta(microseconds=1))
        while not schedule.paused and len(coming) < COMING:
            after = next_fire(schedule.cron, schedule.tz, after)
            coming.append(after)
    except ConfigurationError as error:
        return Plan(schedule, [], 0, str(error))
    return Plan(schedule, coming, missed)


async def schedules(request: Request) -> Response:
    """All that workers have declared."""
    engine = of(request).engine
    now = await engine.backend.now()
    plans = [planned(schedule, now) for schedule in await engine.schedules()]
    return await page(request, "schedules.html", nav="schedules", now=now, plans=plans, most=MOST_MISSED)


async def pause(request: Request) -> Response:
    """Let a schedule fire no more."""
    name, by = _given(request)
    await of(request).engine.pause_schedule(name, by=by)
    return _back(request, f"{one_line(name)} is paused.")


async def resume(request: Request) -> Response:
    """Let it fire again."""
    name, by = _given(request)
    await of(request).engine.resume_schedule(name, by=by)
    return _back(request, f"{one_line(name)} fires again.")


async def fire(request: Request) -> Response:
    """Enqueue its job now."""
    name, by = _given(request)
    job = await of(request).engine.fire_now(name, by=by)
    return redirect(request, path_to(request, "job", id=job.id), f"Job {job.id} of {one_line(name)} is enqueued.")


def _given(request: Request) -> tuple[str, Any]:
    return form_of(request).get("name", ""), of(request).actor(request)


def _back(request: Request, news: str) -> Response:
    return redirect(request, path_to(request, "schedules"), news)


routes = [
    Route("/schedules", schedules, name="schedules"),
    Route("/schedules/pause", pause, methods=["POST"], name="schedule_pause"),
    Route("/schedules/resume", resume, methods=["POST"], name="schedule_resume"),
    Route("/schedules/fire", fire, methods=["POST"], name="schedule_fire"),
]
