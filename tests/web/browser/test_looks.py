"""Every page, at a desk and on a phone, in the light and in the dark: nothing to scroll sideways, nothing that jumps, and
nothing that the browser complains of. The screenshots of docs/ are made here, where QENGINE_SCREENSHOTS names a folder.
"""

from __future__ import annotations

import math
import os
import random
import time
from pathlib import Path

import pytest
from playwright.async_api import expect
from stage import DESK, PHONE, Stage, Visitor

from qengine.backends.inspection import WAIT_BOUNDS, Activity

PROBES = (Path(__file__).parent / "probes.js").read_text()
LOOKS = {
    "light": {"viewport": DESK, "color_scheme": "light"},
    "dark": {"viewport": DESK, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "has_touch": True, "is_mobile": True},
}
SHOTS = [
    ("overview", "light"),
    ("overview", "dark"),
    ("overview", "phone"),
    *((name, "light") for name in ("jobs", "job", "dead", "group", "edit", "schedules", "workers")),
]
"""The pictures in docs/screenshots/."""


@pytest.mark.parametrize("look", LOOKS)
async def test_every_page(stage: Stage, look: str) -> None:
    paths = await furnish(stage)
    async with stage.visitor(**LOOKS[look], reduced_motion="reduce") as visitor:
        for name, path in paths.items():
            await visitor.go(path)
            if name == "overview":
                await visitor.is_live()
                await expect(visitor.page.locator(".tile[data-key=dead] .value")).to_have_text("14")
            await visitor.no_sideways()
            await readable(visitor, name)
            folder = os.environ.get("QENGINE_SCREENSHOTS")
            if folder and (name, look) in SHOTS and stage.engine.backend.capabilities.push:
                suffix = "" if look == "light" else f"-{look}"
                await visitor.page.screenshot(
                    path=Path(folder) / f"{name}{suffix}.png", full_page=name == "overview" and look != "phone"
                )


async def test_nothing_jumps(stage: Stage, visitor: Visitor) -> None:
    """What is shown stays where it is when charts and sections are filled."""
    page = visitor.page
    await page.add_init_script(PROBES + "watchJumps();")
    await furnish(stage)
    await visitor.watch()
    await expect(page.locator("figure canvas")).to_have_count(6)
    job = await stage.engine.enqueue("send_email", {"to": "ada@example.com"})
    await stage.status(job.id, "completed")
    completed = (await stage.engine.stats()).by_status["completed"]
    await expect(page.locator(".tile[data-key=completed] .value")).to_have_text(str(completed))
    assert await page.evaluate("window.jumps") < 0.01


async def readable(visitor: Visitor, name: str) -> None:
    """Fail where something has no name or stands out too little, or a page has no heading."""
    nameless, faint = await visitor.page.evaluate(f"(() => {{ {PROBES}; return [nameless(), faint()]; }})()")
    assert nameless == [], f"without a name on {name}"
    assert faint == [], f"too faint on {name}"
    assert await visitor.page.locator("h1").count() == 1, name


async def furnish(stage: Stage) -> dict[str, str]:
    """Fill the queue as it is after a working day; the paths of all pages."""
    engine = stage.engine
    await engine.backend.record_activity(a_day())
    stage.live._activities_at = -float("inf")
    for number in range(30):
        await engine.enqueue("resize_image", {"order": 4000 + number, "width": 640}, priority=3 + number % 4)
    for number in range(4):
        await engine.enqueue("send_newsletter", {"issue": 12, "part": number}, delay=3600 * (number + 1))
    await engine.pause(type="send_newsletter", by="Ada")
    for number in range(9):
        gone = await engine.enqueue("send_email", {"to": f"gone{number}@example.com", "password": "hunter2"})
    for number in range(4):
        await engine.enqueue("send_email", {"to": f"customer {number}"})
    for number in range(40):
        await engine.enqueue("send_email", {"to": f"reader{number}@example.com"})
    poison = await engine.enqueue("send_email", {"to": "ada(at)example.com", "password": "hunter2"})
    running = await engine.enqueue("import_orders", {"pages": 4})
    await stage.status(poison.id, "dead")
    await stage.status(running.id, "processing")
    await stage.counted("pending", 34)
    await stage.counted("dead", 14)
    return {
        "overview": "/",
        "jobs": "/jobs",
        "job": f"/jobs/{poison.id}",
        "running": f"/jobs/{running.id}",
        "edit": f"/jobs/{poison.id}/edit",
        "bulk": "/jobs/bulk?status=dead&act=requeue",
        "dead": "/dead",
        "group": f"/dead/{gone.id}",
        "schedules": "/schedules",
        "workers": "/workers",
        "audit": "/audit",
    }


def a_day() -> list[Activity]:
    """What workers would have done in a day, busy by day and quiet by night."""
    dice, now = random.Random(7), time.time()
    rows = []
    for step, slots in ((60, 58), (900, 94)):
        for ago in range(slots):
            start = (int(now // step) - ago) * step
            busy = 1.2 + math.sin(start / 86400 * 2 * math.pi)
            runs = int(min(step, now - start) * busy * dice.uniform(1.5, 2.5))
            failed = int(runs * dice.choice((0.002, 0.01, 0.01, 0.02, 0.06)))
            waits = [0] * (len(WAIT_BOUNDS) + 1)
            slow = dice.uniform(0.05, 0.6)
            for place, share in ((2, 0.9 - slow), (3, slow), (4, 0.07), (6, 0.02), (dice.choice((5, 6, 6, 7, 8)), 0.01)):
                waits[place] += int(runs * share)
            rows.append(Activity(step, start, "yesterday", "mail", completed=runs - failed, failed=failed, waits=waits))
    return rows
