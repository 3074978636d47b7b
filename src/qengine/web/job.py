"""The page of one job, and what can be done to it."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qengine.errors import ConfigurationError, PayloadError
from qengine.job import Job, Status
from qengine.web.filters import checked, error_group, whole
from qengine.web.guard import form_of
from qengine.web.jobs import FITTING
from qengine.web.masking import MASKED, still_masked, unmask
from qengine.web.paths import path_to
from qengine.web.render import error_page, page, redirect
from qengine.web.settings import Dashboard, of
from qengine.web.text import pretty
from qengine.web.timeline import timeline

EDITABLE = (Status.DEAD, Status.CANCELLED, Status.PENDING, Status.FAILED)
"""The statuses in which a payload can be changed."""
WAITING = (Status.PENDING, Status.FAILED)
TRAIL = 50
"""Entries of the audit trail on the page of a job, at the most."""


async def job(request: Request) -> Response:
    """Everything about a job."""
    dashboard = of(request)
    engine = dashboard.engine
    found = await engine.job(checked(request.path_params["id"]))
    errors = await engine.errors(found.id)
    now = await engine.backend.now()
    shown = {
        name: None if value is None else dashboard.mask(value, found.type)
        for name in ("payload", "result", "checkpoint", "headers")
        for value in [getattr(found, name)]
    }
    return await page(
        request,
        "job.html",
        nav="jobs",
        now=now,
        job=found,
        shown=shown,
        errors=errors[::-1],
        group=error_group(found),
        segments=timeline(found, errors, now),
        trail=await engine.audit_trail(TRAIL, job_id=found.id),
        mask=lambda value: dashboard.mask(value, found.type),
        can={
            **{act: found.status in fitting for act, fitting in FITTING.items()},
            "priority": found.status in WAITING,
            "now": found.status in WAITING and found.scheduled_for is not None and found.scheduled_for > now,
            "edit": found.status in EDITABLE,
        },
    )


# -- acting


async def requeue(request: Request) -> Response:
    """Put an ended job back in line."""
    found, dashboard = await _meant(request)
    if await dashboard.engine.requeue(found.id, by=dashboard.actor(request)):
        return _back(request, found, f"Job {found.id} is back in line.")
    return await _left_alone(request, found, "requeue", "requeued")


async def cancel(request: Request) -> Response:
    """Cancel a job that waits or runs."""
    found, dashboard = await _meant(request)
    if await dashboard.engine.cancel(found.id, by=dashboard.actor(request)):
        running = " Its handler is stopped when its worker next renews the lease." if found.status is Status.PROCESSING else ""
        return _back(request, found, f"Job {found.id} is cancelled.{running}")
    return await _left_alone(request, found, "cancel", "cancelled")


async def delete(request: Request) -> Response:
    """Delete a job and its history."""
    found, dashboard = await _meant(request)
    await dashboard.engine.delete(found.id, by=dashboard.actor(request))
    return redirect(request, path_to(request, "jobs"), f"Job {found.id} is deleted.")


async def run_now(request: Request) -> Response:
    """Let a job that waits for its time come due now."""
    found, dashboard = await _meant(request)
    await dashboard.engine.amend(found.id, due_now=True, by=dashboard.actor(request))
    return _back(request, found, f"Job {found.id} is due now.")


async def priority(request: Request) -> Response:
    """Change the priority of a job that waits."""
    found, dashboard = await _meant(request)
    wanted = whole(form_of(request), "priority")
    if wanted is None:
        raise ConfigurationError("priority is missing: give 1 (first) to 10 (last)")
    await dashboard.engine.amend(found.id, priority=wanted, by=dashboard.actor(request))
    return _back(request, found, f"Job {found.id} has priority {wanted} now.")


async def _meant(request: Request) -> tuple[Job[Any], Dashboard]:
    dashboard = of(request)
    return await dashboard.engine.job(checked(request.path_params["id"])), dashboard


def _back(request: Request, found: Job[Any], news: str) -> Response:
    return redirect(request, path_to(request, "job", id=found.id), news)


async def _left_alone(request: Request, found: Job[Any], act: str, done: str) -> Response:
    """Say why nothing was done."""
    stands = await of(request).engine.job(found.id)
    if act == "requeue" and stands.status in FITTING[act] and stands.unique_key is not None:
        why = "another job that is alive has its unique key"
    else:
        why = f"it is {stands.status}"
    return error_page(request, 409, f"Job {found.id} was not {done}: {why}.")


# -- editing the payload


async def edit(request: Request) -> Response:
    """The payload of a job, to be changed."""
    found, dashboard = await _meant(request)
    return await _editor(request, found, pretty(dashboard.mask(found.payload, found.type)), found.lease_token)


async def save(request: Request) -> Response:
    """Store the changed payload, and requeue the job if that was asked for."""
    found, dashboard = await _meant(request)
    form, by = form_of(request), dashboard.actor(request)
    text = form.get("payload", "")
    if form.get("seen") != str(found.lease_token):
        problem = "The job has changed since this page was loaded. Look at its page; save again to overwrite what is there."
        return await _editor(request, found, text, found.lease_token, problem)
    try:
        payload = _edited(text, dashboard.mask(found.payload, found.type), found.payload)
        await dashboard.engine.amend(found.id, payload=payload, by=by)
    except (PayloadError, ConfigurationError) as error:
        return await _editor(request, found, text, found.lease_token, str(error))
    if "requeue" in form:
        if not await dashboard.engine.requeue(found.id, by=by):
            return await _left_alone(request, found, "requeue", "requeued, but its payload is changed")
        return _back(request, found, f"The payload of job {found.id} is changed, and the job is back in line.")
    return _back(request, found, f"The payload of job {found.id} is changed.")


def _edited(text: str, shown: Any, original: Any) -> dict[str, Any]:
    """The payload that was meant. Raises PayloadError, naming the place, for what is none."""
    try:
        payload = json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        raise PayloadError(f"This is not JSON: {error}") from None
    except RecursionError:
        raise PayloadError("This is nested too deeply.") from None
    if not isinstance(payload, dict):
        raise PayloadError("A payload is a JSON object, of the handler's parameters: it begins with {")
    whole_payload: dict[str, Any] = unmask(payload, shown, original)
    if still_masked(whole_payload) and not still_masked(original):
        raise PayloadError(
            f"{MASKED} stands where no secret was: a hidden value can only stay where it is. Write out the secret, or undo that."
        )
    return whole_payload


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


async def _editor(request: Request, found: Job[Any], text: str, seen: int, problem: str = "") -> Response:
    if found.status not in EDITABLE:
        return error_page(request, 409, f"Job {found.id} is {found.status}; the payload of such a job cannot be changed.")
    return await page(
        request,
        "edit.html",
        status=422 if problem else 200,
        nav="jobs",
        job=found,
        text=text,
        seen=seen,
        problem=problem,
        masked=MASKED in text,
        can_requeue=found.status in FITTING["requeue"],
    )


routes = [
    Route("/jobs/{id:int}", job, name="job"),
    Route("/jobs/{id:int}/edit", edit, name="edit"),
    *(
        Route(f"/jobs/{{id:int}}/{path}", act, methods=["POST"], name=f"job_{path}")
        for path, act in (
            ("requeue", requeue),
            ("cancel", cancel),
            ("delete", delete),
            ("now", run_now),
            ("priority", priority),
            ("edit", save),
        )
    ),
]
