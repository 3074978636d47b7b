"""What probes ask: one word, for everybody."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from qengine.web.settings import of


async def healthz(request: Request) -> Response:
    """200 while every loop of every worker in this process is alive."""
    return _word((await of(request).engine.health()).ok)


async def readyz(request: Request) -> Response:
    """200 while the database answers and no due job waits for too long."""
    return _word((await of(request).engine.health()).ready)


def _word(well: bool) -> Response:
    return PlainTextResponse("ok\n" if well else "not ok\n", 200 if well else 503)


routes = [Route("/healthz", healthz, name="healthz"), Route("/readyz", readyz, name="readyz")]
