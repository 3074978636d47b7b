"""Schedules, workers and the audit trail, in a browser."""

from __future__ import annotations

from playwright.async_api import expect
from stage import Stage, Visitor


async def test_schedules(stage: Stage, visitor: Visitor) -> None:
    page, engine = visitor.page, stage.engine
    await visitor.go("/")
    await visitor.follow("Schedules", "nav")
    row = page.locator("tbody tr")
    await expect(row).to_contain_text("nightly_report")
    await expect(row).to_contain_text("0 3 * * *")
    await expect(row).to_contain_text("in ")
    await visitor.press("Pause")
    await visitor.told("is paused")
    await expect(row).to_contain_text("not while it is paused")
    [schedule] = await engine.schedules()
    assert schedule.paused
    await visitor.press("Resume")
    await visitor.told("fires again")
    [schedule] = await engine.schedules()
    assert not schedule.paused
    await visitor.press("Run now")
    await visitor.told("is enqueued")
    [job] = await engine.jobs(type="nightly_report")
    await expect(page.get_by_role("heading", level=1)).to_contain_text(str(job.id))
    await stage.status(job.id, "completed")
    await visitor.follow("Audit", "nav")
    await expect(page.locator("tbody tr").first).to_contain_text("fire")
    await expect(page.locator("tbody tr").first).to_contain_text("Ada")


async def test_workers(stage: Stage, visitor: Visitor) -> None:
    page, engine = visitor.page, stage.engine
    job = await engine.enqueue("import_orders", {})
    await stage.status(job.id, "processing")
    await visitor.go("/")
    await visitor.follow("Workers", "nav")
    [worker] = await engine.workers()
    panel = page.locator("#live section")
    await expect(panel).to_contain_text(worker.host)
    await expect(panel).to_contain_text(worker.version)
    await expect(panel.locator("tbody tr")).to_contain_text("import_orders")

    await page.get_by_label("named").fill("letters")
    await page.get_by_label("for minutes").fill("5")
    await visitor.press("Pause")
    [pause] = await engine.pauses()
    assert (pause.kind, pause.name) == ("type", "letters")
    assert pause.until is not None
    await visitor.press("Resume")
    assert await engine.pauses() == []
