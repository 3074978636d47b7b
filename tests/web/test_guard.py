"""What protects those who use the dashboard, on every page and against every form that is not its own."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from queue_on_show import HOSTILE, dead_mails
from starlette.routing import Route
from visitor import TOKEN, Page, Visitor

from qengine import Engine, Status
from qengine.web import dashboard
from qengine.web.guard import MAX_FIELDS

pytestmark = pytest.mark.anyio

FORM = {"content-type": "application/x-www-form-urlencoded"}


async def every_page(engine: Engine, visitor: Visitor) -> dict[str, Page]:
    """Each kind of page there is, with something on it, errors included."""
    [dead] = await dead_mails(engine, "nobody")
    late = await engine.enqueue("mail", {"to": "a@example.com"}, delay=3600)
    await engine.pause(type="flaky")
    shown = {path: await visitor.visit(path) for path in ("/", "/jobs", "/dead", "/schedules", "/workers", "/audit")}
    shown |= {path: await visitor.visit(path) for path in (f"/jobs/{dead.id}", f"/jobs/{late.id}", f"/jobs/{dead.id}/edit")}
    shown |= {path: await visitor.visit(path) for path in (f"/dead/{dead.id}", "/jobs/bulk?act=cancel&type=mail")}
    shown |= {path: await visitor.visit(path, 404) for path in ("/jobs/999999", "/nothing/here", "/work/unknown")}
    shown["/jobs?status=odd"] = await visitor.visit("/jobs?status=odd", 400)
    return shown


async def test_every_answer_has_the_headers(queue: Engine, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {path: page.response for path, page in (await every_page(queue, visitor)).items()}
    answers["style"] = await visitor.client.get("/static/style.css")
    answers["probe"] = await visitor.client.get("/healthz")
    answers["stranger"] = await visitor.client.get("/jobs", headers={"cookie": ""})

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(queue, "workers", broken)
    answers["broken"] = await visitor.client.get("/workers")
    assert answers["broken"].status_code == 500
    for name, answer in answers.items():
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, name
        assert "unsafe" not in policy, name
        assert "frame-ancestors 'none'" in policy, name
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


async def test_no_page_needs_what_the_policy_forbids(queue: Engine, visitor: Visitor) -> None:
    for path, page in (await every_page(queue, visitor)).items():
        for tag, attributes in page.tags:
            assert "style" not in attributes, (path, tag)
            assert not any(name.startswith("on") for name in attributes), (path, tag)
            assert tag != "style", path
            if tag == "script":
                assert (attributes["src"] or "").startswith("/static/"), path
            for name in ("href", "src", "action"):
                address = attributes.get(name) or "/"
                assert address.startswith(("/", "#")), (path, address)
                assert not address.startswith("//"), (path, address)


async def test_what_jobs_carry_is_text_on_every_page(queue: Engine, visitor: Visitor) -> None:
    await queue.enqueue(HOSTILE, {"text": HOSTILE}, queue=HOSTILE, unique_key=HOSTILE)
    await queue.drain()
    [dead] = await queue.jobs(status="dead")
    live = await queue.enqueue(HOSTILE, {"text": HOSTILE}, delay=3600, queue=HOSTILE)
    await queue.pause(queue=HOSTILE, by=HOSTILE)
    await queue.requeue(type=HOSTILE, text=HOSTILE, error_group=HOSTILE, by=HOSTILE)
    await queue.drain()
    await queue.resume(queue=HOSTILE)
    await queue.drain()
    await queue.amend(dead.id, payload={"text": HOSTILE + "2"}, by=HOSTILE)
    await queue.pause(type=HOSTILE)
    paths = [
        *("/", "/jobs", "/dead", "/schedules", "/workers", "/audit"),
        *(f"/jobs/{dead.id}", f"/jobs/{live.id}", f"/jobs/{dead.id}/edit", f"/dead/{dead.id}"),
        *(f"/jobs?like={dead.id}&status=dead", f"/jobs/bulk?act=requeue&like={dead.id}"),
    ]
    search = str(httpx.QueryParams({"text": HOSTILE, "type": HOSTILE, "queue": HOSTILE}))
    paths += [f"/jobs?{search}", f"/jobs/bulk?act=cancel&{search}"]
    shown = 0
    for path in paths:
        page = await visitor.visit(path)
        assert "<script>alert" not in page.html, path
        assert "<img" not in page.html, path
        assert "\u202e" not in page.text, path
        shown += "<script>alert(1)" in page.text
    assert shown >= 10
    assert "{{ 7*7 }}\\u202e" in (await visitor.visit(f"/jobs/{dead.id}")).text
    for path in ("/jobs?status=" + str(httpx.QueryParams({"": HOSTILE}))[1:], "/jobs?within=%3Cscript%3Ealert(1)"):
        assert "<script>alert" not in (await visitor.visit(path, 400)).html


async def test_half_characters_are_spelled_out(queue: Engine, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    [job] = await dead_mails(queue, "nobody")
    monkeypatch.setattr(type(queue), "job", _with_payload(queue, {"to": "\ud800\x00\x1b[31m"}))
    page = await visitor.visit(f"/jobs/{job.id}")
    assert "\\ud800\\u0000\\u001b[31m" in page.text


def _with_payload(engine: Engine, payload: Any) -> Any:
    original = type(engine).job

    async def job(self: Engine, id: int) -> Any:
        return replace(await original(self, id), payload=payload)

    return job


# -- host names


async def test_only_known_host_names_lead_here(queue: Engine) -> None:
    app = dashboard(queue, token=TOKEN, allowed_hosts=["127.0.0.1", "localhost", "::1"])
    for base in ("http://127.0.0.1:8765", "http://LOCALHOST:1", "http://[::1]:8765", "http://localhost"):
        async with Visitor(app, base) as visitor:
            await visitor.visit("/", 401)
    for base in ("http://evil.example", "http://127.0.0.1.evil.example:8765"):
        async with Visitor(app, base) as visitor:
            answer = await visitor.client.get(f"/?token={TOKEN}")
            assert answer.status_code == 421
            assert "set-cookie" not in answer.headers


# -- forms


async def posted(visitor: Visitor, path: str, fields: dict[str, str], **headers: str) -> int:
    body = str(httpx.QueryParams(fields))
    return (await visitor.client.post(path, content=body, headers=FORM | headers, follow_redirects=False)).status_code


async def field_of(visitor: Visitor, path: str) -> dict[str, str]:
    page = await visitor.visit(path)
    return {"csrf": dict(page.forms[-1].fields)["csrf"]}


async def test_only_a_form_made_for_this_browser_does_something(queue: Engine, visitor: Visitor) -> None:
    job = await queue.enqueue("mail", {"to": "a@example.com"})
    path = f"/jobs/{job.id}/cancel"
    field = await field_of(visitor, f"/jobs/{job.id}")
    async with Visitor(dashboard(queue, token=TOKEN)) as other:
        await other.visit(f"/?token={TOKEN}")
        of_another = await field_of(other, f"/jobs/{job.id}")
    for wrong in ({}, {"csrf": ""}, {"csrf": "x" * 64}, {"csrf": "ü"}, of_another):
        assert await posted(visitor, path, wrong) == 403
    assert (await queue.job(job.id)).status is Status.PENDING
    assert await posted(visitor, path, field) == 303
    assert (await queue.job(job.id)).status is Status.CANCELLED


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://dash.test:81"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://dash.test"}, 403),
        ({"origin": "http://dash.test"}, 303),
        ({"origin": "https://public.example", "sec-fetch-site": "same-origin"}, 303),  # a proxy changed the host name
        ({}, 303),
    ],
)
async def test_forms_come_from_the_dashboard_itself(
    queue: Engine, visitor: Visitor, headers: dict[str, str], status: int
) -> None:
    job = await queue.enqueue("mail", {"to": "a@example.com"})
    field = await field_of(visitor, f"/jobs/{job.id}")
    assert await posted(visitor, f"/jobs/{job.id}/cancel", field, **headers) == status
    assert ((await queue.job(job.id)).status is Status.CANCELLED) == (status == 303)


async def test_only_forms_of_a_sane_size_are_read(queue: Engine, visitor: Visitor) -> None:
    field = await field_of(visitor, "/workers")
    answer = await visitor.client.post("/pause", json={**field, "kind": "type", "name": "mail"})
    assert answer.status_code == 415
    many = field | {f"field{number}": "x" for number in range(MAX_FIELDS)}
    assert await posted(visitor, "/pause", many) == 400
    assert await posted(visitor, "/pause", field | {"name": "x" * (9 * queue.payload_limit)}) == 413
    assert await queue.pauses() == []


async def test_other_methods_are_not_there(visitor: Visitor) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert (await visitor.client.request(method, "/jobs")).status_code in (403, 405, 415)
    assert (await visitor.visit("/pause", 405)).text.count("cannot be done here") == 1


async def test_read_only_changes_nothing_and_offers_nothing(queue: Engine) -> None:
    app = dashboard(queue, token=TOKEN, read_only=True)
    async with Visitor(app) as visitor:
        await visitor.visit(f"/?token={TOKEN}")
        for path, page in (await every_page(queue, visitor)).items():
            assert [form for form in page.forms if form.method == "post" and form.buttons] == [], path
        before = [await queue.job(job.id) for job in await queue.jobs()]
        tried = 0
        for route in app.routes:
            if isinstance(route, Route) and "POST" in (route.methods or ()):
                path = route.path.replace("{id:int}", str(before[0].id)).replace("{id}", "x")
                answer = await visitor.client.post(path, content="", headers=FORM)
                assert answer.status_code == 403
                assert "read-only" in answer.text
                tried += 1
        assert tried >= 14
        assert [await queue.job(job.id) for job in await queue.jobs()] == before


async def test_nothing_of_a_payload_is_logged(
    queue: Engine, visitor: Visitor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "qengine.web")
    [job] = await dead_mails(queue, "hidden-name", password="hidden-word")
    page = await visitor.visit(f"/jobs/{job.id}/edit")
    await visitor.press(page, "Save", 422, payload='{"to": "hidden-name", "password": ')
    await visitor.press(page, "Save", payload='{"to": "hidden-name-2", "password": "hidden-word-2"}')
    assert "hidden" not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("qengine.web"))
