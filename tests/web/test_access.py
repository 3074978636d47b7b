"""Who may see the dashboard."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from visitor import TOKEN, Visitor

from qengine import ConfigurationError, Engine
from qengine.web import dashboard

pytestmark = pytest.mark.anyio


@pytest.fixture
def app(queue: Engine) -> Starlette:
    return dashboard(queue, token=TOKEN)


def paths(app: Starlette) -> list[tuple[str, str]]:
    """The method and path of everything that the app answers."""
    found = [("GET", "/static/style.css"), ("GET", "/no/such/page")]
    for route in app.routes:
        if isinstance(route, Route):
            path = route.path.replace("{id:int}", "1").replace("{id}", "x")
            found += [(method, path) for method in route.methods or () if method != "HEAD"]
        else:
            assert isinstance(route, Mount)
    return found


async def test_nothing_but_the_probes_is_there_without_the_token(app: Starlette) -> None:
    seen = 0
    for headers in ({}, {"authorization": "Bearer wrong-token-wrong-token"}, {"authorization": f"Basic {TOKEN}"}):
        async with Visitor(app, **headers) as stranger:
            for method, path in paths(app):
                answer = await stranger.client.request(method, path)
                if path in ("/healthz", "/readyz"):
                    assert (answer.status_code, answer.text) == (200, "ok\n")
                else:
                    assert answer.status_code == 401, (method, path)
                    assert answer.headers["www-authenticate"] == "Bearer"
                    assert TOKEN not in answer.text + str(answer.headers)
                    seen += 1
    assert seen > 60


async def test_the_link_lets_a_browser_in_and_the_token_leaves_the_address(app: Starlette) -> None:
    async with Visitor(app) as visitor:
        answer = await visitor.client.get(f"/jobs?token={TOKEN}&status=dead&type=a%26b", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?status=dead&type=a%26b")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Path=/" in cookie
        assert "Secure" not in cookie
        assert TOKEN not in cookie
        assert (await visitor.visit("/jobs")).response.status_code == 200


async def test_over_https_the_cookies_are_for_https_only(app: Starlette) -> None:
    async with Visitor(app, "https://dash.test") as visitor:
        answer = await visitor.client.get(f"/?token={TOKEN}", follow_redirects=False)
        assert "Secure" in answer.headers["set-cookie"]
        assert "Secure" in (await visitor.visit("/")).response.headers["set-cookie"]


async def test_a_wrong_token_is_refused_even_with_a_cookie(app: Starlette) -> None:
    async with Visitor(app) as visitor:
        await visitor.visit(f"/?token={TOKEN}")
        page = await visitor.visit("/?token=wrong-token-wrong-token", 401)
        assert "not the right one" in page.text
        await visitor.visit("/?token=%ff%fe", 401)


async def test_the_link_leads_to_no_other_host(app: Starlette) -> None:
    async with Visitor(app) as visitor:
        answer = await visitor.client.get(f"http://dash.test//evil.example/?token={TOKEN}", follow_redirects=False)
        assert answer.headers["location"] == "/evil.example/"


async def test_a_program_shows_the_token_in_a_header(app: Starlette) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://dash.test") as program:
        refused = await program.get("/jobs")
        assert (refused.status_code, refused.headers["content-type"]) == (401, "text/plain; charset=utf-8")
        assert (await program.get("/jobs", headers={"authorization": f"bearer {TOKEN}"})).status_code == 200


async def test_the_page_for_strangers_asks_for_the_token_and_holds_to_the_policy(app: Starlette) -> None:
    async with Visitor(app) as visitor:
        page = await visitor.visit("/jobs", 401)
        form = page.form("Open")
        assert (form.method, form.action, dict(form.fields)) == ("get", "/", {"token": ""})
        assert "unsafe-inline" not in page.response.headers["content-security-policy"]
        assert "script-src" not in page.response.headers["content-security-policy"]  # default-src 'none' forbids all


async def test_the_cookie_of_one_dashboard_opens_no_other(app: Starlette, queue: Engine) -> None:
    other = dashboard(queue, token="another-token-another-token")
    async with Visitor(app) as visitor, Visitor(other) as elsewhere:
        await visitor.visit(f"/?token={TOKEN}")
        for cookie in visitor.client.cookies.jar:
            elsewhere.client.cookies.jar.set_cookie(cookie)
        await elsewhere.visit("/", 401)
        await elsewhere.visit("/?token=another-token-another-token")
        assert len({cookie.name for cookie in elsewhere.client.cookies.jar}) == 4  # side by side, as on one host


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "sixteen letters and spaces", "schlüssel-schlüssel"])
def test_a_weak_token_is_refused(url: str, token: str) -> None:
    with pytest.raises(ConfigurationError, match="16 ASCII characters"):
        dashboard(Engine(url), token=token)


@pytest.mark.parametrize("options", [{}, {"token": TOKEN, "authenticated_by_host": True}])
def test_it_is_said_explicitly_who_checks_access(url: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="authenticated_by_host=True"):
        dashboard(Engine(url), **options)  # type: ignore[arg-type]
