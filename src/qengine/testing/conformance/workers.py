"""Workers: how they announce themselves, and how they are forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qengine.backends.protocol import QueueBackend, WorkerInfo
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import Suite


def worker(**fields: Any) -> WorkerInfo:
    """A worker of which little needs to be said."""
    told: dict[str, Any] = {"id": "w", "host": "h", "pid": 7, "version": "1", "types": ["a"], "queues": None, "concurrency": 4}
    return WorkerInfo(**(told | fields))


def plain(info: WorkerInfo) -> WorkerInfo:
    """The same with lists, whatever sequences the backend gives."""
    return replace(info, types=list(info.types), queues=None if info.queues is None else list(info.queues))


class TestWorkers(Suite):
    """`heartbeat`, `workers`, `retire` and `forget_workers`."""

    async def test_a_worker_is_as_it_announced_itself(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock) -> None:
        """Whole, on every backend; the times are the backend's, the first one stays."""
        started = clock.now()
        info = worker(
            id="w-1",
            host="höst",
            pid=4242,
            version="1.2.3",
            types=["a", "b'"],
            queues=["q", "mail"],
            concurrency=20,
            loop_lag=0.25,
        )
        await backend.heartbeat(info)
        [found] = await other.workers(30.0)
        assert plain(found) == replace(info, running=0, started_at=started, heartbeat=started)
        beat = clock.advance(12.5)
        news: dict[str, Any] = {"running": 7, "types": ["a"], "queues": None, "loop_lag": None}
        await backend.heartbeat(replace(info, **news))
        [found] = await other.workers(30.0)
        assert plain(found) == replace(info, **news, started_at=started, heartbeat=beat)

    async def test_the_backends_clock_tells_the_times(self, backend: QueueBackend, clock: FakeClock) -> None:
        """What the worker thinks of the time does not count."""
        await backend.heartbeat(worker(started_at=clock.now().replace(year=1990), heartbeat=clock.now().replace(year=2090)))
        [found] = await backend.workers(1.0)
        assert (found.started_at, found.heartbeat) == (clock.now(), clock.now())

    async def test_only_the_live(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Those heard of within so many seconds; the others are still known."""
        await backend.heartbeat(worker(id="old"))
        clock.advance(20)
        await backend.heartbeat(worker(id="new"))
        assert [info.id for info in await backend.workers(10.0)] == ["new"]
        assert sorted(info.id for info in await backend.workers(20.0)) == ["new", "old"]

    async def test_retired(self, backend: QueueBackend) -> None:
        """A worker that has stopped is gone at once; retiring again, or one never seen, is no error."""
        await backend.heartbeat(worker(id="w-1"))
        await backend.heartbeat(worker(id="w-2"))
        await backend.retire("w-1")
        await backend.retire("w-1")
        await backend.retire("never seen")
        assert [info.id for info in await backend.workers(30.0)] == ["w-2"]

    async def test_forgotten(self, backend: QueueBackend, clock: FakeClock) -> None:
        """Those not heard of for longer go; how many."""
        for n in range(3):
            await backend.heartbeat(worker(id=f"w-{n}"))
            clock.advance(10)
        assert await backend.forget_workers(30.5) == 0
        assert await backend.forget_workers(15.0) == 2
        assert [info.id for info in await backend.workers(1000.0)] == ["w-2"]
