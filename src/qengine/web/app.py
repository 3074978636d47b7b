"""The dashboard put together: pages, what guards them, and what becomes of errors."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from qengine.engine import Engine
from qengine.engine.audit import this_user
from qengine.errors import BackendUnavailable, ConfigurationError, JobNotFound, QEngineError
from qengine.web import audit, dead, health, job, jobs, overview, schedules, watching, workers
from qengine.web.access import Access, check_token
from qengine.web.guard import Forms, Headers, protect
from qengine.web.live import Live
from qengine.web.masking import Mask, mask_secrets
from qengine.web.render import HERE, error_page
from qengine.web.settings import Actor, Dashboard
from qengine.web.trends import Trends
from qengine.web.work import Works

log = logging.getLogger("qengine.web")


def dashboard(
    engine: Engine,
    *,
    token: str | None = None,
    authenticated_by_host: bool = False,
    read_only: bool = False,
    mask: Mask = mask_secrets,
    actor: Actor | None = None,
    allowed_hosts: Sequence[str] | None = None,
    title: str = "qengine",
) -> Starlette:
    """The dashboard of an engine, as an ASGI app: to be served by itself, or mounted in an app of one's own.

    - `token`: what a browser has to show, once, as `?token=…`, or a program as `Authorization: Bearer …`. 16 characters
      or more.
    - `authenticated_by_host` (False): True says that whoever gets here may do everything, as the app in which it is
      mounted has seen to it. One of `token` and this has to be given.
    - `read_only` (False): it shows everything and changes nothing.
    - `mask` (`mask_secrets`): a hook `mask(value, type)` that gives what may be shown of payloads, results, checkpoints
      and headers.
    - `actor`: a hook that says who acts by a request, for the audit trail; None: the user that the host's authentication
      has found (`request.user.display_name`), else the user of this process.
    - `allowed_hosts` (None: any): host names by which it may be asked for.
    - `title`: what its pages are headed with.

    The engine may be open; one that is not is opened when the app starts, and closed when it stops. A mounted app is not
    told of either, so there the host opens it. Raises ConfigurationError for options that cannot work.
    """
    if (token is None) != authenticated_by_host:
        raise ConfigurationError(
            "dashboard() needs token=…, or authenticated_by_host=True where the app that it is mounted in lets in only those "
            "who may do everything; one of both"
        )
    if token is not None:
        check_token(token)
    guards = [Middleware(Headers, hosts=allowed_hosts)]
    if token is not None:
        guards.append(Middleware(Access, token=token))
    # A payload is longer as a form: three characters for each that is not plain, and its indentation.
    guards.append(Middleware(Forms, key=token or "", read_only=read_only, limit=8 * engine.payload_limit + (1 << 16)))
    app = Starlette(
        routes=[
            *overview.routes,
            *jobs.routes,
            *job.routes,
            *watching.routes,
            *dead.routes,
            *schedules.routes,
            *workers.routes,
            *audit.routes,
            *health.routes,
            Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
        ],
        middleware=guards,
        exception_handlers={
            HTTPException: _http_error,
            JobNotFound: _not_found,
            BackendUnavailable: _unavailable,
            QEngineError: _refused,
            Exception: _broken,
        },
        lifespan=_life,
    )
    app.state.dashboard = Dashboard(engine, read_only, mask, actor or _who, title, Works(), Live(engine), Trends(engine))
    return app


@contextlib.asynccontextmanager
async def _life(app: Starlette) -> AsyncIterator[None]:
    shared: Dashboard = app.state.dashboard
    async with contextlib.AsyncExitStack() as stack:
        if not _is_open(shared.engine):
            await stack.enter_async_context(shared.engine)
        stack.push_async_callback(shared.works.close)
        stack.push_async_callback(shared.live.close)
        yield


def _is_open(engine: Engine) -> bool:
    try:
        engine.backend  # noqa: B018 - that it is there is the answer
    except ConfigurationError:
        return False
    return True


def _who(request: Request) -> str:
    user = request.scope.get("user")  # of the host's AuthenticationMiddleware
    if user is not None and getattr(user, "is_authenticated", False) and (name := str(user.display_name).strip()):
        return name
    return f"{this_user()} (dashboard)"


# -- errors


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    plain = {404: "There is no such page.", 405: "This cannot be done here."}.get(error.status_code, error.detail)
    message = plain if error.detail == HTTPStatus(error.status_code).phrase else error.detail
    return error_page(request, error.status_code, message)


async def _not_found(request: Request, error: Exception) -> Response:
    return error_page(request, 404, f"{error}.")


async def _unavailable(request: Request, error: Exception) -> Response:
    log.warning("%s: the database cannot be reached: %s", request.scope["path"], error)
    return error_page(request, 503, "The database cannot be reached, or does not answer. Trying again may help.")


async def _refused(request: Request, error: Exception) -> Response:
    return error_page(request, 400, f"{error}.")


async def _broken(request: Request, error: Exception) -> Response:
    """The server logs the error itself, as it does for any app."""
    answer = error_page(request, 500, "Something broke. The log of the dashboard tells what.")
    protect(answer.headers)  # this answer passes no middleware
    return answer
