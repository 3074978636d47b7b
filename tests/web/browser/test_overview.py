"""The overview, in a browser."""

from __future__ import annotations

import re

from playwright.async_api import expect
from stage import TOKEN, Stage, Visitor


async def test_the_link_lets_in_once_and_for_all(stage: Stage) -> None:
    async with stage.visitor(let_in=False) as visitor:
        page = visitor.page
        answer = await page.goto(f"{stage.address}/jobs")
        assert answer is not None
        assert answer.status == 401
        await expect(page.get_by_role("heading")).to_contain_text("needs its token")
        visitor.refused(401)
        await page.get_by_label("Token").fill(TOKEN)
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        assert "token" not in page.url
        await page.get_by_role("link", name="Jobs", exact=True).click()
        await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()


async def test_it_follows_what_happens(stage: Stage, visitor: Visitor) -> None:
    page, engine = visitor.page, stage.engine
    await visitor.watch()
    loaded = await page.evaluate("performance.timeOrigin")
    row = page.locator("tr[data-key='nobody']")
    await expect(row).to_have_count(0)

    await engine.enqueue("nobody", {})
    await expect(row).to_contain_text("no worker")
    await expect(page.locator("[data-section=notices]")).to_contain_text("No live worker handles")
    await expect(page.locator(".tile[data-key=pending] .value")).to_have_text("1")

    job = await engine.enqueue("import_orders", {})
    worker = page.locator(".worker")
    await expect(worker).to_contain_text(f"{job.id} import_orders")
    stage.gate.set()
    await expect(worker).not_to_contain_text("import_orders")
    await expect(page.locator(".tile[data-key=completed] .value")).to_have_text("1")

    await engine.delete(type="nobody")
    await expect(row).to_have_count(0)
    await expect(page.locator("[data-section=fires]")).to_contain_text(
        re.compile(r"nightly_report\s+0 3 \* \* \*\s+in \d+ (h|min)")
    )
    assert await page.evaluate("performance.timeOrigin") == loaded, "it was reloaded"


async def test_a_type_is_paused_and_resumed(stage: Stage, visitor: Visitor) -> None:
    page, engine = visitor.page, stage.engine
    await engine.pause(type="send_email", by="Bob")
    await engine.enqueue("send_email", {"to": "ada@example.com"})
    await visitor.watch()
    notice = page.locator("[data-section=notices] .row")
    await expect(notice).to_contain_text("the type send_email")
    await visitor.press("Resume the type send_email", "[data-section=notices]")
    await visitor.told("Type send_email is resumed")
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert await engine.pauses() == []
    await expect(page.locator(".tile[data-key=completed] .value")).to_have_text("1")
    await visitor.press("Pause the type send_email")
    [pause] = await engine.pauses()
    assert (pause.kind, pause.name) == ("type", "send_email")
    [entry] = await engine.audit_trail(1)
    assert (entry.actor, entry.action) == ("Ada", "pause")
