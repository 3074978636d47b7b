"""Dead letters, in a browser: found, read, mended and requeued. And what jobs carry is shown as text, whatever it is."""

from __future__ import annotations

import json
from itertools import pairwise

from playwright.async_api import expect
from stage import HOSTILE, SHOWN, Stage, Visitor


async def test_the_poison_record_is_mended(stage: Stage, visitor: Visitor) -> None:
    page, engine = visitor.page, stage.engine
    ids = [await stage.dead(f"nobody {number}", password="hunter2") for number in range(3)]

    await stage.counted("dead", 3)
    await visitor.go("/")
    await visitor.follow("Dead letters", "nav")
    group = page.get_by_role("link", name="not an address")
    await expect(page.locator("tbody tr")).to_contain_text("send_email")
    async with page.expect_navigation():
        await group.click()
    await expect(page.locator("tbody tr")).to_have_count(3)
    await visitor.follow(str(ids[0]))
    await expect(page.get_by_label("Traceback of attempt 1")).to_contain_text("raise ValueError(f")

    await visitor.follow("Edit payload…")
    field = page.get_by_label("JSON object")
    shown = json.loads(await field.input_value())
    assert shown == {"to": "nobody 0", "password": "••••••"}
    await field.fill("{not json")
    await visitor.press("Save and requeue")
    await expect(page.get_by_role("alert")).to_be_visible()
    visitor.refused(422)
    await expect(field).to_have_value("{not json")
    await field.fill(json.dumps(shown | {"to": "ada@example.com"}))
    await visitor.press("Save and requeue")
    await stage.status(ids[0], "completed")
    mended = await engine.job(ids[0])
    assert mended.result == "sent to ada@example.com"
    assert mended.payload == {"to": "ada@example.com", "password": "hunter2"}
    await page.reload()
    await expect(page.get_by_label("Result")).to_contain_text("sent to ada")
    await page.get_by_text("Payload before").click()
    before = page.get_by_label("Payload before")
    await expect(before).to_contain_text("nobody 0")
    await expect(page.locator("body")).not_to_contain_text("hunter2")


async def test_a_group_is_requeued(stage: Stage, visitor: Visitor) -> None:
    page, engine = visitor.page, stage.engine
    alike = [await stage.dead(f"nobody {number}") for number in range(3)]
    other = await stage.dead("gone@example.com")
    await engine.pause(type="send_email")
    await visitor.go(f"/dead/{alike[0]}")
    await expect(page.locator("tbody tr")).to_have_count(3)
    await page.get_by_label("at a rate of").check()
    await page.get_by_label("jobs a minute").fill("6")
    await page.get_by_role("button", name="Requeue", exact=False).click()
    await visitor.told("3 jobs requeued")
    waiting = await engine.jobs(type="send_email", status="pending")
    assert [job.id for job in waiting] == alike
    due = sorted(job.scheduled_for for job in waiting if job.scheduled_for)
    assert [round((later - sooner).total_seconds()) for sooner, later in pairwise(due)] == [10, 10]
    assert str((await engine.job(other)).status) == "dead"


async def test_what_is_hostile_is_text(stage: Stage, visitor: Visitor) -> None:
    page, engine = visitor.page, stage.engine
    hostile = HOSTILE.replace("\x00", "")
    dead = await stage.dead(hostile, password=hostile)
    discarded = await engine.enqueue("forget", {"reason": hostile})
    await stage.status(discarded.id, "dead")
    stranger = await engine.enqueue(hostile, {hostile: [hostile]}, queue=hostile, unique_key=hostile, delay=0)
    await engine.pause(queue=hostile, by=hostile)
    await engine.amend(stranger.id, payload={"a": hostile}, by=hostile)

    await visitor.watch()
    await expect(page.locator("[data-section=types]")).to_contain_text(SHOWN)
    await expect(page.locator("[data-section=notices]")).to_contain_text(SHOWN)
    for path in (
        "/jobs",
        f"/jobs/{dead}",
        f"/jobs/{stranger.id}",
        f"/jobs/{stranger.id}/edit",
        f"/dead/{dead}",
        "/workers",
        "/audit",
    ):
        await visitor.go(path)
        text = await page.evaluate("document.body.innerText + [...document.querySelectorAll('textarea')].map(e => e.value)")
        assert SHOWN in text, path
        assert await page.locator("img").count() == 0, path
        assert await page.locator("b", has_text="bold").count() == 0, path
    await stage.counted("dead", 2)
    await visitor.go("/dead")
    await expect(page.get_by_role("link", name="<script>").first).to_be_visible()
    # The type of a job in links, forms and filters, too.
    await visitor.go("/")
    await page.locator("[data-section=types]").get_by_role("link", name="<script>").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await visitor.go("/workers")
    await visitor.press("Resume")
    assert await engine.pauses() == []
