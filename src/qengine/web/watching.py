"""The page of an action on many jobs that takes its time."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qengine.web.jobs import DONE
from qengine.web.paths import path_to
from qengine.web.render import page, redirect
from qengine.web.settings import of
from qengine.web.work import Work


async def work(request: Request) -> Response:
    """How far an action is. The page reloads itself until it has ended."""
    found = _found(request)
    return await page(request, "work.html", nav="jobs", work=found, done=DONE[found.action])


async def stop(request: Request) -> Response:
    """Let an action end after the batch that is under way."""
    _found(request).stop()
    return redirect(request, path_to(request, "work", id=request.path_params["id"]))


def _found(request: Request) -> Work:
    found = of(request).works.get(request.path_params["id"])
    if found is None:
        raise HTTPException(404, "This process knows of no such action; the audit trail tells what was done.")
    return found


routes = [
    Route("/work/{id}", work, name="work"),
    Route("/work/{id}/stop", stop, methods=["POST"], name="work_stop"),
]
