"""How the overview stays up to date, whatever happens to the stream, the server or the database."""

from __future__ import annotations

import re
import time

from playwright.async_api import expect
from stage import Stage, Visitor

from qengine import BackendUnavailable
from qengine.backends.inspection import WAIT_BOUNDS, Activity


async def test_a_stream_that_ends_is_begun_anew(stage: Stage, visitor: Visitor) -> None:
    await visitor.watch()
    await stage.live.close()
    await stage.engine.enqueue("nobody", {})
    await expect(visitor.page.locator("tr[data-key=nobody]")).to_be_visible()
    await visitor.is_live()


async def test_the_database_goes_away_and_comes_back(stage: Stage, visitor: Visitor) -> None:
    page, engine = visitor.page, stage.engine
    await visitor.watch()
    await engine.enqueue("nobody", {})
    await expect(page.locator("tr[data-key=nobody]")).to_be_visible()

    async def away() -> dict[str, object]:
        raise BackendUnavailable("connection refused")

    engine.oldest_due = away  # type: ignore[method-assign, assignment]
    try:
        await expect(page.locator("#live")).to_have_text("database away")
        notice = page.locator("[data-section=notices] .problem")
        await expect(notice).to_contain_text("connection refused")
        await expect(page.locator("tr[data-key=nobody]")).to_be_visible()
        await visitor.go("/")
        await expect(notice).to_contain_text("connection refused")
    finally:
        del engine.oldest_due  # type: ignore[method-assign]
    await visitor.is_live()
    await expect(notice).to_have_count(0)


async def test_who_does_not_look_is_told_nothing(stage: Stage, visitor: Visitor) -> None:
    page = visitor.page

    async def look(hidden: bool) -> None:
        await page.evaluate(
            """hidden => {
                Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    async def watchers(number: int) -> None:
        async def look() -> bool:
            return stage.live.watchers == number and stage.live.reading == bool(number)

        await stage.until(look)

    await visitor.watch()
    await watchers(1)
    async with stage.visitor() as another:
        await another.watch()
        await watchers(2)
    await watchers(1)
    await look(hidden=True)
    await watchers(0)
    await look(hidden=False)
    await watchers(1)
    await visitor.is_live()
    await visitor.follow("Jobs", "nav")
    await watchers(0)


async def test_what_one_is_at_is_left_alone(stage: Stage, visitor: Visitor) -> None:
    """A button that has the focus keeps it, and means the same type, while rows come and go around it."""
    page, engine = visitor.page, stage.engine
    await engine.enqueue("m", {})
    await visitor.watch()
    row = page.locator("tr[data-key=m]")
    await row.get_by_role("button").focus()
    button = await row.get_by_role("button").element_handle()
    assert button is not None
    await engine.enqueue("a", {})
    await engine.enqueue("z", {})
    await expect(page.locator("[data-section=types] tbody tr")).to_have_count(3)
    await engine.delete(type="a")
    await expect(page.locator("[data-section=types] tbody tr")).to_have_count(2)
    assert await page.locator("[data-section=types] tbody tr").evaluate_all("rows => rows.map(row => row.dataset.key)") == [
        "m",
        "z",
    ]
    assert await button.evaluate("button => button.isConnected && button === document.activeElement")
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    [pause] = await engine.pauses()
    assert pause.name == "m"


async def test_charts_are_drawn_and_told(stage: Stage, visitor: Visitor) -> None:
    page = visitor.page
    slots = [(step, int(time.time() // step) * step - 10 * step) for step in (60, 900)]
    waits = [0] * (len(WAIT_BOUNDS) + 1)
    waits[4] = 4_000_000

    async def record(many: int) -> None:
        # So many that what others did at the time does not tell.
        rows = [
            Activity(step, start, "charts", "mail", completed=3 * many, failed=many // 2, dead=many - many // 2, waits=waits)
            for step, start in slots
        ]
        await stage.engine.backend.record_activity(rows)
        stage.live._activities_at = -float("inf")

    await record(1_000_000)
    await visitor.go("/")
    chart = page.locator("figure[data-range=hour][data-chart=throughput]")
    await expect(chart.locator(".readout")).to_contain_text(re.compile(r"3,\d{3},\d{3} completed, 1,\d{3},\d{3} failed"))
    await expect(page.locator("figure canvas")).to_have_count(6)
    for name in ("throughput", "failures", "latency"):
        figure = page.locator(f"figure[data-range=day][data-chart={name}]")
        await expect(figure.get_by_role("img")).to_have_attribute("aria-label", re.compile("last day: "))
        painted = await figure.locator("canvas").evaluate(
            "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(value => value > 0)"
        )
        assert painted, name
    table = page.locator("[data-section=hour]")
    await expect(table).to_be_hidden()
    await page.get_by_text("Last hour as a table").click()
    row = table.locator("tbody tr", has_text=re.compile(r"3,\d{3},\d{3}"))
    await expect(row).to_contain_text("25.0 %")
    # The pointer reads a chart slot by slot.
    await chart.locator(".u-over").hover(position={"x": 5, "y": 20})
    await expect(chart.locator(".readout")).to_contain_text("UTC: ")
    await record(0)
