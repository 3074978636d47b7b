"""Plans: what a worker does all the time reads the lines it needs, and never the whole table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from qengine.backends.inspection import Activity, AuditEntry, JobFilter
from qengine.backends.protocol import QueueBackend
from qengine.job import NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import LEASE, WORKER, Suite, buried, demand, done, failed, need, put, start
from qengine.testing.factory import BackendFactory

ROWS = 3_000


class TestPlans(Suite):
    """Which verbs may read the whole table: none that a worker runs all the time."""

    async def test_no_full_scan(self, backend: QueueBackend, clock: FakeClock, backend_factory: BackendFactory) -> None:
        """With thousands of jobs of every kind, claim, settle, extend and upkeep read none but those concerned."""
        need(backend_factory, "recording", "full_scans")
        for name in ("mine", "unhandled", "scheduled", "finished"):
            for _ in range(0, ROWS, 1_000):
                delay = 10_000.0 if name == "scheduled" else None
                await put(
                    backend, *[NewJob(name, delay=delay, unique_key=f"{n}" if n % 2 else None) for n in range(1_000)][: ROWS // 4]
                )
                if name == "finished":
                    claims = await backend.claim(demand(name, limit=1_000, each=1_000))
                    await backend.settle([done(claim) if n % 2 else buried(claim) for n, claim in enumerate(claims)], WORKER)
        held = await start(backend, *[NewJob("held") for _ in range(20)])
        began, last = clock.now(), await backend.last_error_row()
        verbs: dict[str, Callable[[], Awaitable[object]]] = {
            "enqueue": lambda: backend.enqueue([NewJob("mine", unique_key="new"), NewJob("mine")]),
            "claim one type": lambda: backend.claim(demand("mine", limit=10)),
            "claim many types": lambda: backend.claim(demand("mine", "held", "nothing", limit=10)),
            "claim a queue": lambda: backend.claim(demand("mine", "held", limit=10, queues=["default"])),
            "claim suspects": lambda: backend.claim(demand("mine", "held", limit=1, suspects=True)),
            "settle": lambda: backend.settle([done(held[0]), failed(held[1]), buried(held[2])], WORKER),
            "extend": lambda: backend.extend([claim.lease for claim in held[3:]], LEASE),
            "save": lambda: backend.save(held[4].lease, checkpoint="1"),
            "promote_due": lambda: backend.promote_due(100),
            "next_deadline": lambda: backend.next_deadline(),
            "reclaim": lambda: backend.reclaim(100, max_crashes=5, lease=LEASE),
            "bury_expired": lambda: backend.bury_expired(100),
            "prune": lambda: backend.prune({Status.COMPLETED: 1e6, Status.CANCELLED: 1e6}, 100),
            "get": lambda: backend.get(held[0].id),
            "query a page": lambda: backend.query(JobFilter(), limit=10, newest_first=True),
            "requeue by id": lambda: backend.requeue(JobFilter(ids=[held[2].id]), 1),
            "cancel by id": lambda: backend.cancel(JobFilter(ids=[held[5].id]), 1),
            "requeue at a rate": lambda: backend.requeue(JobFilter(ids=[held[2].id]), 1, spacing=1.0),
            "search": lambda: backend.search(JobFilter(), limit=10, window=100),
            "search a text": lambda: backend.search(JobFilter(text="needle"), limit=10, window=100),
            "search a few": lambda: backend.search(JobFilter(status=[Status.PROCESSING]), limit=10, window=100),
            "search too many": lambda: backend.search(
                JobFilter(status=[Status.PENDING, Status.DEAD], type="x"), limit=10, window=100
            ),
            "running": lambda: backend.running(100),
            "ended_since": lambda: backend.ended_since(began, 100),
            "dead_by_day": lambda: backend.dead_by_day(began, "finished"),
            "errors_since": lambda: backend.errors_since(last, 100),
            "last_error_row": lambda: backend.last_error_row(),
            "oldest_due": lambda: backend.oldest_due(),
            "amend": lambda: backend.amend(1, priority=2),
            "record_activity": lambda: backend.record_activity([Activity(60, 0, "w", "a")]),
            "activity": lambda: backend.activity(60, began),
            "audit": lambda: backend.audit(AuditEntry("me", "pause")),
            "audit_trail": lambda: backend.audit_trail(100, job_id=1),
            "diagnose": lambda: backend.diagnose(),
        }
        found: dict[str, list[str]] = {}
        for verb, act in verbs.items():
            async with backend_factory.recording(backend) as statements:
                await act()
            scans = await backend_factory.full_scans(statements)
            assert statements, verb
            if scans:
                found[verb] = scans
        assert found == {}
