"""Reading: a job comes back as it is, texts of every kind survive, and the counts are right."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter

import pytest

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import LIVE_WITHIN, FailureGroup, QueueBackend
from qengine.job import NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import (
    HOSTILE,
    WORKER,
    Suite,
    buried,
    demand,
    done,
    failed,
    put,
    row,
    rows,
    start,
    start_one,
)
from qengine.testing.conformance.workers import plain, worker

SECOND = dt.timedelta(seconds=1)
NONE = dict.fromkeys((status.value for status in Status), 0)


class TestGetAndQuery(Suite):
    """`get` and `query`."""

    async def test_no_such_job(self, backend: QueueBackend) -> None:
        """None, for any number."""
        [job_id] = await put(backend)
        for unknown in (job_id + 1, 0, -1, 2**62):
            assert await backend.get(unknown) is None
            assert await backend.errors(unknown) == []

    async def test_pages(self, backend: QueueBackend) -> None:
        """In the order of the ids or against it, beginning past an id, up to the limit."""
        ids = await put(backend, *[NewJob("ab"[n % 2]) for n in range(10)])
        which = JobFilter(type="a")
        mine = ids[::2]

        async def page(**how: object) -> list[int]:
            return [job.id for job in await backend.query(which, **how)]  # type: ignore[arg-type]

        assert await page(limit=2) == mine[:2]
        assert await page(limit=2, after=mine[1]) == mine[2:4]
        assert await page(limit=9, after=mine[1] + 1) == mine[2:]
        assert await page(limit=9, after=mine[-1]) == []
        assert await page(limit=2, newest_first=True) == mine[:2:-1]
        assert await page(limit=9, after=mine[3], newest_first=True) == mine[2::-1]
        assert await page(limit=9, after=mine[0], newest_first=True) == []
        assert await page(limit=0) == []

    async def test_query_and_get_agree(self, backend: QueueBackend) -> None:
        """The same whole rows either way, and by a second backend."""
        claims = await start(backend, *[NewJob("a", f"[{n}]", unique_key=f"k{n}") for n in range(4)])
        await backend.settle([done(claims[0], result="[1]"), failed(claims[1]), buried(claims[2])], WORKER)
        assert [await backend.get(claim.id) for claim in claims] == await rows(backend)

    async def test_the_other_backend_reads_what_was_written(self, backend: QueueBackend, other: QueueBackend) -> None:
        """What one backend has stored the other sees at once."""
        [job_id] = await put(backend)
        assert await other.get(job_id) == await backend.get(job_id)
        await other.cancel(JobFilter(ids=[job_id]), 1)
        assert (await row(backend, job_id)).status is Status.CANCELLED


class TestTexts(Suite):
    """Every text column takes any text as it is."""

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    async def test_a_hostile_text_survives(self, backend: QueueBackend, text: str) -> None:
        """In every column of a job and of its history, through its whole life, and as what is asked for."""
        value = json.dumps({"text": text, text: [text]}, ensure_ascii=False)
        request = NewJob(text, value, queue=text, unique_key=text, partition_key=text, headers=json.dumps({text: text}))
        [answer] = await backend.enqueue([request])
        assert [again.existed for again in await backend.enqueue([request])] == [True]
        [claim] = await backend.claim(demand(text, queues=[text], worker=text))
        assert (claim.type, claim.queue, claim.unique_key, claim.partition_key) == (text, text, text, text)
        assert (json.loads(claim.payload), json.loads(claim.headers or "")) == (json.loads(value), {text: text})
        assert await backend.save(claim.lease, progress=json.dumps({"message": text}), checkpoint=json.dumps(text))
        told = {"error": text, "error_group": text, "traceback": text, "dead_reason": None}
        assert await backend.settle([failed(claim, 0.0, **told)], text) == []
        job = await row(backend, answer.id)
        assert (job.type, job.queue, job.unique_key, job.partition_key, job.last_error, job.error_group) == (text,) * 6
        assert (job.payload, job.headers) == (json.loads(value), {text: text})
        assert (job.progress, job.checkpoint) == ({"message": text}, text)
        assert [(e.worker, e.error, e.traceback) for e in await backend.errors(job.id)] == [(text,) * 3]
        assert await rows(backend, JobFilter(type=text, queue=text, error_group=text)) == [job]
        [claim] = await backend.claim(demand(text, "another", each=5))
        assert await backend.settle([buried(claim, text, error_group=text)], text) == []
        assert (await row(backend, job.id)).dead_reason == text
        assert [(group.type, group.error) for group in await backend.failures(10)] == [(text, text)]
        stats = await backend.stats()
        assert (stats.by_type[text]["dead"], stats.by_queue[text]["dead"], stats.avg_attempts[text]) == (1, 1, 2)
        assert await backend.requeue(JobFilter(type=text), 1) == [job.id]
        assert (await backend.stats()).unhandled == {text: 1}
        [claim] = await backend.claim(demand(text))
        assert await backend.settle([done(claim, result=json.dumps(text, ensure_ascii=False))], text) == []
        assert (await row(backend, job.id)).result == text

    async def test_all_of_them_in_one_batch(self, backend: QueueBackend) -> None:
        """Side by side they do not mix."""
        ids = await put(backend, *[NewJob(text, json.dumps(text), queue=text, unique_key=text) for text in HOSTILE])
        assert [(job.id, job.type, job.payload, job.queue) for job in await rows(backend)] == [
            (job_id, text, text, text) for job_id, text in zip(ids, HOSTILE, strict=True)
        ]
        claims = await backend.claim(demand(*HOSTILE))
        assert [claim.id for claim in claims] == ids
        assert await backend.settle([done(claim, result=claim.payload) for claim in claims], WORKER) == []
        assert [job.result for job in await rows(backend)] == list(HOSTILE)

    async def test_of_a_worker(self, backend: QueueBackend) -> None:
        """A worker's id, host, version, types and queues too."""
        for text in HOSTILE:
            info = worker(id=text, host=text, version=text, types=[text, "a"], queues=[text])
            await backend.heartbeat(info)
        found = {info.id: plain(info) for info in await backend.workers(30.0)}
        assert set(found) == set(HOSTILE)
        assert all((info.host, info.version, info.types, info.queues) == (t, t, [t, "a"], [t]) for t, info in found.items())

    @pytest.mark.parametrize(
        "text",
        [
            "{}",
            "[]",
            "null",
            "0",
            '"x"',
            "1e-7",
            "12345678901234567890",
            '{"a": 0.1, "A": -0.0, "": {}}',
            '{"n": "\\u00e9\\ud83d\\ude00\\u2028"}',
        ],
    )
    async def test_json_means_the_same(self, backend: QueueBackend, text: str) -> None:
        """Payload, result, checkpoint: numbers keep their value and type, and nothing is taken for absent."""
        claim = await start_one(backend, NewJob("a", text))
        value = json.loads(text)
        await backend.save(claim.lease, checkpoint=text)
        await backend.settle([failed(claim, 0)], WORKER)
        [claim] = await backend.claim(demand())
        assert json.loads(claim.payload) == value
        assert claim.checkpoint is not None
        assert json.loads(claim.checkpoint) == value
        await backend.settle([done(claim, result=text)], WORKER)
        job = await row(backend, claim.id)
        for found in (job.payload, job.checkpoint, job.result):
            assert (type(found), found) == (type(value), value)

    async def test_a_large_payload(self, backend: QueueBackend) -> None:
        """A megabyte goes in and out."""
        text = json.dumps({"blob": "é€😀x" * 120_000}, ensure_ascii=False)
        claim = await start_one(backend, NewJob("a", text))
        assert json.loads(claim.payload) == json.loads(text)


class TestStats(Suite):
    """`stats`."""

    async def test_of_nothing(self, backend: QueueBackend) -> None:
        """Every status is there with 0."""
        stats = await backend.stats()
        assert dict(stats.by_status) == NONE
        assert (dict(stats.by_type), dict(stats.by_queue), dict(stats.avg_attempts), dict(stats.unhandled)) == ({}, {}, {}, {})
        assert (stats.oldest_pending, stats.workers) == (None, 0)

    async def test_counts(self, backend: QueueBackend, clock: FakeClock) -> None:
        """By status, type and queue, as a count of the rows would tell."""
        claims = await start(backend, *[NewJob("abc"[n % 3], queue="xy"[n % 2]) for n in range(17)])
        await backend.settle([done(claim) for claim in claims[:5]], WORKER)
        await backend.settle([failed(claim) for claim in claims[5:8]], WORKER)
        await backend.settle([buried(claim) for claim in claims[8:12]], WORKER)
        await put(backend, NewJob("a", delay=50.0), NewJob("d"), NewJob("d"))
        await backend.cancel(JobFilter(ids=[claims[12].id]), 1)
        jobs, stats = await rows(backend), await backend.stats()
        assert dict(stats.by_status) == NONE | Counter(job.status.value for job in jobs)
        for field, found in (("type", stats.by_type), ("queue", stats.by_queue)):
            names = {getattr(job, field) for job in jobs}
            assert {name: dict(counts) for name, counts in found.items()} == {
                name: NONE | Counter(job.status.value for job in jobs if getattr(job, field) == name) for name in names
            }

    async def test_average_attempts(self, backend: QueueBackend) -> None:
        """Over completed and dead jobs; a type with neither is absent."""
        for tries in (1, 3):
            claim = await start_one(backend, NewJob("a", max_attempts=9))
            for _ in range(tries - 1):
                await backend.settle([failed(claim, 0)], WORKER)
                [claim] = await backend.claim(demand())
            await backend.settle([done(claim) if tries == 1 else buried(claim)], WORKER)
        await start_one(backend, NewJob("b"))
        await put(backend, NewJob("a"))
        assert dict((await backend.stats()).avg_attempts) == {"a": pytest.approx(2)}

    async def test_oldest_pending(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Seconds since the earliest due time among what waits and is due, promoted or not."""
        [scheduled] = await put(backend, NewJob("a", delay=40.0))
        running = await start_one(backend, NewJob("b"))
        clock.advance(30)
        assert (await backend.stats()).oldest_pending is None
        clock.advance(30)
        assert (await backend.stats()).oldest_pending == pytest.approx(20)
        await backend.promote_due(10)
        assert (await backend.stats()).oldest_pending == pytest.approx(20)
        await put(backend, NewJob("c"))
        clock.advance(5)
        assert (await backend.stats()).oldest_pending == pytest.approx(25)
        await backend.cancel(JobFilter(ids=[scheduled]), 1)
        assert (await backend.stats()).oldest_pending == pytest.approx(5)
        await backend.settle([failed(running, 0)], WORKER)
        clock.advance(1)
        assert (await backend.stats()).oldest_pending == pytest.approx(6)

    async def test_unhandled_and_workers(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Types that wait, due or not, and that no live worker serves; and how many workers live."""
        await put(backend, NewJob("a"), NewJob("x"), NewJob("x", delay=50.0), NewJob("y", delay=50.0))
        claim = await start_one(backend, NewJob("z"))
        assert dict((await backend.stats()).unhandled) == {"a": 1, "x": 2, "y": 1}
        await backend.heartbeat(worker(id="w-1", types=["a", "b"]))
        await backend.heartbeat(worker(id="w-2", types=["y"]))
        stats = await backend.stats()
        assert (dict(stats.unhandled), stats.workers) == ({"x": 2}, 2)
        await backend.settle([failed(claim, 99.0)], WORKER)
        clock.advance(LIVE_WITHIN / 2)
        await backend.heartbeat(worker(id="w-2", types=["y"]))
        clock.advance(LIVE_WITHIN / 2 + 1)
        stats = await backend.stats()
        assert (dict(stats.unhandled), stats.workers) == ({"a": 1, "x": 2, "z": 1}, 1)


class TestUnhandled(Suite):
    """`unhandled`, and the same in `stats`."""

    async def test_stats_count_by_queue_too(self, backend: QueueBackend) -> None:
        """A worker serves its own queues: what waits elsewhere is counted, and only that."""
        await put(backend, *[NewJob("x", queue=f"q{n % 3}") for n in range(9)], NewJob("x", queue="q1", delay=9.0))
        await backend.heartbeat(worker(types=["x"], queues=["q0", "q2"]))
        assert dict((await backend.stats()).unhandled) == {"x": 4}

    """`unhandled`."""

    async def test_types_in_line_that_nobody_serves(self, backend: QueueBackend, clock: FakeClock) -> None:
        """In line only; a worker serves its own queues, or all, while it lives."""
        assert await backend.unhandled() == []
        await put(backend, NewJob("a"), NewJob("a"), NewJob("x", queue="mail"), NewJob("later", delay=50.0))
        await start_one(backend, NewJob("running"))
        assert sorted(await backend.unhandled()) == ["a", "x"]
        await backend.heartbeat(worker(id="w-1", types=["x"], queues=["bulk", "default"]))
        await backend.heartbeat(worker(id="w-2", types=["a", "b"]))
        assert await backend.unhandled() == ["x"]
        await backend.heartbeat(worker(id="w-1", types=["x"], queues=["bulk", "mail"]))
        assert await backend.unhandled() == []
        clock.advance(LIVE_WITHIN + 1)
        assert sorted(await backend.unhandled()) == ["a", "x"]

    async def test_of_two_queues_one_is_enough(self, backend: QueueBackend) -> None:
        """A type that waits in two queues is named, once, as long as one of them has no worker for it."""
        await put(backend, *[NewJob("x", queue=f"q{n % 3}") for n in range(9)])
        await backend.heartbeat(worker(types=["x"], queues=["q0", "q2"]))
        assert await backend.unhandled() == ["x"]


class TestFailures(Suite):
    """`failures`."""

    async def test_groups(self, backend: QueueBackend, clock: FakeClock) -> None:
        """By type and normalised error, the largest first; completed, pending and cancelled jobs do not count."""
        began = clock.now()
        plan = [
            ("a", "g1", "dead"),
            ("a", "g2", "failed"),
            ("a", "g1", "failed"),
            ("b", "g1", "dead"),
            ("a", "g1", "dead"),
            ("b", "g1", "dead"),
        ]
        ids = []
        for name, group, how in plan:
            claim = await start_one(backend, NewJob(name))
            clock.advance(10)
            settle = buried if how == "dead" else failed
            await backend.settle([settle(claim, error=f"{group} of {claim.id}", error_group=group)], WORKER)
            ids.append(claim.id)
        again = await start_one(backend, NewJob("c"))
        await backend.settle([failed(again, 0, error_group="g1")], WORKER)
        [again] = await backend.claim(demand("c"))
        await backend.settle([done(again)], WORKER)
        assert [await backend.failures(n) for n in (0, 1, 2)] == [(await backend.failures(10))[:n] for n in (0, 1, 2)]
        assert await backend.failures(10) == [
            FailureGroup("a", "g1", 3, 2, began + 10 * SECOND, began + 50 * SECOND, ids[4]),
            FailureGroup("b", "g1", 2, 2, began + 40 * SECOND, began + 60 * SECOND, ids[5]),
            FailureGroup("a", "g2", 1, 0, began + 20 * SECOND, began + 20 * SECOND, ids[1]),
        ]
        assert [job.id for job in await rows(backend, JobFilter(type="a", error_group="g1"))] == [ids[0], ids[2], ids[4]]

    async def test_a_requeued_job_is_no_failure(self, backend: QueueBackend) -> None:
        """It keeps its last error, and is not counted."""
        claim = await start_one(backend)
        await backend.settle([buried(claim)], WORKER)
        assert len(await backend.failures(10)) == 1
        await backend.requeue(JobFilter(), 10)
        assert await backend.failures(10) == []
