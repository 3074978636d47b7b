"""Who works, at what, and what nobody may work at: workers, their running jobs, and pauses."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qengine.errors import ConfigurationError
from qengine.job import Job
from qengine.web.filters import whole
from qengine.web.guard import form_of
from qengine.web.paths import path_to
from qengine.web.render import page, redirect
from qengine.web.settings import of
from qengine.web.text import one_line

RUNNING = 500
"""Running jobs that are looked at, at the most."""
SHOWN = 20
"""Of one worker, so many of its running jobs are shown."""


async def workers(request: Request) -> Response:
    """The live workers with what they run, and the pauses in force."""
    engine = of(request).engine
    now = await engine.backend.now()
    alive = sorted(await engine.workers(), key=lambda worker: (worker.host, worker.pid, worker.id))
    held: dict[str, list[Job[Any]]] = defaultdict(list)
    for job in await engine.running(RUNNING):
        held[job.locked_by or ""].append(job)
    known = {worker.id for worker in alive}
    return await page(
        request,
        "workers.html",
        nav="workers",
        now=now,
        workers=[(worker, held.get(worker.id, [])) for worker in alive],
        orphans=[job for holder, jobs in held.items() if holder not in known for job in jobs],
        pauses=await engine.pauses(),
        shown=SHOWN,
        types=sorted({*engine.registry.names, *(name for worker in alive for name in worker.types)}),
    )


async def pause(request: Request) -> Response:
    """Start no more jobs of a type or a queue, for so many minutes or until it is resumed."""
    lane = _lane(request)
    minutes = whole(form_of(request), "minutes")
    await of(request).engine.pause(**lane, until=None if minutes is None else 60.0 * minutes, by=of(request).actor(request))
    return _back(request, f"{_named(lane)} is paused; what runs already goes on.")


async def resume(request: Request) -> Response:
    """End a pause."""
    lane = _lane(request)
    ended = await of(request).engine.resume(**lane, by=of(request).actor(request))
    news = f"{_named(lane)} is resumed." if ended else f"{_named(lane)} was not paused."
    return _back(request, news)


def _lane(request: Request) -> dict[str, str]:
    form = form_of(request)
    kind, name = form.get("kind", ""), form.get("name", "").strip()
    if kind not in ("type", "queue") or not name:
        raise ConfigurationError("choose a type or a queue, and give its name")
    return {kind: name}


def _back(request: Request, news: str) -> Response:
    """To the page that the form is on: this one, or the overview."""
    return redirect(request, path_to(request, "overview" if form_of(request).get("back") == "overview" else "workers"), news)


def _named(lane: dict[str, str]) -> str:
    [(kind, name)] = lane.items()
    return f"{kind.capitalize()} {one_line(name, 80)}"


routes = [
    Route("/workers", workers, name="workers"),
    Route("/pause", pause, methods=["POST"], name="pause"),
    Route("/resume", resume, methods=["POST"], name="resume"),
]
