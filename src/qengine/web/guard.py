"""What protects those who use the dashboard: headers, known host names, and forms that nobody else can send for them."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import ImmutableMultiDict, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qengine.web.paths import cookie_path
from qengine.web.render import error_page

SAFE = frozenset({"GET", "HEAD"})
FIELD = "csrf"
"""The hidden field of every form."""
MAX_FIELDS = 1000
"""Fields of a form, at the most."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: under that, browsers send `Origin: null` with the dashboard's own forms. Other sites get nothing.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


def protect(headers: MutableHeaders) -> None:
    """Add the headers of HEADERS that are not there."""
    for name, value in HEADERS.items():
        headers.setdefault(name, value)


class Headers:
    """Middleware: every answer has the headers of HEADERS, and is from a host name that is ours.

    `hosts`: those by which the dashboard may be asked for; None: any. On a loopback address another name means that a web
    site had its own name lead here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self._app = app
        self._hosts = None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                protect(MutableHeaders(scope=message))
            await send(message)

        app = self._app
        if self._hosts is not None and _hostname(Request(scope).headers.get("host", "")) not in self._hosts:
            app = PlainTextResponse(
                "this host name does not lead to the dashboard; use the address that it was started with\n", 421
            )
        await app(scope, receive, protected)


def _hostname(host: str) -> str:
    return re.sub(r":\d*$", "", host).strip("[]").lower()


class Forms:
    """Middleware: what changes something is a form that this dashboard made for this browser; with `read_only`, nothing.

    The parsed form is in `form_of(request)`, and the field for new ones in `scope`.
    """

    def __init__(self, app: ASGIApp, key: str, read_only: bool, limit: int) -> None:
        self._app = app
        self._key = key.encode()
        self._read_only = read_only
        self._limit = limit
        self._cookie = f"qengine_form_{hmac.digest(self._key, b'form', 'sha256').hex()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        given = request.cookies.get(self._cookie, "")
        browser = given if re.fullmatch(r"[\w-]{43}", given) else secrets.token_urlsafe(32)
        scope["qengine.csrf"] = hmac.digest(self._key, browser.encode(), "sha256").hex()

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and browser != given:
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    secure = "; Secure" if scope["scheme"] == "https" else ""
                    path = cookie_path(scope)
                    headers.append("set-cookie", f"{self._cookie}={browser}; HttpOnly; Path={path}; SameSite=Strict{secure}")
            await send(message)

        app = self._app
        if scope["method"] not in SAFE and (refused := await self._read(request)) is not None:
            app = error_page(request, *refused)
        await app(scope, receive, with_cookie)

    async def _read(self, request: Request) -> tuple[int, str] | None:
        """Parse the form; or why it is refused, with the status for that."""
        if self._read_only:
            return 403, "This dashboard is read-only: it changes nothing."
        if not _same_origin(request):
            return 403, "This request came from another web site. Nothing was done."
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            return 415, "Only forms are understood here. Nothing was done."
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limit:
                return 413, "This form is larger than any payload may be. Nothing was done."
        try:
            pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except ValueError:
            return 400, "This form has more fields than any of ours. Nothing was done."
        form: ImmutableMultiDict[str, str] = ImmutableMultiDict(pairs)
        if not hmac.compare_digest(form.get(FIELD, "").encode(), request.scope["qengine.csrf"].encode()):
            return 403, "This form is too old, or was not made for this browser. Nothing was done; reload the page and try again."
        request.scope["qengine.form"] = form
        return None


def form_of(request: Request) -> ImmutableMultiDict[str, Any]:
    """The form that a request sent."""
    form: ImmutableMultiDict[str, Any] = request.scope["qengine.form"]
    return form


def _same_origin(request: Request) -> bool:
    """Whether a browser says that the request is from one of our own pages; other programs say nothing."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:  # set by the browser itself, and true behind proxies that change the host name
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower() != ""
