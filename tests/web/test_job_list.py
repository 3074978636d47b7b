"""The list of jobs: its filter, its pages, and acting on all that meet the filter."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from queue_on_show import dead_mails
from starlette.datastructures import ImmutableMultiDict
from visitor import Page, Visitor

from qengine import BackendUnavailable, ConfigurationError, Engine, Status
from qengine.backends.inspection import JobFilter
from qengine.web import jobs as module
from qengine.web.filters import LARGEST_ID, Filter
from qengine.web.jobs import Number, count

pytestmark = pytest.mark.anyio


def listed(page: Page) -> list[int]:
    """The ids of the jobs on a page, in its order."""
    return [int(label) for label, path in page.links.items() if path.startswith("/jobs/") and label.isdigit()]


async def test_jobs_are_found_by_what_they_are(queue: Engine, visitor: Visitor) -> None:
    dead = [job.id for job in await dead_mails(queue, "nobody", "noone")]
    done = (await dead_mails(queue, "ada@example.com", password="hunter2"))[0].id
    late = (await queue.enqueue("mail", {"to": "Late%Riser@example.com"}, delay=3600, queue="slow")).id
    other = (await queue.enqueue("unknown.sync", {"n": 1})).id
    newest_first = sorted([*dead, done, late, other], reverse=True)
    for query, found in (
        ("", newest_first),
        ("status=dead", dead[::-1]),
        ("status=dead&status=completed&status=", [done, *dead[::-1]]),
        ("type=unknown.sync", [other]),
        ("queue=slow", [late]),
        ("text=LATE%25riser", [late]),
        ("text=no+such+user:+noone", [dead[1]]),
        ("text=%25", [late]),
        ("within=900", newest_first),
        ("since=2001-01-01T00:00&until=2001-01-02T00:00:00.5", []),
        ("since=2001-01-01T01:00%2B01:00", newest_first),
        (f"status=dead&type=mail&queue=default&text=user&within=86400&after={dead[1]}", [dead[0]]),
    ):
        page = await visitor.visit(f"/jobs?{query}")
        assert listed(page) == found, query
        if not found:
            assert "No job meets this filter." in page.text
        assert "hunter2" not in page.html
    assert "No job yet." not in page.text


async def test_jobs_that_fail_alike_are_found_by_one_of_them(queue: Engine, visitor: Visitor) -> None:
    dead = [job.id for job in await dead_mails(queue, "1", "2")]
    await queue.enqueue("flaky", {"n": 1})
    await queue.drain()
    page = await visitor.visit(f"/jobs?like={dead[0]}&status=dead")
    assert sorted(listed(page)) == dead
    assert "no such user" not in str(page.response.url)
    assert dict(page.form("Filter").fields)["like"] == str(dead[0])


async def test_an_empty_queue_says_so(visitor: Visitor) -> None:
    assert "No job yet." in (await visitor.visit("/jobs")).text


async def test_pages_follow_each_other(queue: Engine, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ON_A_PAGE", 2)
    ids = [(await queue.enqueue("mail", {"to": "a@example.com"})).id for _ in range(5)]
    first = await visitor.visit("/jobs?type=mail")
    second = await visitor.follow(first, "Older")
    third = await visitor.follow(second, "Older")
    assert [listed(page) for page in (first, second, third)] == [ids[:2:-1], ids[2:0:-1], ids[:1]]
    assert "That is all there is." in third.text
    assert "Older" not in third.links
    assert listed(await visitor.follow(third, "Newest")) == listed(first)


async def test_a_search_that_found_too_little_in_its_time_goes_on(
    queue: Engine, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    needle = (await queue.enqueue("mail", {"to": "needle@example.com"})).id
    hay = [(await queue.enqueue("mail", {"to": "hay@example.com"})).id for _ in range(6)]
    search = queue.backend.search

    async def short_sighted(which: JobFilter, **given: Any) -> Any:
        return await search(which, **given | {"window": 3})

    monkeypatch.setattr(queue.backend, "search", short_sighted)
    monkeypatch.setattr("qengine.engine.looking.SEARCH_TIME", 0.0)
    page = await visitor.visit("/jobs?text=needle")
    assert listed(page) == []
    assert f"Looked down to job {hay[-3]} and found none yet; there may be more below." in page.text
    for _ in range(4):
        if listed(page):
            break
        page = await visitor.follow(page, "Look further")
    assert listed(page) == [needle]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("status=odd", "statuses are"),
        ("within=0", "whole number"),
        ("after=-1", "whole number"),
        (f"after={LARGEST_ID + 1}", "whole number"),
        ("like=x", "whole number"),
        ("since=soon", "2030-01-31T08:00"),
        ("until=9999-12-31T23:59-10:00", "2030-01-31T08:00"),
        ("text=%00", "without NUL"),
    ],
)
async def test_a_filter_that_means_nothing_is_refused(visitor: Visitor, query: str, said: str) -> None:
    assert said in (await visitor.visit(f"/jobs?{query}", 400)).text


async def test_a_filter_by_a_job_that_is_gone_is_not_found(visitor: Visitor) -> None:
    await visitor.visit("/jobs?like=12345", 404)


def test_a_filter_survives_its_address() -> None:
    noon = dt.datetime(2030, 1, 31, 12, 0, tzinfo=dt.UTC)
    for chosen in (
        Filter(),
        Filter((Status.DEAD, Status.FAILED), "a&b", "q", " text ", 900, noon, noon + dt.timedelta(seconds=1.5), 7),
        Filter(since=noon.astimezone(dt.timezone(dt.timedelta(hours=2)))),
    ):
        query = chosen.query()
        pairs = [(name, one) for name, value in query.items() for one in (value if isinstance(value, list) else [str(value)])]
        assert Filter.of(ImmutableMultiDict(pairs)) == chosen
    assert Filter().query() == {}
    assert Filter(since=noon).query() == {"since": "2030-01-31T12:00"}  # as browsers take it


# -- all that meet a filter


async def test_all_jobs_of_a_filter_are_requeued_after_asking(queue: Engine, visitor: Visitor) -> None:
    dead = await dead_mails(queue, "1", "2", "3")
    [done] = await dead_mails(queue, "ada@example.com")
    asked = await visitor.follow(await visitor.visit("/jobs?type=mail"), "Requeue…")
    assert "Requeue 3 jobs?" in asked.text  # without a status: the dead ones
    await dead_mails(queue, "4")  # since it was asked
    page = await visitor.press(asked, "Requeue them")
    assert "3 jobs requeued." in page.text
    assert str(page.response.url).endswith("/jobs?type=mail")
    assert [(await queue.job(job.id)).status for job in (*dead, done)] == [Status.PENDING] * 3 + [Status.COMPLETED]
    [entry] = await queue.audit_trail()
    assert (entry.actor, entry.action, entry.jobs) == ("Ada", "requeue", 3)
    assert "requeued" not in (await visitor.visit("/jobs")).text  # it is said once


async def test_jobs_are_requeued_at_a_rate(queue: Engine, visitor: Visitor) -> None:
    dead = await dead_mails(queue, "1", "2", "3")
    asked = await visitor.visit("/jobs/bulk?act=requeue&status=dead")
    await visitor.press(asked, "Requeue them", pace="rate", rate="6")
    due = [(await queue.job(job.id)).scheduled_for for job in dead]
    assert [round((time - due[0]).total_seconds()) for time in due if time and due[0]] == [0, 10, 20]
    assert (await queue.audit_trail())[0].detail["rate"] == 0.1


@pytest.mark.parametrize("rate", ["0", "-1", "fast", "nan", "inf"])
async def test_a_rate_that_is_none_is_refused(queue: Engine, visitor: Visitor, rate: str) -> None:
    await dead_mails(queue, "1")
    asked = await visitor.visit("/jobs/bulk?act=requeue&status=dead")
    assert "jobs a minute" in (await visitor.press(asked, "Requeue them", 400, pace="rate", rate=rate)).text
    assert len(await queue.jobs(status="dead")) == 1


async def test_all_jobs_of_a_filter_are_cancelled_or_deleted(queue: Engine, visitor: Visitor) -> None:
    await dead_mails(queue, "1")
    for _ in range(3):
        await queue.enqueue("mail", {"to": "a@example.com"}, delay=60)
    page = await visitor.visit("/jobs?within=3600&text=example")
    asked = await visitor.follow(page, "Cancel…")
    assert "Cancel 3 jobs?" in asked.text
    page = await visitor.press(asked, "Cancel them")
    assert "3 jobs cancelled." in page.text
    assert str(page.response.url).endswith("/jobs?text=example&within=3600")
    asked = await visitor.follow(await visitor.visit("/jobs?status=cancelled"), "Delete…")
    await visitor.press(asked, "Delete them")
    assert [job.status for job in await queue.jobs()] == [Status.DEAD]
    assert {entry.actor for entry in await queue.audit_trail()} == {"Ada"}


async def test_only_what_can_be_done_is_offered(visitor: Visitor) -> None:
    offered = {
        status: [
            act for act in ("Requeue…", "Cancel…", "Delete…") if act in (await visitor.visit(f"/jobs?status={status}")).links
        ]
        for status in ("pending", "dead", "completed")
    }
    assert offered == {
        "pending": ["Cancel…", "Delete…"],
        "dead": ["Requeue…", "Delete…"],
        "completed": ["Requeue…", "Delete…"],
    }
    assert "can be cancelled" in (await visitor.visit("/jobs/bulk?act=cancel&status=dead", 400)).text
    assert "every job" in (await visitor.visit("/jobs/bulk?act=delete", 400)).text
    assert "one of" in (await visitor.visit("/jobs/bulk?act=explode", 400)).text
    assert "nothing to do" in (await visitor.visit("/jobs/bulk?act=delete&status=dead")).text


async def test_a_large_number_is_not_counted_to_its_end(queue: Engine, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(7):
        await queue.enqueue("mail", {"to": "a@example.com"}, queue="q")
    await counted(queue, 7)
    monkeypatch.setattr(module, "AT_ONCE", 2)
    everything = {"status": (Status.PENDING,)}
    assert await count(queue, everything) == Number(7, False)
    monkeypatch.setattr(module, "COUNTED", 5)
    assert await count(queue, everything) == Number(5, True)
    monkeypatch.setattr(module, "COUNTING", 0.0)
    assert await count(queue, everything) == Number(2, True)
    for query, known in (
        ("type=mail", True),
        ("queue=q&status=pending", True),
        ("", True),
        ("type=mail&queue=q", False),
        ("text=a@", False),
        ("until=2999-01-01T00:00", False),
    ):
        page = await visitor.visit(f"/jobs/bulk?act=cancel&{query}")
        assert ("about 7 by the last count" in page.text) == known, query
    page = await visitor.visit("/jobs/bulk?act=cancel&type=mail")
    assert "Cancel at least 2 jobs?" in page.text
    assert "about 7 by the last count" in page.text
    monkeypatch.setattr(module, "count", lambda *_: _ready(Number(10_000, True)))
    page = await visitor.visit("/jobs/bulk?act=cancel&type=mail")
    assert "Cancel more than 10,000 jobs?" in page.text
    assert "not counted further" in page.text


async def _ready(value: Any) -> Any:
    return value


async def counted(queue: Engine, number: int) -> None:
    """Wait until the count in the background says that there are so many jobs."""
    async with asyncio.timeout(20):
        while (stats := queue.counts(max_age=0.0).stats) is None or sum(stats.by_status.values()) != number:
            await asyncio.sleep(0.01)


# -- long actions


class Gated:
    """`engine.cancel` in two batches, the second of which waits."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def cancel(self, *, progress: Callable[[int], None], **_: Any) -> int:
        progress(1000)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        progress(1500)
        return 1500


@pytest.fixture
def gated(queue: Engine, monkeypatch: pytest.MonkeyPatch) -> Gated:
    gate = Gated()
    monkeypatch.setattr(queue, "cancel", gate.cancel)
    monkeypatch.setattr(module, "WAITED", 0.0)
    return gate


async def begun(queue: Engine, visitor: Visitor) -> Page:
    await queue.enqueue("mail", {"to": "a@example.com"})
    return await visitor.press(await visitor.visit("/jobs/bulk?act=cancel&type=mail"), "Cancel them")


async def ended(visitor: Visitor, page: Page) -> Page:
    async with asyncio.timeout(20):
        while "At work" in page.text:
            await asyncio.sleep(0.01)
            page = await visitor.visit(str(page.response.url))
    return page


async def test_a_long_action_is_watched_until_it_is_done(queue: Engine, visitor: Visitor, gated: Gated) -> None:
    page = await begun(queue, visitor)
    assert "At work: cancel" in page.text
    page = await visitor.visit(str(page.response.url))
    assert "1,000 jobs cancelled" in page.text
    assert ("meta", {"http-equiv": "refresh", "content": "2"}) in page.tags
    gated.go.set()
    page = await ended(visitor, page)
    assert "Done: cancel" in page.text
    assert "1,500 jobs cancelled" in page.text
    assert page.links["Back"] == "/jobs?type=mail"


async def test_a_long_action_is_stopped_between_two_batches(queue: Engine, visitor: Visitor, gated: Gated) -> None:
    page = await visitor.press(await begun(queue, visitor), "Stop")
    assert "stops after the batch" in page.text
    gated.go.set()
    assert "Stopped: cancel" in (await ended(visitor, page)).text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BackendUnavailable("the server went away"), "the server went away"),
        (ConfigurationError("no"), "no"),
        (RuntimeError("secret detail"), "RuntimeError; the log"),
    ],
)
async def test_a_long_action_that_fails_says_why(
    queue: Engine, visitor: Visitor, gated: Gated, error: Exception, said: str
) -> None:
    gated.error = error
    gated.go.set()
    page = await ended(visitor, await begun(queue, visitor))
    assert "Failed: cancel" in page.text
    assert said in page.text
    assert "secret detail" not in page.text
