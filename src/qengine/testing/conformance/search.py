"""Searching: every job that is meant is found once, newest first, in calls of which each has a bound."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest

from qengine.backends.inspection import JobFilter, Page
from qengine.backends.protocol import QueueBackend
from qengine.job import Job, NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import (
    HOSTILE,
    WORKER,
    Suite,
    buried,
    crash,
    done,
    failed,
    put,
    row,
    rows,
    start,
    start_one,
)


async def all_pages(
    backend: QueueBackend, *, limit: int = 50, window: int = 20_000, after: int | None = None, **which: Any
) -> list[Page]:
    """The pages of a search until all has been looked through."""
    chosen = JobFilter(**which)
    pages = [await backend.search(chosen, limit=limit, window=window, after=after)]
    while pages[-1].after is not None:
        pages.append(await backend.search(chosen, limit=limit, window=window, after=pages[-1].after))
        assert len(pages) <= 1_000, "the search comes to no end"
    return pages


async def found(backend: QueueBackend, **how: Any) -> list[Job[Any]]:
    """All that a search finds."""
    return list(itertools.chain.from_iterable(page.jobs for page in await all_pages(backend, **how)))


class TestSearch(Suite):
    """`search`."""

    async def test_nothing_to_find(self, backend: QueueBackend) -> None:
        """In an empty table, past its end, and where no job meets the conditions: an empty page, and no more of them."""
        assert await backend.search(JobFilter(), limit=50) == Page([], None)
        ids = await put(backend, *[NewJob("a") for _ in range(3)])
        assert list((await backend.search(JobFilter(), limit=50, after=ids[0])).jobs) == []
        assert await found(backend, type="b") == []
        assert await found(backend, status=[]) == []

    async def test_whole_rows(self, backend: QueueBackend, other: QueueBackend) -> None:
        """The jobs are as `get` gives them, the newest first."""
        claims = await start(backend, *[NewJob("a", f'{{"n": {n}}}', priority=n + 1) for n in range(4)])
        await backend.settle([done(claims[0], result="[1]"), failed(claims[1]), buried(claims[2])], WORKER)
        assert list((await other.search(JobFilter(), limit=50)).jobs) == (await rows(backend))[::-1]

    @pytest.mark.parametrize("window", [1, 3, 7, 1_000])
    @pytest.mark.parametrize("limit", [1, 2, 100])
    async def test_pages_meet(self, backend: QueueBackend, window: int, limit: int) -> None:
        """Whatever the window and the limit: each job that is meant once, in order, no page longer than was asked for."""
        ids = await put(backend, *[NewJob("ab"[n % 3 == 0]) for n in range(20)])
        await backend.delete(JobFilter(ids=ids[4:9]), 100)
        meant = [job.id for job in await rows(backend, JobFilter(type="b"))][::-1]
        pages = await all_pages(backend, type="b", window=window, limit=limit)
        assert [job.id for page in pages for job in page.jobs] == meant
        assert max(len(page.jobs) for page in pages) <= limit
        ends = [page.after for page in pages if page.after is not None]
        assert ends == sorted(set(ends), reverse=True)
        # Each page either is full or has looked through a window.
        assert len(pages) <= len(meant) // limit + 20 // window + 2

    @pytest.mark.parametrize("status", list(Status))
    async def test_each_status(self, backend: QueueBackend, clock: FakeClock, status: Status) -> None:
        """Many or few, whatever indexes help: the jobs in a status, in line or not, suspects too."""
        for n in range(3):
            [suspect] = await put(backend, NewJob(f"s{n}"))
            await crash(backend, clock, suspect, times=2, type=f"s{n}")
        for _ in range(3):
            claims = await start(backend, *[NewJob("a") for _ in range(5)])
            await backend.settle([done(claims[0]), buried(claims[1]), failed(claims[2]), failed(claims[3])], WORKER)
            ids = await put(backend, NewJob("b"), NewJob("b", delay=1e6), NewJob("b"))
            await backend.cancel(JobFilter(ids=ids[:1]), 1)
        meant = [job for job in await rows(backend) if job.status is status][::-1]
        assert len(meant) >= 3
        for window in (2, 1_000):
            for limit in (1, 100):
                assert await found(backend, status=[status], window=window, limit=limit) == meant

    async def test_several_statuses(self, backend: QueueBackend) -> None:
        """Those in any of them."""
        claims = await start(backend, *[NewJob("a") for _ in range(6)])
        await backend.settle([done(claims[0]), buried(claims[1]), failed(claims[2]), buried(claims[3])], WORKER)
        expected = [claims[n].id for n in (5, 4, 3, 1)]
        assert [job.id for job in await found(backend, status=[Status.DEAD, Status.PROCESSING], limit=3)] == expected

    async def test_all_conditions_hold(self, backend: QueueBackend, clock: FakeClock) -> None:
        """A job is found when it meets every condition."""
        began, ids = clock.now(), []
        for n in range(16):
            claim = await start_one(backend, NewJob("ab"[n % 2], f'{{"n": "x{n}x"}}', queue="xy"[n // 2 % 2]))
            group = "g1" if n < 8 else "g2"
            await backend.settle([buried(claim, error_group=group) if n % 3 else failed(claim, error_group=group)], WORKER)
            clock.advance(10)
            ids.append(claim.id)

        async def numbers(**conditions: Any) -> list[int]:
            return [ids.index(job.id) for job in await found(backend, **conditions)]

        def at(seconds: float) -> dt.datetime:
            return began + dt.timedelta(seconds=seconds)

        assert await numbers(type="b", queue="y", error_group="g1") == [7, 3]
        assert await numbers(status=[Status.FAILED], error_group="g2") == [15, 12, 9]
        assert await numbers(created_after=at(25), created_before=at(65)) == [6, 5, 4, 3]
        assert await numbers(created_after=at(20), created_before=at(60)) == [5, 4, 3]
        assert await numbers(text="x1", type="b", status=[Status.DEAD]) == [13, 11, 1]
        assert await numbers(text="x1", type="b", status=[Status.DEAD], after=ids[13]) == [11, 1]
        for statuses in (None, [Status.DEAD, Status.FAILED], [Status.DEAD, Status.COMPLETED]):
            dead_only = statuses is not None and Status.COMPLETED in statuses
            assert await numbers(status=statuses, ids=[ids[9], ids[4], ids[2]]) == ([4, 2] if dead_only else [9, 4, 2])
            assert await numbers(status=statuses, above=ids[12]) == ([14, 13] if dead_only else [15, 14, 13])
            assert await numbers(status=statuses, ended_before=at(45)) == [4, 2, 1]


class TestText(Suite):
    """Text as a condition, in `search` and in every verb that takes a `JobFilter`."""

    async def test_where_it_is_looked_for(self, backend: QueueBackend) -> None:
        """In the payload and in the last error, and nowhere else."""
        claims = await start(backend, NewJob("needle", '{"k": "a needle here"}'), NewJob("a"), NewJob("needle", queue="needle"))
        await backend.settle([failed(claims[1], error="no NEEDLE there"), done(claims[2], result='"needle"')], WORKER)
        expected = [claims[1].id, claims[0].id]
        assert [job.id for job in await found(backend, text="needle")] == expected
        assert [job.id for job in await found(backend, text="NeeDle")] == expected
        assert [job.id for job in await found(backend, text="needles")] == []
        assert [job.id for job in await rows(backend, JobFilter(text="nEEdle"))] == expected[::-1]

    async def test_it_is_meant_as_it_stands(self, backend: QueueBackend) -> None:
        """What other languages take for wildcards, quotes and escapes are letters like any other."""
        texts = [text for text in HOSTILE if text.strip() and '"' not in text and "\\" not in text and text.isprintable()]
        ids = await put(backend, *[NewJob("a", f'{{"text": "<{text}>"}}') for text in texts])
        for text, job_id in zip(texts, ids, strict=True):
            assert [job.id for job in await found(backend, text=f"<{text}>")] == [job_id], text
        assert await found(backend, text="%_%") == []
        assert await found(backend, text=".*") == []

    async def test_whoever_takes_a_filter(self, backend: QueueBackend) -> None:
        """`requeue`, `cancel` and `delete` touch those with the text alone."""
        one, two = await start(backend, NewJob("a", '{"to": "Anna"}'), NewJob("a", '{"to": "Bert"}'))
        await backend.settle([buried(one), buried(two)], WORKER)
        assert await backend.requeue(JobFilter(text="anna"), 10) == [one.id]
        assert await backend.cancel(JobFilter(text="ANNA"), 10) == [one.id]
        assert await backend.delete(JobFilter(text="bert"), 10) == [two.id]
        assert (await row(backend, one.id)).status is Status.CANCELLED
