"""The list of jobs, a job's page, and what is done from them, in a browser."""

from __future__ import annotations

import re
from itertools import pairwise

from playwright.async_api import expect
from stage import Stage, Visitor

from qengine import Status


async def test_filters_and_pages(stage: Stage, visitor: Visitor) -> None:
    page, engine = visitor.page, stage.engine
    for _ in range(60):
        await engine.enqueue("letters", {"to": "ada@example.com"})
    await engine.enqueue("parcels", {"to": "Bob%@example.com", "password": "hunter2"}, queue="slow")
    await visitor.go("/jobs")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(50)
    await visitor.follow("Older")
    await expect(rows).to_have_count(11)
    await expect(page.get_by_text("That is all there is.")).to_be_visible()
    await visitor.follow("Newest")
    await expect(rows).to_have_count(50)

    async def filtered(count: int) -> None:
        await visitor.press("Filter")
        await expect(rows).to_have_count(count)

    await page.get_by_label("Text").fill("bob%@EXAMPLE")
    await filtered(1)
    await expect(rows).to_contain_text("parcels")
    await expect(page.locator("body")).not_to_contain_text("hunter2")
    await page.get_by_label("Text").fill("")
    await page.get_by_label("Type").fill("parcels")
    await page.get_by_label("pending").check()
    await filtered(1)
    await page.get_by_label("pending").uncheck()
    await page.get_by_label("dead").check()
    await visitor.press("Filter")
    await expect(rows).to_have_count(0)
    await visitor.go("/jobs?queue=slow&within=3600")
    await expect(rows).to_have_count(1)


async def test_a_job_from_its_enqueue_to_its_end(stage: Stage, visitor: Visitor) -> None:
    page, engine = visitor.page, stage.engine
    job = await engine.enqueue("nobody", {"note": "later", "password": "hunter2"}, delay=3600)
    assert job.status is Status.PENDING
    await visitor.go("/jobs")
    await visitor.follow(str(job.id))
    await expect(page.get_by_label("Payload", exact=True)).to_contain_text("later")
    await expect(page.locator("body")).not_to_contain_text("hunter2")

    await page.get_by_label("Priority").select_option("2")
    await visitor.press("Change")
    await visitor.told("priority 2")
    assert (await engine.job(job.id)).priority == 2

    await page.get_by_text("Cancel…").click()
    await visitor.press("Cancel the job")
    await visitor.told("is cancelled")
    await expect(page.locator(".status").first).to_have_text("cancelled")

    await visitor.press("Requeue")
    await visitor.told("back in line")
    trail = [(entry.action, entry.actor) for entry in await engine.audit_trail(job_id=job.id)]
    assert trail == [("requeue", "Ada"), ("cancel", "Ada"), ("amend", "Ada")]


async def test_run_now(stage: Stage, visitor: Visitor) -> None:
    job = await stage.engine.enqueue("send_email", {"to": "ada@example.com"}, delay=3600)
    await visitor.go(f"/jobs/{job.id}")
    await visitor.press("Run now")
    await visitor.told("is due now")
    await stage.status(job.id, "completed")
    await visitor.page.reload()
    await expect(visitor.page.get_by_label("Result")).to_contain_text("sent to ada@example.com")


async def test_a_job_that_runs(stage: Stage, visitor: Visitor) -> None:
    page = visitor.page
    job = await stage.engine.enqueue("import_orders", {})

    async def told() -> object:
        return (await stage.engine.job(job.id)).progress

    await stage.until(told)
    await visitor.go(f"/jobs/{job.id}")
    await expect(page.get_by_role("progressbar")).to_have_attribute("max", "4")
    await expect(page.locator("main")).to_contain_text("reading page 1")
    await expect(page.get_by_role("heading", name="Lease")).to_be_visible()
    stage.gate.set()
    # The page looks again by itself.
    await expect(page.locator(".status").first).to_have_text("completed")
    await expect(page.get_by_role("heading", name="Lease")).to_have_count(0)


async def test_deleting_a_job_by_keyboard_alone(stage: Stage, visitor: Visitor) -> None:
    page = visitor.page
    job = await stage.engine.enqueue("nobody", {"n": 1})
    await visitor.watch()

    async def tab_to(name: str | re.Pattern[str], role: str) -> None:
        wanted = page.get_by_role(role, name=name).first  # type: ignore[arg-type]
        for _ in range(80):
            await page.keyboard.press("Tab")
            if await wanted.evaluate("element => element === document.activeElement"):
                outline = await wanted.evaluate("element => getComputedStyle(element).outlineStyle")
                assert outline != "none", f"{name} does not show that it has the focus"
                return
        raise AssertionError(f"the Tab key does not lead to {name}")

    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await tab_to("Jobs", "link")
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    await tab_to(str(job.id), "link")
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    menu = page.locator("summary", has_text="Delete…")
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await menu.evaluate("element => element === document.activeElement"):
            break
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Delete for good")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Delete for good")).to_be_hidden()
    await page.keyboard.press("Enter")
    await tab_to("Delete for good", "button")
    async with page.expect_navigation():
        await page.keyboard.press("Space")
    await visitor.told("is deleted")
    assert await stage.engine.jobs() == []


async def test_all_that_meet_a_filter(stage: Stage, visitor: Visitor) -> None:
    page, engine = visitor.page, stage.engine
    for number in range(7):
        await engine.enqueue("letters", {"number": number})
    other = await engine.enqueue("parcels", {})

    async def bulk(act: str, asked: str, sure: str, done: str) -> None:
        await visitor.go("/jobs?type=letters")
        await page.get_by_text("Act on all of these…").click()
        await visitor.follow(act)
        await expect(page.get_by_role("heading")).to_have_text(asked)
        await visitor.press(sure)
        await visitor.told(done)

    await bulk("Cancel…", "Cancel 7 jobs?", "Cancel them", "7 jobs cancelled")
    assert len(await engine.jobs(type="letters", status="cancelled")) == 7
    assert (await engine.job(other.id)).status is Status.PENDING
    await visitor.go("/jobs?type=letters&status=cancelled")
    await page.get_by_text("Act on all of these…").click()
    await visitor.follow("Requeue…")
    await expect(page.get_by_role("heading")).to_have_text("Requeue 7 jobs?")
    await page.get_by_label("at a rate of").check()
    await page.get_by_label("jobs a minute").fill("1")
    await visitor.press("Requeue them")
    await visitor.told("7 jobs requeued")
    due = sorted(job.scheduled_for for job in await engine.jobs(type="letters", status="pending") if job.scheduled_for)
    assert [round((later - sooner).total_seconds()) for sooner, later in pairwise(due)] == [60] * 6
    await bulk("Delete…", "Delete 7 jobs?", "Delete them", "7 jobs deleted")
    assert [job.id for job in await engine.jobs()] == [other.id]
