"""Dead letters: what fails, in groups of failures that are alike, and a group with its jobs."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qengine.backends.protocol import FailureGroup
from qengine.engine import Engine
from qengine.job import Status
from qengine.web.filters import Filter, checked, error_group, whole
from qengine.web.guard import form_of
from qengine.web.jobs import begin, rate_of, shown_payload
from qengine.web.paths import path_to
from qengine.web.render import page
from qengine.web.settings import of
from qengine.web.trends import TREND_DAYS

GROUPS = 200
"""Groups on the page, the largest; as many as the count in the background keeps."""
FAILING = (Status.DEAD, Status.FAILED)
ON_A_PAGE = 50
LONG_TREND_DAYS = 60
QUICK = 0.05
"""Seconds: groups that are counted in less are counted for each page."""
FIRST_COUNT = 1.0
"""Seconds that a page waits for the first count of all."""


async def groups_of(engine: Engine) -> tuple[list[FailureGroup] | None, dt.datetime | None]:
    """The groups of failures, and when they were counted: now where that is quick, else as last counted; None: not yet."""
    counts, until = engine.counts(), time.monotonic() + FIRST_COUNT
    while counts.failures is None and counts.error is None and time.monotonic() < until:
        await asyncio.sleep(0.02)
        counts = engine.counts()
    if counts.failures is not None and counts.cost < QUICK:
        return await engine.failures(GROUPS), None
    return counts.failures, counts.at


async def dead(request: Request) -> Response:
    """The groups of failures, those with most dead jobs first."""
    dashboard = of(request)
    engine, now = dashboard.engine, await dashboard.engine.backend.now()
    groups, counted = await groups_of(engine)
    ordered = sorted(groups or (), key=lambda group: (-group.dead, -group.count))
    return await page(
        request,
        "dead.html",
        nav="dead",
        now=now,
        groups=None if groups is None else ordered,
        counted=counted,
        full=len(ordered) == GROUPS,
        trends=await dashboard.trends.of([group for group in ordered if group.dead], now),
        total=await dashboard.trends.one(now),
        days=TREND_DAYS,
    )


async def group(request: Request) -> Response:
    """The jobs that fail as one job does."""
    dashboard = of(request)
    engine, now = dashboard.engine, await dashboard.engine.backend.now()
    sample = await engine.job(checked(request.path_params["id"]))
    error, after = error_group(sample), whole(request.query_params, "after")
    groups, _ = await groups_of(engine)
    found = await engine.search(status=FAILING, type=sample.type, error_group=error, limit=ON_A_PAGE, after=after)
    latest = (await engine.errors(sample.id))[-1:]
    return await page(
        request,
        "group.html",
        nav="dead",
        now=now,
        sample=sample,
        error=error,
        latest=latest[0] if latest else None,
        group=next((one for one in groups or () if (one.type, one.error) == (sample.type, error)), None),
        found=found,
        full=len(found.jobs) >= ON_A_PAGE,
        after=after,
        trend=await dashboard.trends.one(now, LONG_TREND_DAYS, sample.type, error),
        days=LONG_TREND_DAYS,
        payload_of=shown_payload(dashboard),
        like=Filter(status=(Status.DEAD,), like=sample.id).query(),
    )


async def requeue(request: Request) -> Response:
    """Put the dead jobs of a group back in line, at once or at a rate."""
    engine, form = of(request).engine, form_of(request)
    sample = await engine.job(checked(request.path_params["id"]))
    conditions: dict[str, Any] = {"status": (Status.DEAD,), "type": sample.type, "error_group": error_group(sample)}
    words = Filter(status=(Status.DEAD,), like=sample.id).words(sample)
    return await begin(request, "requeue", words, path_to(request, "dead"), conditions, rate_of(form))


routes = [
    Route("/dead", dead, name="dead"),
    Route("/dead/{id:int}", group, name="group"),
    Route("/dead/{id:int}/requeue", requeue, methods=["POST"], name="group_requeue"),
]
