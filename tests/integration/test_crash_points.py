"""Every call that an application and its workers make to the database fails once, hangs once, and loses its answer once.

A small scenario is run anew for each call that it makes; what must hold at its end does not depend on where the fault
struck. `QENGINE_CRASH_POINTS=all` strikes every single call of every verb, which takes some minutes for a
database; otherwise the first ones, and a few of the later ones.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import pytest
from tenacity import wait_fixed, wait_random

from qengine import BackendUnavailable, Cancel, Discard, Engine, Job, JobContext, RetryAfter, Snooze
from qengine.testing import FakeClock
from qengine.testing.faults import Fault, Plan, fail, hang, injected, late, lose_reply
from qengine.worker.cron import CronLoop

pytestmark = pytest.mark.anyio
T = TypeVar("T")

LEASE = 0.8
HANG = 1.2 * LEASE
"""Longer than a lease: what the holder hears too late is no longer his."""
AT_ONCE = {"sqlite": 10, "postgresql": 7}
"""Scenarios that run side by side; they wait more than they work, but a server has only so many connections to give."""
EVERY_CALL = os.environ.get("QENGINE_CRASH_POINTS") == "all"
FIRST_CALLS = (1, 2, 4)
KINDS: dict[str, Callable[[str, int], Fault]] = {
    "fail": fail,
    "hang": partial(hang, seconds=HANG),
    "late": partial(late, seconds=HANG),
    "lose_reply": lose_reply,
}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qengine.worker.supervisor.OUTAGE_WAIT", wait_random(0.01, 0.05))
    monkeypatch.setattr("qengine.worker.maintenance.LOOK_AGAIN", 0.5)
    monkeypatch.setattr("qengine.worker.fetcher.LOOK_AGAIN", {True: 0.5, False: 0.5})


async def insist(act: Callable[[], Awaitable[T]]) -> T:
    """What a caller does who wants it done: again, until it is acknowledged."""
    while True:
        try:
            return await act()
        except BackendUnavailable:
            await asyncio.sleep(0.01)


@dataclass
class Ledger:
    """What the handlers did, in this process."""

    runs: Counter[int] = field(default_factory=Counter)
    mended: bool = False
    slow: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Place:
    """Where one scenario happens."""

    url: str
    driver_url: str
    effects: str
    """A table of the application's."""


def shop(place: Place, ledger: Ledger) -> Engine:
    engine = Engine(place.url, lease=LEASE, retry=wait_fixed(0.02), max_attempts=6, max_crashes=9, unknown_type_after=3600)

    @engine.task()
    async def plain(n: int) -> int:
        return n

    @engine.task()
    async def flaky(ctx: JobContext) -> str:
        if ctx.attempt == 1:
            raise ConnectionError("the first time")
        return "at last"

    @engine.task(max_attempts=2)
    async def hopeless(ctx: JobContext) -> str:
        ledger.runs[ctx.job.id] += 1
        if not ledger.mended:
            raise ValueError("never")
        return "mended"

    @engine.task()
    async def sleepy(ctx: JobContext) -> int:
        ledger.runs[ctx.job.id] += 1
        if ledger.runs[ctx.job.id] == 1:
            raise Snooze(0.05)
        return ctx.attempt

    @engine.task()
    async def limited(ctx: JobContext) -> int:
        ledger.runs[ctx.job.id] += 1
        if ledger.runs[ctx.job.id] == 1:
            raise RetryAfter(0.05, pause_type=True)
        return ctx.attempt

    @engine.task()
    async def counted(ctx: JobContext) -> str:
        async with ctx.transaction() as tx:
            await tx.execute(f"INSERT INTO {place.effects} VALUES ('counted', {ctx.job.id})")
            await plain.options(conn=tx, priority=9).enqueue(n=-ctx.job.id)
        return "counted"

    @engine.task()
    async def slow(ctx: JobContext) -> list[int]:
        pages: list[int] = ctx.checkpointed or []
        for page in range(len(pages), 5):
            ledger.slow.set()
            await asyncio.sleep(0.15)
            pages.append(page)
            await ctx.checkpoint(pages)
        await ctx.extend()
        return pages

    @engine.task()
    async def picky() -> None:
        raise Discard("not this one")

    @engine.task()
    async def unwanted() -> None:
        raise Cancel("no longer")

    @engine.task()
    async def ordered(n: int) -> int:
        return n

    return engine


@dataclass
class Orders:
    """The jobs whose enqueue was acknowledged."""

    plain: list[Job[Any]]
    flaky: Job[Any]
    hopeless: Job[Any]
    sleepy: Job[Any]
    limited: list[Job[Any]]
    counted: list[Job[Any]]
    slow: Job[Any]
    picky: Job[Any]
    unwanted: Job[Any]
    keyed: list[Job[Any]]
    ordered: Job[Any]
    far: Job[Any]
    late: Job[Any]
    deleted: Job[Any]


async def place_orders(engine: Engine, conn: Any, place: Place) -> Orders:
    def put(name: str, payload: dict[str, Any] | None = None, **options: Any) -> Awaitable[Job[Any]]:
        return insist(lambda: engine.enqueue(name, payload, **options))

    task = engine.registry.get("plain")
    return Orders(
        plain=[await put("plain", {"n": 1}), *await insist(lambda: task.enqueue_many([{"n": n} for n in (2, 3)]))],
        flaky=await put("flaky"),
        hopeless=await put("hopeless"),
        sleepy=await put("sleepy"),
        limited=[await put("limited") for _ in range(2)],
        counted=[await put("counted") for _ in range(2)],
        slow=await put("slow", priority=1),
        picky=await put("picky"),
        unwanted=await put("unwanted"),
        keyed=[await put("plain", {"n": 0}, unique_key="once", delay=0.1) for _ in range(2)],
        ordered=await insist(lambda: order(engine, conn, place)),
        far=await put("plain", {"n": 7}, delay=3600, unique_key="far"),  # else a lost answer leaves a second
        late=await put("plain", {"n": 8}, delay=0.05, expires=0.001),
        deleted=await put("plain", {"n": 9}, delay=3600, unique_key="deleted"),
    )


async def order(engine: Engine, conn: Any, place: Place) -> Job[Any]:
    """A row and a job in one transaction of the application's own."""
    await conn.execute("BEGIN")
    try:
        await conn.execute(f"INSERT INTO {place.effects} VALUES ('ordered', 0)")
        job = await engine.enqueue("ordered", {"n": 5}, conn=conn)
    except BaseException:
        await conn.execute("ROLLBACK")
        raise
    await conn.execute("COMMIT")
    return job


async def desk_work(engine: Engine, watcher: Engine, orders: Orders, ledger: Ledger) -> None:
    """What an operator does meanwhile."""
    await insist(lambda: engine.cancel(orders.far.id))
    await insist(lambda: engine.delete(orders.deleted.id))
    await insist(lambda: engine.pause(queue="elsewhere", until=60))
    await insist(lambda: engine.resume(queue="elsewhere"))
    async with asyncio.timeout(30):
        while (await watcher.job(orders.hopeless.id)).status != "dead":
            await asyncio.sleep(0.02)
    ledger.mended = True
    await insist(lambda: engine.requeue(orders.hopeless.id))
    for look in (engine.stats, engine.failures, engine.pauses, engine.workers, engine.schedules, engine.jobs):
        await insist(look)  # type: ignore[arg-type]
    assert len(await insist(lambda: engine.errors(orders.hopeless.id))) >= 2


async def scenario(place: Place, plan: Plan) -> None:
    """Two engines with a worker each, the first of which stops half-way; `plan` is what goes wrong for both."""
    ledger = Ledger()
    one, two, watcher = shop(place, ledger), shop(place, ledger), Engine(place.url)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(watcher)
        conn = await stack.enter_async_context(application(place))
        await conn.execute(f"CREATE TABLE {place.effects} (what text, job bigint)")
        for engine in (one, two):
            stack.enter_context(injected(engine, plan=plan))
            await insist(engine.open)
            stack.push_async_callback(engine.close)
        orders = await place_orders(one, conn, place)
        async with two.worker(concurrency=4, grace=5):
            async with one.worker(concurrency=4, grace=0):
                desk = asyncio.create_task(desk_work(one, watcher, orders, ledger))
                async with asyncio.timeout(20):
                    await ledger.slow.wait()
                await asyncio.sleep(0.1)
            await desk
            async with asyncio.timeout(30):
                while await unfinished(watcher):
                    await asyncio.sleep(0.05)
        await check(watcher, conn, orders, place)


async def unfinished(watcher: Engine) -> int:
    counts = (await watcher.stats()).by_status
    return counts["pending"] + counts["processing"] + counts["failed"]


async def check(watcher: Engine, conn: Any, orders: Orders, place: Place) -> None:
    async def ends(*jobs: Job[Any], status: str = "completed", results: tuple[Any, ...] = (None,)) -> None:
        for job in jobs:
            found = await watcher.job(job.id)
            assert (found.status, found.locked_by, found.locked_until, found.rank) == (status, None, None, None), found
            assert 0 <= found.attempts <= found.max_attempts, found
            assert found.result in results, found

    for job, n in zip(orders.plain, (1, 2, 3), strict=True):
        await ends(job, results=(n,))
    await ends(orders.flaky, results=("at last",))
    await ends(orders.hopeless, results=("mended",))
    await ends(orders.sleepy, *orders.limited, results=(1,))
    # The result of a completed transaction is stored separately, and may be lost.
    await ends(*orders.counted, results=("counted", None))
    await ends(orders.slow, results=([0, 1, 2, 3, 4],))
    await ends(orders.picky, status="dead")
    await ends(orders.unwanted, orders.far, status="cancelled")
    await ends(orders.ordered, results=(5,))
    await ends(orders.late, status="dead")
    assert (await watcher.job(orders.late.id)).dead_reason == "expired"
    assert (await watcher.job(orders.picky.id)).dead_reason == "discarded"

    jobs = await watcher.jobs(limit=1000)
    assert orders.deleted.id not in {job.id for job in jobs}
    assert {job.status for job in jobs} <= {"completed", "dead", "cancelled"}
    assert {job.id for job in jobs if job.unique_key == "once"} == {job.id for job in orders.keyed}
    assert orders.keyed[0].id == orders.keyed[1].id
    effects = Counter((row[0], row[1]) for row in await fetched(conn, f"SELECT what, job FROM {place.effects}"))
    counted = [job.id for job in jobs if job.type == "counted"]
    assert effects == {("ordered", 0): 1, **{("counted", job_id): 1 for job_id in counted}}
    assert [job.id for job in jobs if job.type == "ordered"] == [orders.ordered.id]
    children = Counter(-job.payload["n"] for job in jobs if job.type == "plain" and job.payload["n"] < 0)
    assert children == dict.fromkeys(counted, 1)


@asynccontextmanager
async def application(place: Place) -> AsyncIterator[Any]:
    if place.url.startswith("sqlite"):
        import aiosqlite

        async with aiosqlite.connect(place.driver_url, isolation_level=None, timeout=20) as conn:
            yield conn
    else:
        import asyncpg

        conn = await asyncpg.connect(place.driver_url)
        try:
            yield conn
        finally:
            await conn.close()


async def fetched(conn: Any, sql: str) -> list[Any]:
    return list(await (conn.fetch if hasattr(conn, "fetch") else conn.execute_fetchall)(sql))


def places(url: str) -> Iterator[Place]:
    """For each scenario a file, or a schema."""
    for n in itertools.count():
        if url.startswith("sqlite"):
            path = url.removeprefix("sqlite:///").replace("queue.db", f"queue-{n}.db")
            yield Place(f"sqlite:///{path}", path, "effects")
        else:
            yield Place(f"{url}{'&' if '?' in url else '?'}pool_size=1&schema=place_{n}", url, f"effects_{n}")


def crash_points(kind: str, calls: Counter[str]) -> list[Fault]:
    """The calls to strike, given how many of each verb the scenario makes."""
    if EVERY_CALL:
        chosen = [(verb, at) for verb, count in calls.items() for at in range(1, count + 1)]
    elif kind == "lose_reply":
        chosen = [(verb, at) for verb, count in calls.items() for at in FIRST_CALLS if at <= count]
    else:
        # What a person does once by hand may fail; that it takes long is nothing to the others.
        chosen = [(verb, 1) for verb, count in calls.items() if kind == "fail" or count > 1]
    return [KINDS[kind](verb, at) for verb, at in sorted(chosen)]


@pytest.mark.parametrize("kind", KINDS)
async def test_wherever_a_call_goes_wrong_all_ends_well(url: str, kind: str) -> None:
    somewhere = places(url)
    trial = Plan()
    await scenario(next(somewhere), trial)
    faults = crash_points(kind, trial.calls)
    failures: list[str] = []
    missed: list[Fault] = []
    side_by_side = asyncio.Semaphore(AT_ONCE[url.partition("://")[0]])

    async def strike(fault: Fault) -> None:
        async with side_by_side:
            plan = Plan(fault)
            try:
                await scenario(next(somewhere), plan)
            except Exception as error:
                failures.append(f"{fault.kind} at call {fault.at} of {fault.verb}: {error!r:.2000}")
            if not plan.struck:
                missed.append(fault)

    async with asyncio.TaskGroup() as group:
        for fault in faults:
            group.create_task(strike(fault))
    assert not failures, "\n".join(failures)
    # How often the loops come round differs a little from run to run; nearly all faults must have struck.
    assert len(missed) <= len(faults) // 5, missed


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("kind", ["fail", "lose_reply"])
@pytest.mark.parametrize("verb", ["now", "put_schedules", "schedules", "fire"])
async def test_wherever_firing_goes_wrong_each_fire_happens_once(url: str, verb: str, kind: str, at: int) -> None:
    clock = FakeClock(dt.datetime(2040, 1, 2, 12, 30, tzinfo=dt.UTC))
    engine = Engine(url, clock=clock)

    @engine.cron("0 * * * *", catch_up="all")
    @engine.task()
    async def hourly() -> None: ...

    with injected(engine, KINDS[kind](verb, at)) as plan:
        async with engine:
            loops = [CronLoop(engine.backend, engine.registry, engine.registry.names) for _ in range(2)]
            for _ in range(4):
                for loop in loops:
                    await insist(loop.round)
                clock.advance(3600)
            assert [job.scheduled_for.hour for job in await engine.jobs() if job.scheduled_for is not None] == [13, 14, 15]
    assert plan.struck
