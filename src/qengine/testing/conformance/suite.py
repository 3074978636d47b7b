"""What all topics of the suite share: the fixtures, the usual requests, and the comparison of whole rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import msgspec
import pytest

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import BackendSettings, Claim, Demand, QueueBackend, Settlement
from qengine.job import Job, NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.factory import BackendFactory

AGEING = 600.0
"""The ageing step of the backends in the suite."""

LEASE = 60.0
WORKER = "worker-1"
PATIENCE = 20.0
"""Seconds after which something that should have happened at once has failed."""

HOSTILE = (
    "",
    "it's",
    'say "hi"',
    "'; DROP TABLE qengine_jobs; --",
    "%s %d {0} {name} :name $1 ?",
    "back\\slash \\n \\u0041",
    "line\nfeed\r\n\ttab",
    "naïve Ünïcödé 日本語 עברית",
    "family 👨‍👩‍👧‍👦 flag 🇩🇪",
    "e\u0301 is not \u00e9",
    "\u202eright to left\u200b\ufeff",
    "null",
    "[1, 2]",
    " ",
    "x" * 5_000,
)
"""Texts that have broken databases before: every text column takes them as they are."""


@pytest.mark.anyio
class Suite:
    """The base of every topic. `backend_factory` is the fixture that the author of a backend writes."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        """asyncio, which the drivers need."""
        return "asyncio"

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The clock of all backends in a test."""
        return FakeClock()

    @pytest.fixture
    def settings(self, clock: FakeClock) -> BackendSettings:
        """The settings of all backends in a test."""
        return BackendSettings(clock=clock, ageing=AGEING)

    @pytest.fixture
    async def backend(self, backend_factory: BackendFactory, settings: BackendSettings) -> QueueBackend:
        """A backend on an empty database."""
        return await backend_factory(settings)

    @pytest.fixture
    async def other(self, backend: QueueBackend, backend_factory: BackendFactory, settings: BackendSettings) -> QueueBackend:
        """A second backend on the database of `backend`, as another process would have."""
        return await backend_factory(settings)


def need(factory: BackendFactory, *hooks: str) -> BackendFactory:
    """The factory, or a skip that names what its author has left out."""
    missing = [name for name in hooks if getattr(type(factory), name) is getattr(BackendFactory, name)]
    if missing:
        pytest.skip(f"{type(factory).__name__} does not override BackendFactory.{missing[0]}")
    return factory


def after(clock: FakeClock, seconds: float) -> dt.datetime:
    """The moment `seconds` from now by the fake clock."""
    return clock.now() + dt.timedelta(seconds=seconds)


def place(due: dt.datetime, priority: int = 5, ageing: float = AGEING) -> float:
    """The rank of a job that came due then."""
    return due.timestamp() + priority * ageing


def demand(*types: str, limit: int = 100, each: int | Mapping[str, int] = 100, worker: str = WORKER, **more: Any) -> Demand:
    """A claim of these types, with room for `each` of every one."""
    room = {name: each if isinstance(each, int) else each[name] for name in types or ("a",)}
    return Demand(worker=worker, types=room, limit=limit, lease=more.pop("lease", LEASE), **more)


async def put(backend: QueueBackend, *jobs: NewJob) -> list[int]:
    """Enqueue; the ids."""
    return [answer.id for answer in await backend.enqueue(jobs or (NewJob("a"),))]


async def start(backend: QueueBackend, *jobs: NewJob, **more: Any) -> list[Claim]:
    """Enqueue these jobs and claim all of them; the claims in the order of the jobs."""
    jobs = jobs or (NewJob("a"),)
    ids = await put(backend, *jobs)
    claims = {
        claim.id: claim
        for claim in await backend.claim(demand(*{job.type for job in jobs}, limit=len(jobs), each=len(jobs), **more))
    }
    assert sorted(claims) == sorted(ids)
    return [claims[job_id] for job_id in ids]


async def start_one(backend: QueueBackend, job: NewJob = NewJob("a"), **more: Any) -> Claim:  # noqa: B008  # frozen
    """Enqueue a job and claim it."""
    return (await start(backend, job, **more))[0]


async def row(backend: QueueBackend, job_id: int) -> Job[Any]:
    """The job, which must exist."""
    job = await backend.get(job_id)
    assert job is not None, f"job {job_id} is gone"
    return job


async def rows(backend: QueueBackend, which: JobFilter | None = None) -> list[Job[Any]]:
    """All jobs, or those of a filter, by id."""
    return await backend.query(which or JobFilter(), limit=100_000)


async def crash(backend: QueueBackend, clock: FakeClock, job_id: int, times: int = 1, type: str = "a", **more: Any) -> None:
    """Have the job claimed and its lease run out so many times."""
    for _ in range(times):
        lane = (await row(backend, job_id)).crashes >= 2
        claims = await backend.claim(demand(type, suspects=lane))
        assert job_id in [claim.id for claim in claims]
        await backend.settle([done(claim) for claim in claims if claim.id != job_id], WORKER)
        clock.advance(LEASE + 0.5)
        taken = await backend.reclaim(100, max_crashes=more.get("max_crashes", 100), lease=LEASE)
        assert job_id in [job.id for job in taken]


def done(claim: Claim, **more: Any) -> Settlement:
    """The settlement of a run that returned."""
    return Settlement(claim.id, claim.token, Status.COMPLETED, **more)


def failed(claim: Claim, delay: float = 30.0, **more: Any) -> Settlement:
    """The settlement of a failed attempt that will be tried again."""
    told = {"error": "ValueError: no", "error_group": "ValueError: no", "logged": True, **more}
    return Settlement(claim.id, claim.token, Status.FAILED, delay=delay, **told)


def buried(claim: Claim, reason: str = "exhausted", **more: Any) -> Settlement:
    """The settlement of a last failed attempt."""
    told = {"error": "ValueError: no", "error_group": "ValueError: no", "logged": True, **more}
    return Settlement(claim.id, claim.token, Status.DEAD, dead_reason=reason, **told)


def assert_row(job: Job[Any], before: Job[Any], **changes: Any) -> None:
    """The whole row is as before but for `changes`; when it was written last is left to the backend."""
    assert job == msgspec.structs.replace(before, updated_at=job.updated_at, **changes)
    assert job.updated_at is None or before.updated_at is None or job.updated_at >= before.updated_at


async def assert_untouched(backend: QueueBackend, before: Sequence[Job[Any]]) -> None:
    """These jobs are exactly as they were."""
    assert [await backend.get(job.id) for job in before] == list(before)


async def ways_out(backend: QueueBackend, clock: FakeClock, way: str, claim: Claim) -> None:
    """Let a running job leave its holder in one of the ways of `WAYS`."""
    one = JobFilter(ids=[claim.id])
    match way:
        case "settled":
            assert await backend.settle([done(claim)], WORKER) == []
        case "retried":
            assert await backend.settle([failed(claim, 0)], WORKER) == []
        case "released":
            assert (
                await backend.settle([Settlement(claim.id, claim.token, Status.PENDING, spent=False, ended=False)], WORKER) == []
            )
        case "claimed again":
            await ways_out(backend, clock, "released", claim)
            assert [again.id for again in await backend.claim(demand(claim.type, worker="worker-2"))] == [claim.id]
        case "reclaimed":
            clock.advance(LEASE + 0.5)
            assert [job.id for job in await backend.reclaim(10, max_crashes=5, lease=LEASE)] == [claim.id]
        case "crash loop":
            clock.advance(LEASE + 0.5)
            assert [job.dead for job in await backend.reclaim(10, max_crashes=1, lease=LEASE)] == [True]
        case "cancelled":
            assert await backend.cancel(one, 10) == [claim.id]
        case "requeued":
            await ways_out(backend, clock, "cancelled", claim)
            assert await backend.requeue(one, 10) == [claim.id]
        case "deleted":
            assert await backend.delete(one, 10) == [claim.id]
        case _:
            raise AssertionError(way)


WAYS = ("settled", "retried", "released", "claimed again", "reclaimed", "crash loop", "cancelled", "requeued", "deleted")
"""The ways in which a running job leaves its holder."""


async def together(*works: Any) -> list[Any]:
    """Run these coroutines at once; their results in order."""
    results: list[Any] = [None] * len(works)

    async def keep(at: int, work: Any) -> None:
        results[at] = await work

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            for at, work in enumerate(works):
                group.start_soon(keep, at, work)
    return results
