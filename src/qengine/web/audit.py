"""Who did what: the audit trail of the queue."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qengine.web.filters import whole
from qengine.web.render import page
from qengine.web.settings import of

ON_A_PAGE = 50


async def audit(request: Request) -> Response:
    """The administrative actions, newest first, page by page. An amended job's old payload is on the job's own page."""
    before = whole(request.query_params, "before")
    found = await of(request).engine.audit_trail(ON_A_PAGE + 1, before=before)
    entries, more = found[:ON_A_PAGE], len(found) > ON_A_PAGE
    return await page(request, "audit.html", nav="audit", entries=entries, before=before, after=entries[-1].id if more else None)


routes = [Route("/audit", audit, name="audit")]
