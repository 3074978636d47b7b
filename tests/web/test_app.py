"""The dashboard as an app: served by itself or mounted, the probes, and what becomes of errors."""

from __future__ import annotations

import builtins
import importlib
import sys
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from queue_on_show import dead_mails, declare
from starlette.applications import Starlette
from starlette.routing import Mount
from visitor import TOKEN, Visitor

from qengine import BackendUnavailable, ConfigurationError, Engine, SchemaError
from qengine.web import dashboard

pytestmark = pytest.mark.anyio


def hosts(engine: Engine) -> dict[str, Any]:
    """Ways to have the dashboard under a path, by that path."""
    fast = FastAPI()
    fast.mount("/admin/jobs", dashboard(engine, authenticated_by_host=True))
    nested = Starlette(routes=[Mount("/a b", app=Starlette(routes=[Mount("/ü", dashboard(engine, token=TOKEN))]))])
    return {"/admin/jobs": fast, "/a%20b/%C3%BC": nested}


async def test_it_works_under_any_path(queue: Engine) -> None:
    [dead] = await dead_mails(queue, "nobody")
    for prefix, app in hosts(queue).items():
        async with Visitor(app) as visitor:
            page = await visitor.visit(f"{prefix}/?token={TOKEN}" if "C3" in prefix else f"{prefix}/")
            assert str(page.response.url).endswith(f"{prefix}/")
            for path in ("/jobs", "/dead", "/schedules", "/workers", "/audit", f"/jobs/{dead.id}", f"/jobs/{dead.id}/edit"):
                page = await visitor.visit(prefix + path)
                addresses = [given.get(name) for _, given in page.tags for name in ("href", "src", "action")]
                assert [one for one in addresses if one and not one.startswith((f"{prefix}/", "#"))] == []
            style = next(given["href"] for tag, given in page.tags if tag == "link" and given.get("rel") == "stylesheet")
            assert (await visitor.client.get(str(style))).status_code == 200
            page = await visitor.press(page, "Save", payload='{"to": "x"}')
            assert str(page.response.url).endswith(f"{prefix}/jobs/{dead.id}")
            assert "is changed" in page.text
            for cookie in visitor.client.cookies.jar:
                assert cookie.path == f"{prefix}/"
            assert (await visitor.client.get(f"{prefix}/readyz")).text == "ok\n"


async def test_behind_a_proxy_that_strips_a_path(queue: Engine) -> None:
    app = dashboard(queue, authenticated_by_host=True)

    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "root_path": "/queue"}, receive, send)

    async with Visitor(proxied) as visitor:
        page = await visitor.visit("/jobs")
        assert page.links["Dead letters"] == "/queue/dead"


async def test_a_closed_engine_is_opened_and_closed_with_the_app(url: str) -> None:
    engine = Engine(url)
    declare(engine)
    app = dashboard(engine, authenticated_by_host=True)
    async with Visitor(app) as visitor:
        assert "is not open" in (await visitor.visit("/jobs", 400)).text
        async with app.router.lifespan_context(app):
            await visitor.visit("/jobs")
        await visitor.visit("/jobs", 400)


async def test_an_open_engine_stays_open(queue: Engine) -> None:
    app = dashboard(queue, authenticated_by_host=True)
    async with app.router.lifespan_context(app):
        pass
    assert await queue.jobs() == []


async def test_errors_have_pages(queue: Engine, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, status, said in (
        (BackendUnavailable("password=hunter2"), 503, "Trying again may help"),
        (SchemaError("the schema is newer"), 400, "the schema is newer"),
        (RuntimeError("hunter2"), 500, "The log of the dashboard"),
    ):

        async def broken(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(queue, "workers", broken)
            page = await visitor.visit("/workers", status)
        assert said in page.text
        assert "hunter2" not in page.html
        assert page.links["To the overview"] == "/"
    assert "no such page" in (await visitor.visit("/nothing", 404)).text
    assert "audit trail tells" in (await visitor.visit("/work/unknown", 404)).text


async def test_the_probes_tell_one_word(queue: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> None:
        raise BackendUnavailable("postgresql://me@secret-host is away")

    async with Visitor(dashboard(queue, token=TOKEN)) as probe:
        for path in ("/healthz", "/readyz"):
            answer = await probe.client.get(path)
            assert (answer.status_code, answer.text) == (200, "ok\n")
        monkeypatch.setattr(queue.backend, "now", away)
        answer = await probe.client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "not ok\n")
        assert (await probe.client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("module", ["starlette", "jinja2"])
def test_without_the_extra_the_import_names_it(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return original(name, *rest)

    for name in [name for name in sys.modules if name.startswith(("qengine.web", f"{module}."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigurationError, match=rf"module {module}.*pip install 'qengine\[web\]'"):
        importlib.import_module("qengine.web")


def test_a_broken_import_of_our_own_is_not_taken_for_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("qengine.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "qengine.web.app", None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("qengine.web")


async def test_an_answer_of_the_probe_needs_no_cookie(queue: Engine) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(dashboard(queue, token=TOKEN)), base_url="http://dash.test"
    ) as probe:
        assert "set-cookie" not in (await probe.get("/healthz")).headers
