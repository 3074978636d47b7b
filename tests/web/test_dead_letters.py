"""Dead letters: the groups, and one group with its jobs."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest
from queue_on_show import dead_mails
from visitor import Page, Visitor

from qengine import Engine, Status
from qengine.engine.counts import Counts
from qengine.web import dead as module
from qengine.web.trends import Trends, trend

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, these tables are small."""
    monkeypatch.setattr(module, "QUICK", 2.0)
    monkeypatch.setattr(module, "FIRST_COUNT", 20.0)
    monkeypatch.setattr("qengine.web.trends.TRENDS", 20.0)
    monkeypatch.setattr("qengine.web.trends.SHARE", 0.0)


async def failing(queue: Engine) -> None:
    await dead_mails(queue, "1", "2", "3")
    await queue.enqueue("flaky", {"n": 1})
    await queue.enqueue("flaky", {"n": 2})
    await queue.drain()


def row(page: Page, error: str) -> str:
    """The text from a group's link on."""
    return page.text.partition(error)[2]


async def test_failures_are_grouped_with_their_numbers(queue: Engine, visitor: Visitor) -> None:
    assert "Nothing fails, and no job is dead." in (await visitor.visit("/dead")).text
    await failing(queue)
    page = await visitor.visit("/dead")
    assert row(page, "ValueError: no such user: * ").startswith("3 0 now now")
    assert row(page, "ConnectionError: * busy ").startswith("0 2 now now")
    assert "3 deaths in 14 days" in page.text
    trends = [given for tag, given in page.tags if tag == "svg" and given.get("role") == "img"]
    assert [given["aria-label"] for given in trends] == ["3 deaths in the last 14 days"] * 2  # of all, and of the group
    page = await visitor.follow(page, "ValueError: no such user: *")
    assert page.text.count("no such user: ") >= 4
    assert "Requeue 3 jobs" in page.forms[-1].buttons
    assert [label for label in page.links if label.isdigit()] == ["3", "2", "1"]


async def test_no_error_stands_in_an_address(queue: Engine, visitor: Visitor) -> None:
    await failing(queue)
    page = await visitor.visit("/dead")
    group = await visitor.follow(page, "ValueError: no such user: *")
    for address in [*page.links.values(), *group.links.values(), *(form.action for form in group.forms)]:
        assert "user" not in address


async def test_a_group_is_requeued_at_once(queue: Engine, visitor: Visitor) -> None:
    await failing(queue)
    group = await visitor.follow(await visitor.visit("/dead"), "ValueError: no such user: *")
    page = await visitor.press(group, "Requeue 3 jobs")
    assert "3 jobs requeued." in page.text
    assert page.response.url.path == "/dead"
    assert {job.status for job in await queue.jobs(type="mail")} == {Status.PENDING}
    assert len(await queue.jobs(status="failed")) == 2  # those that are tried again anyway
    assert "no job fails like this any more" in (await visitor.visit(group.response.url.path)).text


async def test_a_group_is_requeued_at_a_rate(queue: Engine, visitor: Visitor) -> None:
    await failing(queue)
    group = await visitor.follow(await visitor.visit("/dead"), "ValueError: no such user: *")
    await visitor.press(group, "Requeue 3 jobs", pace="rate", rate="30")
    times = sorted(job.scheduled_for for job in await queue.jobs(type="mail") if job.scheduled_for)
    assert [round((time - times[0]).total_seconds()) for time in times] == [0, 2, 4]
    assert "a minute" in (await visitor.press(group, "Requeue 3 jobs", 400, pace="rate", rate="no")).text


async def test_a_group_is_deleted_after_asking(queue: Engine, visitor: Visitor) -> None:
    await failing(queue)
    group = await visitor.follow(await visitor.visit("/dead"), "ValueError: no such user: *")
    asked = await visitor.follow(group, "Delete…")
    assert "Delete 3 jobs?" in asked.text
    sample = dict(asked.form("Delete them").fields)["like"]
    page = await visitor.press(asked, "Delete them")
    assert "3 jobs deleted." in page.text
    assert page.response.url.path == "/dead"
    assert await queue.jobs(type="mail") == []
    assert int(sample) in (1, 2, 3)


async def test_the_jobs_of_a_group_have_pages(queue: Engine, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ON_A_PAGE", 2)
    await failing(queue)
    first = await visitor.follow(await visitor.visit("/dead"), "ValueError: no such user: *")
    second = await visitor.follow(first, "Older")
    assert [label for label in second.links if label.isdigit()] == ["1"]
    await visitor.follow(second, "Newest")


async def test_a_job_that_never_ran_has_a_group(queue: Engine, visitor: Visitor) -> None:
    await queue.enqueue("mail", {"to": "a@example.com"}, expires=0.001)
    async with asyncio.timeout(20):
        while not await queue.jobs(status="dead"):
            await queue.drain()
    page = await visitor.visit("/dead")
    [link] = [label for label in page.links if label.startswith("expired")]
    group = await visitor.follow(page, link)
    assert "Requeue 1 job" in group.forms[-1].buttons


# -- a large table


async def test_where_counting_takes_long_the_last_count_is_shown(
    queue: Engine, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await failing(queue)
    groups = await queue.failures()
    at = await queue.backend.now() - dt.timedelta(minutes=3)
    monkeypatch.setattr(queue, "counts", lambda: Counts(None, groups, at, 2.5))

    async def slow(*_: Any) -> Any:
        raise AssertionError("a page counts no large table")

    monkeypatch.setattr(queue, "failures", slow)
    page = await visitor.visit("/dead")
    assert "counted 3 min ago" in page.text
    assert "no such user" in page.text


async def test_before_the_first_count_the_page_says_so_and_looks_again(
    queue: Engine, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    [dead] = await dead_mails(queue, "1")
    monkeypatch.setattr(module, "FIRST_COUNT", 0.03)
    monkeypatch.setattr(queue, "counts", Counts)
    page = await visitor.visit("/dead")
    assert "Counting…" in page.text
    assert ("meta", {"http-equiv": "refresh", "content": "2"}) in page.tags
    page = await visitor.visit(f"/dead/{dead.id}")
    assert "not counted yet" in page.text
    assert "Requeue them" in page.forms[-1].buttons


async def test_the_largest_groups_alone_are_shown(queue: Engine, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUPS", 1)
    await failing(queue)
    page = await visitor.visit("/dead")
    assert "These are the 1 largest groups." in page.text
    assert "busy" not in page.text


async def test_trends_are_remembered_and_take_a_bounded_time(queue: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    await failing(queue)
    now, groups = await queue.backend.now(), [group for group in await queue.failures() if group.dead]
    monkeypatch.setattr("qengine.web.trends.SHARE", 1e9)
    trends = Trends(queue)
    assert await trends.of(groups, now, seconds=0.0) == {}
    found = await trends.of(groups, now)
    assert list(found.values()) == [[0] * 13 + [3]]
    assert await trends.one(now) == [0] * 13 + [3]
    asked = 0

    async def dead_by_day(*_: Any) -> Any:
        nonlocal asked
        asked += 1
        return []

    monkeypatch.setattr(queue, "dead_by_day", dead_by_day)
    assert await trends.of(groups, now, seconds=0.0) == found
    assert await trends.one(now) == [0] * 13 + [3]
    assert asked == 0
    monkeypatch.setattr("qengine.web.trends.SHARE", 0.0)
    quick = Trends(queue)
    assert list((await quick.of(groups, now)).values()) == [[0] * 14]
    await quick.of(groups, now)
    assert asked == 2


async def test_a_trend_has_every_day(queue: Engine) -> None:
    await failing(queue)
    now = await queue.backend.now()
    assert await trend(queue, now, 3) == [0, 0, 3]
    assert await trend(queue, now + dt.timedelta(days=1), 3) == [0, 3, 0]
    assert await trend(queue, now, 2, "flaky") == [0, 0]
