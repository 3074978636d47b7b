"""Cost: a batched verb sends a constant number of statements, however many rows it touches."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from qengine.backends.inspection import Activity, AuditEntry, JobFilter
from qengine.backends.protocol import QueueBackend, Settlement
from qengine.job import NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import LEASE, WORKER, Suite, buried, demand, done, failed, need, put, start
from qengine.testing.factory import BackendFactory

FEW, MANY = 2, 150

Act = Callable[[], Awaitable[object]]


class Bench:
    """Prepares one verb on `n` rows, so that only the verb itself is counted."""

    def __init__(self, backend: QueueBackend, clock: FakeClock) -> None:
        self.backend, self.clock = backend, clock

    async def enqueue(self, n: int) -> Act:
        """New jobs, with keys."""
        return lambda: self.backend.enqueue([NewJob("a", unique_key=f"{n}/{k % (n - 1)}") for k in range(n)])

    async def claim(self, n: int) -> Act:
        """Jobs of two types."""
        await put(self.backend, *[NewJob("ab"[k % 2]) for k in range(n)])
        return lambda: self.backend.claim(demand("a", "b", limit=n, each=n))

    async def settle(self, n: int) -> Act:
        """All outcomes, with history, some lost."""
        claims = await start(self.backend, *[NewJob("a") for _ in range(n)])
        await self.backend.settle([done(claims[0])], WORKER)

        def ending(k: int) -> Settlement:
            claim = claims[k]
            release = Settlement(claim.id, claim.token, Status.PENDING, spent=False, ended=False)
            return (done(claim, result="1"), failed(claim), release, buried(claim))[k % 4]

        return lambda: self.backend.settle([ending(k) for k in range(n)], WORKER)

    async def extend(self, n: int) -> Act:
        """Leases, one lost."""
        claims = await start(self.backend, *[NewJob("a") for _ in range(n)])
        await self.backend.settle([done(claims[0])], WORKER)
        return lambda: self.backend.extend([claim.lease for claim in claims], LEASE)

    async def reclaim(self, n: int) -> Act:
        """Leases that ran out."""
        await start(self.backend, *[NewJob("a") for _ in range(n)])
        self.clock.advance(LEASE + 1)
        return lambda: self.backend.reclaim(n, max_crashes=5, lease=LEASE)

    async def promote_due(self, n: int) -> Act:
        """Jobs that came due."""
        await put(self.backend, *[NewJob("a", delay=1.0) for _ in range(n)])
        self.clock.advance(2)
        return lambda: self.backend.promote_due(n)

    async def bury_expired(self, n: int) -> Act:
        """Jobs that expired."""
        await put(self.backend, *[NewJob("a", expires=1.0) for _ in range(n)])
        self.clock.advance(2)
        return lambda: self.backend.bury_expired(n)

    async def prune(self, n: int) -> Act:
        """Jobs that ended, with history."""
        await self._ended(n)
        self.clock.advance(2)
        return lambda: self.backend.prune({Status.DEAD: 1.0, Status.COMPLETED: 1.0}, n)

    async def requeue(self, n: int) -> Act:
        """Dead jobs."""
        await self._ended(n)
        return lambda: self.backend.requeue(JobFilter(status=[Status.DEAD]), n)

    async def requeue_at_a_rate(self, n: int) -> Act:
        """Dead jobs, each with a time of its own."""
        await self._ended(n)
        return lambda: self.backend.requeue(JobFilter(status=[Status.DEAD]), n, spacing=1.0, begin=1.0)

    async def cancel(self, n: int) -> Act:
        """Waiting and running jobs."""
        await start(self.backend, *[NewJob("a") for _ in range(n // 2)])
        await put(self.backend, *[NewJob("a") for _ in range(n // 2)])
        return lambda: self.backend.cancel(JobFilter(type="a"), n)

    async def delete(self, n: int) -> Act:
        """Jobs with history."""
        await self._ended(n)
        return lambda: self.backend.delete(JobFilter(type="a"), n)

    async def query(self, n: int) -> Act:
        """Whole rows."""
        await self._ended(n)
        return lambda: self.backend.query(JobFilter(), limit=n)

    async def search(self, n: int) -> Act:
        """Whole rows, with a text."""
        await put(self.backend, *[NewJob("a", '{"k": "needle"}') for _ in range(n)])
        return lambda: self.backend.search(JobFilter(text="needle"), limit=n)

    async def search_a_status(self, n: int) -> Act:
        """Those that an index may hold."""
        await self._ended(n)
        return lambda: self.backend.search(JobFilter(status=[Status.DEAD]), limit=n)

    async def running(self, n: int) -> Act:
        """Whole rows."""
        await start(self.backend, *[NewJob("a") for _ in range(n)])
        return lambda: self.backend.running(n)

    async def ended_since(self, n: int) -> Act:
        """Whole rows."""
        since = self.clock.now()
        await self._ended(n)
        return lambda: self.backend.ended_since(since, n)

    async def dead_by_day(self, n: int) -> Act:
        """Jobs that died on as many days."""
        since = self.clock.now()
        claims = await start(self.backend, *[NewJob("a") for _ in range(n)])
        for claim in claims:
            self.clock.advance(86_400.0)
            await self.backend.settle([buried(claim)], WORKER)
        return lambda: self.backend.dead_by_day(since)

    async def errors_since(self, n: int) -> Act:
        """The history of as many jobs."""
        await self._ended(n)
        return lambda: self.backend.errors_since(0, n)

    async def oldest_due(self, n: int) -> Act:
        """As many lines."""
        await put(self.backend, *[NewJob(f"t{k}", queue=f"q{k}") for k in range(n)])
        return self.backend.oldest_due

    async def record_activity(self, n: int) -> Act:
        """As many types."""
        now = int(self.clock.now().timestamp()) // 60 * 60
        return lambda: self.backend.record_activity([Activity(60, now, "w", f"t{k}") for k in range(n)])

    async def activity(self, n: int) -> Act:
        """As many types."""
        now = int(self.clock.now().timestamp()) // 60 * 60
        await self.backend.record_activity([Activity(60, now, "w", f"t{k}") for k in range(n)])
        return lambda: self.backend.activity(60, dt.datetime.fromtimestamp(now, dt.UTC))

    async def audit_trail(self, n: int) -> Act:
        """Entries."""
        for _ in range(n):
            await self.backend.audit(AuditEntry("me", "pause"))
        return lambda: self.backend.audit_trail(n)

    async def stats(self, n: int) -> Act:
        """Counts over many types."""
        await put(self.backend, *[NewJob(f"t{k}", queue=f"q{k}") for k in range(n)])
        return self.backend.stats

    async def failures(self, n: int) -> Act:
        """Groups, each of its own."""
        claims = await start(self.backend, *[NewJob("a") for _ in range(n)])
        await self.backend.settle([buried(claim, error_group=f"g{claim.id}") for claim in claims], WORKER)
        return lambda: self.backend.failures(n)

    async def _ended(self, n: int) -> None:
        claims = await start(self.backend, *[NewJob("a") for _ in range(n)])
        await self.backend.settle([buried(claim) for claim in claims], WORKER)


VERBS = [name for name in vars(Bench) if not name.startswith("_")]


async def count(verb: str, backend: QueueBackend, clock: FakeClock, factory: BackendFactory, n: int) -> list[Any]:
    """The statements that the verb sends for `n` rows, in an otherwise empty table."""
    act = await getattr(Bench(backend, clock), verb)(n)
    async with need(factory, "recording").recording(backend) as statements:
        await act()
    await backend.delete(JobFilter(), 1_000)
    return statements


class TestCost(Suite):
    """How many statements a verb costs."""

    @pytest.mark.parametrize("verb", VERBS)
    async def test_a_batch_costs_no_more_than_a_few(
        self, backend: QueueBackend, clock: FakeClock, backend_factory: BackendFactory, verb: str
    ) -> None:
        """As many statements for 150 rows as for two, and at least one."""
        await count(verb, backend, clock, backend_factory, FEW)
        few = await count(verb, backend, clock, backend_factory, FEW)
        many = await count(verb, backend, clock, backend_factory, MANY)
        assert 1 <= len(many) <= len(few), many
