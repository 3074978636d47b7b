"""The fault-injecting backend itself."""

from __future__ import annotations

import inspect
import time

import pytest

from qengine import BackendUnavailable, ConfigurationError, Engine, JobContext
from qengine.backends.inspection import Inspection
from qengine.backends.protocol import QueueBackend
from qengine.testing import faults
from qengine.testing.faults import Plan, fail, hang, injected, late, lose_reply

pytestmark = pytest.mark.anyio


def shop(url: str) -> Engine:
    engine = Engine(url)

    @engine.task()
    async def sell(n: int) -> int:
        return n

    @engine.task()
    async def note(ctx: JobContext) -> None:
        async with ctx.transaction() as tx:
            await tx.execute("INSERT INTO notes VALUES (1)")

    return engine


def test_every_verb_that_speaks_to_the_database_can_fail() -> None:
    members = {**vars(Inspection), **vars(QueueBackend)}
    asked = {name for name, member in members.items() if inspect.iscoroutinefunction(member)}
    assert set(faults.VERBS) == asked - {"close"} | {"transaction", "commit"}


@pytest.mark.parametrize(
    ("fault", "stored", "seconds"),
    [
        (fail("enqueue", at=2), 1, 0.0),
        (lose_reply("enqueue", at=2), 2, 0.0),
        (hang("enqueue", at=2, seconds=0.2), 1, 0.2),
    ],
    ids=str,
)
async def test_the_caller_is_told_of_an_outage(url: str, fault: faults.Fault, stored: int, seconds: float) -> None:
    engine = shop(url)
    with injected(engine, fault) as plan:
        async with engine:
            await engine.enqueue("sell", {"n": 1})
            began = time.monotonic()
            with pytest.raises(BackendUnavailable, match="injected"):
                await engine.enqueue("sell", {"n": 2})
            assert time.monotonic() - began >= seconds
            assert len(await engine.jobs()) == stored
            await engine.enqueue("sell", {"n": 3})
    assert (plan.struck, plan.calls["enqueue"]) == ([fault], 3)


async def test_a_late_call_goes_through(url: str) -> None:
    engine = shop(url)
    with injected(engine, late("enqueue", seconds=0.2)):
        async with engine:
            began = time.monotonic()
            await engine.enqueue("sell", {"n": 1})
            assert time.monotonic() - began >= 0.2
            assert len(await engine.jobs()) == 1


@pytest.mark.parametrize("fault", [fail("transaction"), fail("commit"), lose_reply("transaction"), lose_reply("commit")], ids=str)
async def test_a_transaction_fails_at_either_end(url: str, fault: faults.Fault) -> None:
    engine = shop(url)

    @engine.task()
    async def prepare(ctx: JobContext) -> None:
        async with ctx.transaction() as tx:
            await tx.execute("CREATE TABLE notes (n int)")

    @engine.task()
    async def count(ctx: JobContext) -> int:
        async with ctx.transaction() as tx:
            found = await (tx.fetch if hasattr(tx, "fetch") else tx.execute_fetchall)("SELECT n FROM notes")
            return len(list(found))

    async with engine:
        await engine.enqueue("prepare")
        await engine.drain()
    with injected(engine, fault):
        async with engine:
            job = await engine.enqueue("note")
            await engine.drain()
            committed = fault == lose_reply("commit")
            assert (await engine.job(job.id)).status == ("completed" if committed else "failed")
            counted = await engine.enqueue("count")
            await engine.drain()
            assert await counted.wait(timeout=5) == committed


async def test_the_lease_keeper_and_several_engines_share_a_plan(url: str) -> None:
    plan = Plan(fail("open", at=2))
    one, two = shop(url), shop(url)
    with injected(one, plan=plan), injected(two, plan=plan):
        async with one:
            with pytest.raises(BackendUnavailable):
                await two.open()
            sibling = one.backend.sibling()
            await sibling.open()
            await sibling.now()
            await sibling.close()
        async with one:
            with pytest.raises(ConfigurationError, match="open"), injected(one):
                pass
    assert (plan.calls["open"], plan.calls["now"]) == (4, 1)
    async with two:  # outside the block it is as before
        await two.backend.now()
    assert plan.calls["now"] == 1


def test_a_fault_that_cannot_be_is_refused() -> None:
    for wrong in (lambda: fail("close"), lambda: fail("clam"), lambda: fail("claim", at=0), lambda: late("claim", seconds=-1)):
        with pytest.raises(ConfigurationError):
            wrong()
