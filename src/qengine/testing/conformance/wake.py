"""Waking: whoever waits learns that there is work, in this process or another."""

from __future__ import annotations

import anyio
import pytest

from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import Claim, Fire, QueueBackend, Schedule, Settlement
from qengine.job import NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import LEASE, PATIENCE, WORKER, Suite, after, demand, failed, put, start_one

ACTS = (
    "enqueue",
    "enqueue-alike",
    "enqueue-mixed",
    "requeue",
    "resume",
    "fire",
    "disown",
    "retry",
    "release",
    "reclaim",
    "promote",
)
"""What makes work for workers."""

QUIET = 0.15
"""Seconds without news after which what happened before has been told."""


async def prepare(backend: QueueBackend, clock: FakeClock, what: str) -> Claim:
    """Have something for the act; the job that is held."""
    cancelled, _ = await put(backend, NewJob("a"), NewJob("later", delay=1.0))
    await backend.cancel(JobFilter(ids=[cancelled]), 1)
    claim = await start_one(backend, NewJob("held"))
    if what == "resume":
        # Nobody need be woken for a type of which nothing waits.
        await put(backend)
    await backend.pause("type", "a")
    await backend.put_schedules([Schedule("s", "a", "* * * * *", "UTC", "one", clock.now())])
    clock.advance(LEASE + 1)
    return claim


async def act(backend: QueueBackend, clock: FakeClock, what: str, held: Claim) -> None:
    """Make work for workers."""
    match what:
        case "enqueue":
            await put(backend)
        case "enqueue-alike":
            await put(backend, NewJob("a"), NewJob("a"))
        case "enqueue-mixed":
            await put(backend, NewJob("a", unique_key="k"), NewJob("a", priority=1))
        case "requeue":
            assert len(await backend.requeue(JobFilter(), 10)) == 1
        case "resume":
            assert await backend.resume("type", "a")
        case "fire":
            [stands] = await backend.schedules()
            assert await backend.fire(Fire("s", stands.next_fire, after(clock, 60), [stands.next_fire], [NewJob("a")]))
        case "disown":
            assert await backend.disown(WORKER, []) == 1
        case "retry":
            assert await backend.settle([failed(held, 0)], WORKER) == []
        case "release":
            assert await backend.settle([Settlement(held.id, held.token, Status.PENDING, spent=False, ended=False)], WORKER) == []
        case "reclaim":
            assert len(await backend.reclaim(10, max_crashes=5, lease=LEASE)) == 1
        case "promote":
            assert await backend.promote_due(10) == 1


async def quiet(backend: QueueBackend) -> None:
    """Wait until everything that has happened so far has been told."""
    with anyio.fail_after(PATIENCE):
        while True:
            with anyio.move_on_after(QUIET):
                await backend.wake(backend.wakes)
                continue
            return


class TestWake(Suite):
    """`wakes` and `wake`."""

    @pytest.mark.parametrize("what", ACTS)
    @pytest.mark.parametrize("where", ["this backend", "another"])
    async def test_work_wakes(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock, what: str, where: str) -> None:
        """Whoever waits is woken by whatever puts a job in line or lets one be claimed, wherever it happened."""
        held = await prepare(backend, clock, what)
        waiter = backend if where == "this backend" else other
        await quiet(waiter)
        seen = waiter.wakes
        woken: list[int] = []

        async def wait() -> None:
            woken.append(await waiter.wake(seen))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                await act(backend, clock, what, held)
        assert all(count > seen for count in woken)
        assert len(woken) == 3
        assert waiter.wakes >= max(woken)

    @pytest.mark.parametrize("where", ["this backend", "another"])
    async def test_none_is_missed(self, backend: QueueBackend, other: QueueBackend, where: str) -> None:
        """What happened since `wakes` was read ends the wait at once; what happened before does not count again."""
        waiter = backend if where == "this backend" else other
        for _ in range(5):
            seen = waiter.wakes
            await put(backend)
            with anyio.fail_after(PATIENCE):
                assert await waiter.wake(seen) > seen
        with anyio.fail_after(PATIENCE):
            while len(await waiter.claim(demand(limit=1))) == 1:
                pass

    async def test_who_was_woken_finds_what_goes_first(self, backend: QueueBackend, other: QueueBackend) -> None:
        """What a backend remembers does not hide from it what another has put at the head of the line, old or new."""
        await put(backend, *[NewJob("a", priority=5) for _ in range(20)])
        for kind, queue in (("a", "default"), ("a", "new"), ("b", "default"), ("b", "new")):
            assert len(await backend.claim(demand("a", "b", limit=2))) == 2
            await quiet(backend)
            seen = backend.wakes
            [first] = await put(other, NewJob(kind, queue=queue, priority=1))
            with anyio.fail_after(PATIENCE):
                await backend.wake(seen)
            assert [claim.id for claim in await backend.claim(demand("a", "b", limit=1))] == [first]

    async def test_no_wake_without_cause(self, backend: QueueBackend) -> None:
        """While nothing happens, nobody is woken: what waits comes to rest."""
        await put(backend)
        await quiet(backend)

    async def test_a_wait_can_be_cancelled(self, backend: QueueBackend) -> None:
        """A waiter that gives up harms no other."""
        await quiet(backend)
        seen = backend.wakes
        with anyio.move_on_after(0.01) as scope:
            await backend.wake(seen)
        assert scope.cancelled_caught
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                group.start_soon(backend.wake, seen)
                await put(backend)
        assert backend.wakes > seen
