"""The list of jobs, and acting on all that meet its filter."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qengine.backends.protocol import Stats
from qengine.engine import Engine
from qengine.errors import ConfigurationError
from qengine.job import Job, Status
from qengine.web.filters import WITHIN, Filter, whole
from qengine.web.guard import form_of
from qengine.web.paths import path_to
from qengine.web.render import page, redirect
from qengine.web.settings import Dashboard, of
from qengine.web.text import counted

ON_A_PAGE = 50
COUNTED = 10_000
"""So many jobs are counted for a confirmation; of more it says only that they are more."""
COUNTING = 1.0
"""Seconds that counting for a confirmation may take."""
AT_ONCE = 200
"""Jobs read at once while counting: they come with all that they carry."""
WAITED = 1.5
"""Seconds that a request waits for an action on many jobs; after that the browser watches it on a page of its own."""
FITTING = {
    "requeue": (Status.DEAD, Status.CANCELLED, Status.COMPLETED),
    "cancel": (Status.PENDING, Status.PROCESSING, Status.FAILED),
    "delete": tuple(Status),
}
"""The statuses in which an action can be done."""
UNLESS_NAMED = {"requeue": (Status.DEAD,), "cancel": FITTING["cancel"], "delete": FITTING["delete"]}
"""The statuses that an action means when the filter names none."""
DONE = {"requeue": "requeued", "cancel": "cancelled", "delete": "deleted"}


async def jobs(request: Request) -> Response:
    """Jobs by filter, newest first, page by page."""
    dashboard = of(request)
    engine, now = dashboard.engine, await dashboard.engine.backend.now()
    chosen, after = Filter.of(request.query_params), whole(request.query_params, "after")
    conditions, like = await chosen.conditions(engine, now)
    found = await engine.search(**conditions, limit=ON_A_PAGE, after=after)
    stats = engine.counts().stats
    return await page(
        request,
        "jobs.html",
        nav="jobs",
        now=now,
        chosen=chosen,
        like=like,
        after=after,
        found=found,
        full=len(found.jobs) >= ON_A_PAGE,
        payload_of=shown_payload(dashboard),
        spans=WITHIN,
        types=sorted({*engine.registry.names, *(stats.by_type if stats else ())}),
        queues=sorted(stats.by_queue if stats else ()),
        acts=[act for act in FITTING if meant(act, chosen)],
    )


def shown_payload(dashboard: Dashboard) -> Callable[[Job[Any]], Any]:
    """What may be shown of a job's payload."""
    return lambda job: dashboard.mask(job.payload, job.type)


def meant(act: str, chosen: Filter) -> tuple[Status, ...]:
    """The statuses of the jobs that an action on a filter means; none when it cannot be done to any of them."""
    if not chosen.status:
        return UNLESS_NAMED[act]
    return tuple(status for status in chosen.status if status in FITTING[act])


# -- all that meet a filter


async def bulk(request: Request) -> Response:
    """Ask whether an action on all jobs of a filter is meant, and say how many they are."""
    engine = of(request).engine
    act, now = _act(request.query_params), await engine.backend.now()
    asked = Filter.of(request.query_params)
    chosen = _narrowed(act, asked, now)
    conditions, like = await chosen.conditions(engine, now)
    number = await count(engine, conditions)
    if number.more and asked.until is None:
        number = replace(number, about=_about(engine.counts().stats, conditions))
    return await page(
        request,
        "bulk.html",
        nav="jobs",
        now=now,
        act=act,
        done=DONE[act],
        chosen=chosen,
        came_from=asked.query(),
        words=chosen.words(like),
        number=number,
    )


async def bulk_act(request: Request) -> Response:
    """Do it."""
    dashboard, form = of(request), form_of(request)
    act, now = _act(form), await dashboard.engine.backend.now()
    chosen = _narrowed(act, Filter.of(form), now)
    conditions, like = await chosen.conditions(dashboard.engine, now)
    rate = rate_of(form) if act == "requeue" else None
    came_from = Filter.of(QueryParams(form.get("came_from", "")))
    gone = act == "delete" and came_from.like is not None  # with the others, the one that they are like
    back = path_to(request, "dead") if gone else path_to(request, "jobs", came_from.query())
    return await begin(request, act, chosen.words(like), back, conditions, rate)


async def begin(
    request: Request, act: str, words: str, back: str, conditions: Mapping[str, Any], rate: float | None = None
) -> Response:
    """Act on all jobs that meet the conditions, and go back; to the page that watches it, if it takes its time."""
    dashboard = of(request)
    by = dashboard.actor(request)
    given = {name: value for name, value in conditions.items() if value is not None}
    if rate is not None:
        given["rate"] = rate
    verb = {"requeue": dashboard.engine.requeue, "cancel": dashboard.engine.cancel, "delete": dashboard.engine.delete}[act]

    def go(progress: Callable[[int], None]) -> Awaitable[int]:
        return verb(**given, progress=progress, by=by)

    work = await dashboard.works.begin(act, words, back, go, WAITED)
    if work.state == "done":
        return redirect(request, back, f"{counted(work.jobs, 'job')} {DONE[act]}.")
    return redirect(request, path_to(request, "work", id=work.id))


@dataclass(frozen=True, slots=True)
class Number:
    """How many jobs meet a filter, as far as that was looked at."""

    counted: int
    more: bool
    """There are more, or not all were looked through."""
    about: int | None = None
    """How many they were at the last count of everything, where that tells."""


async def count(engine: Engine, conditions: Mapping[str, Any]) -> Number:
    """Count the jobs that meet the conditions, up to COUNTED, and for no longer than COUNTING."""
    number, after, until = 0, None, time.monotonic() + COUNTING
    while True:
        found = await engine.search(**conditions, limit=min(AT_ONCE, COUNTED + 1 - number), after=after)
        number, after = number + len(found.jobs), found.after
        if number > COUNTED or (after is not None and time.monotonic() >= until):
            return Number(min(number, COUNTED), True)
        if after is None:
            return Number(number, False)


def _about(stats: Stats | None, conditions: Mapping[str, Any]) -> int | None:
    """How many jobs met the conditions at the last count, where that tells it; `created_before` is the present there."""
    asked = {name for name, value in conditions.items() if value is not None} - {"status", "created_before"}
    if stats is None or len(asked - {"type", "queue"}) or len(asked) == 2:
        return None
    by_status: Mapping[str, int] = stats.by_status
    if asked:
        [name] = asked
        by_status = (stats.by_type if name == "type" else stats.by_queue).get(conditions[name], {})
    return sum(by_status.get(status, 0) for status in conditions["status"] or Status)


def rate_of(form: Mapping[str, Any]) -> float | None:
    """Jobs a second, from a form's `rate` (jobs a minute); None when it is empty. Raises ConfigurationError for what is none."""
    text = str(form.get("rate", "")).strip()
    if not text or form.get("pace") == "once":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e9:
        raise ConfigurationError(f"rate {text!r}: give how many jobs a minute, more than 0")
    return rate / 60


def _act(given: Mapping[str, Any]) -> str:
    act = str(given.get("act", ""))
    if act not in FITTING:
        raise ConfigurationError(f"act {act!r}: it is one of {', '.join(FITTING)}")
    return act


def _narrowed(act: str, chosen: Filter, now: dt.datetime) -> Filter:
    """The filter, less the statuses in which the action cannot be done, and what is enqueued from now on.

    Raises ConfigurationError when it would mean nothing, or would delete everything.
    """
    statuses: Sequence[Status] = meant(act, chosen)
    if not statuses:
        raise ConfigurationError(f"no job that is {' or '.join(chosen.status)} can be {DONE[act]}")
    if act == "delete" and not chosen.narrow:
        raise ConfigurationError("without a filter this would delete every job there is; filter first")
    return replace(chosen, status=tuple(statuses), within=None, since=_since(chosen, now), until=min(chosen.until or now, now))


def _since(chosen: Filter, now: dt.datetime) -> dt.datetime | None:
    """The beginning of the filter's time as an instant, so that it means the same when it is confirmed."""
    if chosen.within is None:
        return chosen.since
    begins = now - dt.timedelta(seconds=chosen.within)
    return begins if chosen.since is None else max(begins, chosen.since)


routes = [
    Route("/jobs", jobs, name="jobs"),
    Route("/jobs/bulk", bulk, name="bulk"),
    Route("/jobs/bulk", bulk_act, methods=["POST"], name="bulk_act"),
]
