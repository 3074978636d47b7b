"""From a template to an answer. Everything is escaped; `now`, paths, the form's hidden field and the like are at hand."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from qengine.job import Status
from qengine.web import text
from qengine.web.paths import cookie_path, path_to
from qengine.web.settings import of

HERE = Path(__file__).parent
NEWS = "qengine_news"
"""The cookie with which an action tells the next page what it did."""
PAGES: tuple[tuple[str, str], ...] = (
    ("overview", "Overview"),
    ("jobs", "Jobs"),
    ("dead", "Dead letters"),
    ("schedules", "Schedules"),
    ("workers", "Workers"),
    ("audit", "Audit"),
)
"""The navigation: names of routes, and what they are called."""


def _environment() -> Environment:
    # Escaping is for every template, whatever it is called.
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        text.clean,
        text.one_line,
        text.pretty,
        text.compact,
        text.number,
        text.counted,
        text.duration,
        text.moment,
        text.when,
    ):
        made.filters[function.__name__] = function
    made.globals.update(PAGES=PAGES, STATUSES=tuple(Status), VERSION=version("qengine"))
    return made


_TEMPLATES = _environment()


async def page(request: Request, template: str, /, *, status: int = 200, **context: Any) -> Response:
    """The page of a template. `now`, by the backend's clock, is in its context unless it is given."""
    if "now" not in context:
        context["now"] = await of(request).engine.backend.now()
    return _answer(request, template, status, context)


def error_page(request: Request, status: int, message: str) -> Response:
    """A page that says what went wrong. It asks nothing of the database."""
    return _answer(request, "error.html", status, {"status": status, "message": message, "nav": ""})


def redirect(request: Request, path: str, news: str = "") -> Response:
    """Go on to a page of ours after an action, which tells there what it did."""
    answer = RedirectResponse(path, 303)
    if news:
        answer.set_cookie(NEWS, quote(news[:1000]), max_age=60, path=cookie_path(request.scope), httponly=True, samesite="strict")
    return answer


def fragment(request: Request, template: str, /, **context: Any) -> str:
    """A piece of a page, for a script to put in its place. Its forms have an empty field, which the script fills."""
    return _rendered(request, template, "", context)


def _answer(request: Request, template: str, status: int, context: dict[str, Any]) -> Response:
    news = unquote(request.cookies.get(NEWS, ""))
    html = _rendered(request, template, request.scope["qengine.csrf"], context | {"news": news})
    # Half characters, which JSON can hold and no page can, are spelled out as JSON does.
    answer = HTMLResponse(html.encode("utf-8", "backslashreplace"), status)
    if news:
        answer.delete_cookie(NEWS, path=cookie_path(request.scope), httponly=True, samesite="strict")
    return answer


def _rendered(request: Request, template: str, csrf: str, context: dict[str, Any]) -> str:
    dashboard = of(request)

    def path(name: str, query: dict[str, Any] | None = None, /, **params: Any) -> str:
        return path_to(request, name, query, **params)

    return _TEMPLATES.get_template(template).render(
        request=request,
        title=dashboard.title,
        read_only=dashboard.read_only,
        path=path,
        static=lambda file: path("static", path=f"/{file}"),
        csrf=Markup('<input type="hidden" name="csrf" value="{}">').format(csrf),
        **context,
    )
