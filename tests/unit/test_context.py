"""What a handler sees of its run, and what it writes under its lease."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from qengine.backends.protocol import Claim, Lease
from qengine.context import JobContext
from qengine.errors import ConfigurationError, LeaseLost, PayloadError
from qengine.job import Status

pytestmark = pytest.mark.anyio
NOW = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
CLAIM = Claim(
    id=7,
    token=3,
    type="send",
    queue="mail",
    priority=2,
    payload='{"to":"a"}',
    attempt=2,
    max_attempts=5,
    crashes=1,
    timeout=30.0,
    scheduled_for=NOW,
    created_at=NOW,
    expires_at=None,
    expired=False,
    unique_key="k",
    partition_key="p",
    checkpoint='{"page":1}',
    headers='{"traceparent":"x"}',
)


class Backend:
    """Remembers what it was asked; the fence holds until it is told otherwise."""

    def __init__(self) -> None:
        self.held = True
        self.asked: list[Any] = []

    async def save(self, lease: Lease, *, progress: str | None = None, checkpoint: str | None = None) -> bool:
        self.asked.append(("save", lease, progress and json.loads(progress), checkpoint and json.loads(checkpoint)))
        return self.held

    async def extend(self, leases: Sequence[Lease], seconds: float) -> list[Lease]:
        self.asked.append(("extend", list(leases), seconds))
        return [] if self.held else list(leases)

    @asynccontextmanager
    async def transaction(self, lease: Lease) -> AsyncIterator[str]:
        self.asked.append(("begin", lease))
        yield "connection"
        if not self.held:
            raise LeaseLost("gone")
        self.asked.append(("commit", lease))


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def ctx(backend: Backend) -> JobContext:
    return JobContext(CLAIM, backend, engine="the engine", worker="w1", lease=60.0, deadline=NOW, payload_limit=100)


LEASE = Lease(7, 3)


class TestReading:
    async def test_what_it_says_of_the_run(self, ctx: JobContext) -> None:
        assert (ctx.attempt, ctx.lease_token, ctx.deadline, ctx.engine) == (2, 3, NOW, "the engine")
        assert (ctx.completed, ctx.cancelled, ctx.lost) == (False, False, False)
        assert ctx.checkpointed == {"page": 1}

    async def test_the_job_as_it_was_claimed(self, ctx: JobContext) -> None:
        job = ctx.job
        assert job is ctx.job
        assert (job.id, job.type, job.queue, job.priority, job.status) == (7, "send", "mail", 2, Status.PROCESSING)
        assert (job.attempts, job.max_attempts, job.crashes, job.lease_token, job.locked_by) == (2, 5, 1, 3, "w1")
        assert (job.payload, job.checkpoint, job.headers) == ({"to": "a"}, {"page": 1}, {"traceparent": "x"})
        assert (job.unique_key, job.partition_key, job.timeout, job.scheduled_for, job.created_at) == ("k", "p", 30.0, NOW, NOW)

    async def test_nothing_is_made_before_it_is_asked_for(self, ctx: JobContext) -> None:
        assert ctx._job is None
        assert ctx._log is None
        with pytest.raises(AttributeError):
            ctx.anything = 1

    async def test_no_checkpoint_yet(self, backend: Backend) -> None:
        assert JobContext(CLAIM._replace(checkpoint=None), backend).checkpointed is None

    async def test_the_log_tells_of_the_job(self, ctx: JobContext, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "qengine.job"):
            ctx.log.info("half %s", "way", extra={"page": 3})
        (record,) = caplog.records
        assert record.getMessage() == "half way"
        said = {name: getattr(record, name) for name in ("job_id", "type", "attempt", "worker", "page")}
        assert said == {"job_id": 7, "type": "send", "attempt": 2, "worker": "w1", "page": 3}
        assert ctx.log is ctx.log


class TestWriting:
    async def test_progress(self, ctx: JobContext, backend: Backend) -> None:
        await ctx.progress(1, 2, "half")
        await ctx.progress(0.5)
        assert backend.asked == [
            ("save", LEASE, {"done": 1, "total": 2, "message": "half"}, None),
            ("save", LEASE, {"done": 0.5, "total": None, "message": None}, None),
        ]

    async def test_a_checkpoint_is_seen_at_once(self, ctx: JobContext, backend: Backend) -> None:
        await ctx.checkpoint({"page": 2, "at": NOW})
        assert backend.asked == [("save", LEASE, None, {"page": 2, "at": "2024-01-01T00:00:00Z"})]
        assert ctx.checkpointed == {"page": 2, "at": "2024-01-01T00:00:00Z"}

    @pytest.mark.parametrize("value", [object(), float("nan"), "\0", "x" * 101], ids=["object", "nan", "nul", "long"])
    async def test_what_cannot_be_stored_is_refused(self, ctx: JobContext, backend: Backend, value: Any) -> None:
        with pytest.raises(PayloadError, match=r"^checkpoint"):
            await ctx.checkpoint(value)
        with pytest.raises(PayloadError, match=r"^progress"):
            await ctx.progress(1, message=value)
        assert backend.asked == []
        assert ctx.checkpointed == {"page": 1}

    async def test_extend(self, ctx: JobContext, backend: Backend) -> None:
        await ctx.extend()
        await ctx.extend(5)
        assert backend.asked == [("extend", [LEASE], 60.0), ("extend", [LEASE], 5)]

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", True])
    async def test_extend_by_what_is_no_time(self, ctx: JobContext, backend: Backend, seconds: Any) -> None:
        with pytest.raises(ConfigurationError, match="extend"):
            await ctx.extend(seconds)
        assert backend.asked == []

    @pytest.mark.parametrize("write", [lambda c: c.progress(1), lambda c: c.checkpoint(2), lambda c: c.extend()])
    async def test_after_the_lease_is_lost(self, ctx: JobContext, backend: Backend, write: Any) -> None:
        backend.held = False
        with pytest.raises(LeaseLost, match=r"job 7 .send. is no longer held under lease token 3"):
            await write(ctx)
        assert ctx.lost
        assert ctx.checkpointed == {"page": 1}


class TestTransaction:
    async def test_it_completes_the_job(self, ctx: JobContext, backend: Backend) -> None:
        async with ctx.transaction() as tx:
            assert tx == "connection"
            assert not ctx.completed
        assert ctx.completed
        assert backend.asked == [("begin", LEASE), ("commit", LEASE)]

    async def test_an_error_in_the_block_completes_nothing(self, ctx: JobContext, backend: Backend) -> None:
        with pytest.raises(ZeroDivisionError):
            async with ctx.transaction():
                raise ZeroDivisionError
        assert (ctx.completed, ctx.lost, backend.asked) == (False, False, [("begin", LEASE)])
        async with ctx.transaction():
            pass
        assert ctx.completed

    async def test_a_lost_lease_at_its_end(self, ctx: JobContext, backend: Backend) -> None:
        backend.held = False
        with pytest.raises(LeaseLost):
            async with ctx.transaction():
                pass
        assert (ctx.completed, ctx.lost) == (False, True)

    async def test_a_lease_lost_that_is_about_another_job(self, ctx: JobContext) -> None:
        with pytest.raises(LeaseLost, match="another"):
            async with ctx.transaction():
                raise LeaseLost("another")
        assert (ctx.completed, ctx.lost) == (False, False)

    @pytest.mark.parametrize("write", [lambda c: c.progress(1), lambda c: c.checkpoint(2), lambda c: c.extend()])
    async def test_afterwards_nothing_more_can_be_written(self, ctx: JobContext, backend: Backend, write: Any) -> None:
        async with ctx.transaction():
            pass
        asked = list(backend.asked)
        with pytest.raises(LeaseLost, match=r"completed by ctx.transaction"):
            await write(ctx)
        with pytest.raises(LeaseLost, match=r"completed by ctx.transaction"):
            async with ctx.transaction():
                pass
        assert backend.asked == asked
        assert not ctx.lost
