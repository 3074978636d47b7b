"""Waking: whoever waits learns that there is work, in this process or another."""

from __future__ import annotations

import anyio
import pytest

from qengine.backends.protocol import Fire, JobFilter, QueueBackend, Schedule
from qengine.job import NewJob
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import PATIENCE, WORKER, Suite, after, demand, put, start_one

ACTS = ("enqueue", "requeue", "resume", "fire", "disown")


async def prepare(backend: QueueBackend, clock: FakeClock) -> None:
    """Have something to requeue, to resume and to fire."""
    await put(backend)
    await backend.cancel(JobFilter(type="a"), 1)
    await start_one(backend, NewJob("held"))
    await backend.pause("type", "a")
    await backend.put_schedules([Schedule("s", "a", "* * * * *", "UTC", "one", clock.now())])


async def act(backend: QueueBackend, clock: FakeClock, what: str) -> None:
    """Make work for workers."""
    match what:
        case "enqueue":
            await put(backend)
        case "requeue":
            assert len(await backend.requeue(JobFilter(), 10)) == 1
        case "resume":
            assert await backend.resume("type", "a")
        case "fire":
            fire = Fire("s", clock.now(), after(clock, 60), [clock.now()], [NewJob("a")])
            assert await backend.fire(fire)
        case "disown":
            assert await backend.disown(WORKER, []) == 1


class TestWake(Suite):
    """`wakes` and `wake`."""

    @pytest.mark.parametrize("what", ACTS)
    @pytest.mark.parametrize("where", ["this backend", "another"])
    async def test_work_wakes(self, backend: QueueBackend, other: QueueBackend, clock: FakeClock, what: str, where: str) -> None:
        """Whoever waits is woken by an enqueue, a requeue, a resumption and the like, wherever it happened."""
        await prepare(backend, clock)
        waiter = backend if where == "this backend" else other
        seen = waiter.wakes
        woken: list[int] = []

        async def wait() -> None:
            woken.append(await waiter.wake(seen))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                await act(backend, clock, what)
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

    async def test_no_wake_without_cause(self, backend: QueueBackend) -> None:
        """While nothing happens, nobody is woken."""
        await put(backend)
        with anyio.move_on_after(0.3):
            while True:
                await backend.wake(backend.wakes)
        seen = backend.wakes
        with anyio.move_on_after(0.3) as scope:
            await backend.wake(seen)
        assert scope.cancelled_caught

    async def test_a_wait_can_be_cancelled(self, backend: QueueBackend) -> None:
        """A waiter that gives up harms no other."""
        seen = backend.wakes
        with anyio.move_on_after(0.01) as scope:
            await backend.wake(seen)
        assert scope.cancelled_caught
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                group.start_soon(backend.wake, seen)
                await put(backend)
        assert backend.wakes > seen
