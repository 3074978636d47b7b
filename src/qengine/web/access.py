"""Who may see the dashboard: those who know its token, from a link (once; then from a cookie) or from a header."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from qengine.errors import ConfigurationError
from qengine.web.paths import cookie_path, inner_path

SHORTEST = 16
"""Characters that a token has at the least."""
OPEN = frozenset({"/healthz", "/readyz"})
"""Paths that need no token: they tell probes one word."""


def check_token(token: str) -> None:
    """Raise ConfigurationError for a token that is easily guessed."""
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"the token of the dashboard is too weak or not plain: give {SHORTEST} ASCII characters or more, without spaces, "
            "for instance of `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        )


class Access:
    """Middleware: lets through who shows the token, or the cookie that was got for it."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()
        # The cookie does not hold the token itself; and cookies know no ports: each dashboard of a host has its own.
        self._session = hmac.digest(self._token, b"session", "sha256").hex()
        self._cookie = f"qengine_{hmac.digest(self._token, b'cookie', 'sha256').hex()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or inner_path(scope) in OPEN:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if request.method == "GET" and "token" in request.query_params:
            known = self._same(request.query_params["token"], self._token)
            await (self._let_in(request) if known else _refused(request, "This token is not the right one."))(
                scope, receive, send
            )
        elif self._known(request):
            await self._app(scope, receive, send)
        else:
            await _refused(request)(scope, receive, send)

    def _known(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._same(given.strip(), self._token):
            return True
        return self._same(request.cookies.get(self._cookie, ""), self._session.encode())

    @staticmethod
    def _same(given: str, expected: bytes) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), expected)

    def _let_in(self, request: Request) -> Response:
        """A cookie, and the same page again, so that the token does not stay in the address bar and the history."""
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        here = "/" + quote(request.scope["path"].lstrip("/"))  # two slashes would lead to another host
        answer = RedirectResponse(here + (f"?{urlencode(rest)}" if rest else ""), 303)
        answer.set_cookie(
            self._cookie,
            self._session,
            path=cookie_path(request.scope),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer


_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 27rem; margin: 18vh auto 0; padding: 0 1.5rem; }
h1 { font-size: 1.25rem; font-weight: 650; }
form { display: flex; gap: .5rem; margin: 1.25rem 0; }
input { flex: 1; min-width: 0; font: inherit; padding: .4rem .6rem; }
button { font: inherit; padding: .4rem 1rem; }
code { font-size: .9em; }
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>qengine</title><style>{style}</style></head>
<body><main><h1>This dashboard needs its token</h1>
<p>{problem}Open the link that <code>qengine web</code> printed when it was started, or give the token here.
If you have just come from that link, <a href="{here}">go on</a>.</p>
<form method="get" action="{here}"><input type="password" name="token" aria-label="Token" autocomplete="off" required>
<button>Open</button></form></main></body></html>
"""
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def _refused(request: Request, problem: str = "") -> Response:
    headers = {"WWW-Authenticate": "Bearer", "Content-Security-Policy": _POLICY}
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse("the dashboard needs its token, as Authorization: Bearer …\n", 401, headers)
    page = _PAGE.format(style=_STYLE, problem=f"{problem} " if problem else "", here=cookie_path(request.scope))
    return HTMLResponse(page, 401, headers)
