"""The overview."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qengine.web.render import page


async def overview(request: Request) -> Response:
    """The overview's page."""
    return await page(request, "overview.html", nav="overview")


routes = [Route("/", overview, name="overview")]
