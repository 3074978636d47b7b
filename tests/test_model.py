"""Both backends and the model, side by side, through whatever hypothesis can think of, compared row by row.

A failure prints the steps that led to it. `QENGINE_HYPOTHESIS=shrink` looks for fewer steps that fail too, which takes
minutes; `QENGINE_HYPOTHESIS=long` does the same after many more examples, another set every time.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from model import Model
from msgspec.structs import replace as changed

from qengine.backends import open_backend
from qengine.backends.inspection import JobFilter
from qengine.backends.protocol import (
    BackendSettings,
    Claim,
    Demand,
    Enqueued,
    FailureGroup,
    Fire,
    Lease,
    QueueBackend,
    Reclaimed,
    Schedule,
    Settlement,
    Stats,
    WorkerInfo,
)
from qengine.errors import LeaseLost
from qengine.job import Job, JobError, NewJob, Status
from qengine.testing import FakeClock
from qengine.testing.clock import START

KIND = os.environ.get("QENGINE_HYPOTHESIS", "")
assert KIND in ("", "shrink", "long"), f"QENGINE_HYPOTHESIS={KIND}: write shrink or long"
LONG = KIND == "long"
PROFILE = settings(
    max_examples=500 if LONG else 40,
    stateful_step_count=200,
    derandomize=not LONG,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink] if KIND else [Phase.generate],
    print_blob=LONG,
    suppress_health_check=list(HealthCheck),
)
AGEING = 600.0
ENDED = (Status.COMPLETED, Status.CANCELLED, Status.DEAD)
MANY = 1_000
TYPES, QUEUES, WORKERS, KEYS = ("a", "b", "c"), ("default", "mail"), ("w-1", "w-2"), ("k", "m")

PAUSABLE = (("type", "a"), ("type", "mail"), ("queue", "mail"))


def rarely(given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """None, three times of four. (`one_of` counts a strategy once, however often it is named.)"""
    return st.sampled_from([False, False, False, True]).flatmap(lambda chosen: given if chosen else st.none())


# All times are multiples of 1/8 s, which floats and microseconds hold exactly.
seconds = st.sampled_from([0.0, 0.125, 1.0, 20.5, 60.0, 700.25, 5000.0])
some_types = st.sampled_from(TYPES)
payloads = st.sampled_from(["{}", '{"n": 1}', '{"b": [1.5, null], "a": "é"}'])
values = st.sampled_from(["1", '"x"', '{"page": [1]}', "false"])
errors = st.sampled_from(["ValueError: 1", "KeyError: x"])
new_jobs = st.builds(
    NewJob,
    some_types,
    payloads,
    queue=st.sampled_from(QUEUES),
    priority=st.sampled_from([1, 4, 5, 10]),
    delay=st.none() | seconds,
    max_attempts=st.integers(1, 3),
    timeout=st.none() | st.just(9.5),
    unique_key=st.none() | st.sampled_from(KEYS),
    partition_key=st.none() | st.just("p"),
    expires=st.none() | seconds,
    headers=st.none() | st.just('{"h": "1"}'),
)
filters = st.builds(
    JobFilter,
    status=rarely(st.lists(st.sampled_from(list(Status)), max_size=3)),
    type=rarely(some_types),
    queue=rarely(st.sampled_from(QUEUES)),
    error_group=rarely(errors),
    ended_before=rarely(st.sampled_from([0.0, 60.0, 1_000.0, 10_000.0]).map(lambda after: START + dt.timedelta(seconds=after))),
    text=rarely(st.sampled_from(["N", "\u00e9", "valueERROR", "%"])),
)
demands = st.builds(
    Demand,
    worker=st.sampled_from(WORKERS),
    types=st.dictionaries(some_types, st.integers(0, 4), max_size=3),
    limit=st.integers(0, 6),
    lease=st.sampled_from([20.0, 60.5]),
    queues=st.none() | st.lists(st.sampled_from(QUEUES), unique=True),
    suspects=st.sampled_from([False, False, True]),
)
workers = st.builds(
    WorkerInfo,
    id=st.sampled_from(WORKERS),
    host=st.just("h"),
    pid=st.integers(1, 9),
    version=st.just("1"),
    types=st.lists(some_types, unique=True).map(sorted),
    queues=st.none() | st.lists(st.sampled_from(QUEUES), min_size=1, unique=True).map(sorted),
    concurrency=st.just(4),
    running=st.integers(0, 4),
)


@dataclass
class Side:
    """One backend, and which of its ids stands for which of the model's: a sequence may leave numbers out."""

    name: str
    backend: QueueBackend
    real: dict[int, int] = field(default_factory=dict)
    known: dict[int, int] = field(default_factory=dict)

    def learn(self, known: int, real: int) -> None:
        assert self.real.setdefault(known, real) == real
        assert self.known.setdefault(real, known) == known

    def there(self, value: Any) -> Any:
        """With the backend's ids."""
        return _with_ids(value, lambda known: self.real.get(known, 10**9 + known))

    def back(self, value: Any) -> Any:
        """With the model's ids."""
        return _with_ids(value, lambda real: self.known[real])


def _with_ids(value: Any, of: Callable[[int], int]) -> Any:
    match value:
        case Lease() | Settlement() | Claim() | Enqueued() | Reclaimed():
            return value._replace(id=of(value.id))
        case Job():
            return changed(value, id=of(value.id))
        case JobError():
            return replace(value, job_id=of(value.job_id))
        case FailureGroup():
            return replace(value, sample=of(value.sample))
        case JobFilter(ids=list(ids)):
            return replace(value, ids=[of(job_id) for job_id in ids])
        case list():
            return [_with_ids(each, of) for each in value]
    return value


@dataclass
class World:
    """Where the backends live: one event loop and two databases for all examples."""

    runner: asyncio.Runner
    folder: Path
    postgres: str
    examples: int = 0

    def open(self, clock: FakeClock) -> list[Side]:
        """Fresh backends on empty databases."""
        self.examples += 1
        told = BackendSettings(clock, AGEING)
        sides = [
            Side("sqlite", open_backend(f"sqlite:///{self.folder / f'{self.examples}.db'}", told)),
            Side("postgres", open_backend(self.postgres, told)),
        ]
        for side in sides:
            self.runner.run(side.backend.open())
            self.runner.run(side.backend.migrate())
        self.runner.run(self._empty())
        return sides

    async def _empty(self) -> None:
        conn = await asyncpg.connect(self.postgres)
        names = ("jobs", "errors", "workers", "schedules", "fires", "pauses")
        await conn.execute(f"TRUNCATE {', '.join(f'qengine_{name}' for name in names)} RESTART IDENTITY")
        await conn.close()


class Machine(RuleBasedStateMachine):
    """Does everything three times, and looks whether the answers and the rows are the same."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.clock = FakeClock()
        self.model = Model(self.clock, AGEING)
        self.leases: list[Lease] = []
        self.sides = world.open(self.clock)

    def teardown(self) -> None:
        try:
            self.histories_are_the_same()
        finally:
            for side in self.sides:
                self.world.runner.run(side.backend.close())

    # -- doing the same everywhere

    def both(self, verb: str, *args: Any, learn: bool = False, unordered: bool = False, **named: Any) -> Any:
        """Call a verb of the model and of the backends; the answer, which must be the same."""
        expected = getattr(self.model, verb)(*args, **named)
        for side in self.sides:
            call = getattr(side.backend, verb)(*[side.there(arg) for arg in args], **{k: side.there(v) for k, v in named.items()})
            got = self.world.runner.run(call)
            if learn:
                self.learn(side, expected, got)
            found = side.back(got)
            if unordered:
                found, expected = sorted(found, key=repr), sorted(expected, key=repr)
            assert found == expected, f"{verb} on {side.name}"
        return expected

    def learn(self, side: Side, expected: Sequence[Any] | None, got: Sequence[Any] | None) -> None:
        """New ids, from the answers to an enqueue, where they must have grown."""
        for mine, theirs in zip(expected or [], got or [], strict=True):
            if isinstance(mine, Enqueued):
                assert mine.existed == theirs.existed, f"existed on {side.name}"
                mine, theirs = mine.id, theirs.id
            assert mine in side.real or theirs > max(side.known, default=0)
            side.learn(mine, theirs)

    def both_ids(self, verb: str, which: JobFilter, **how: float) -> None:
        """A verb of administration, on all that meet a filter."""
        expected = getattr(self.model, verb)(which, MANY, **how)
        for side in self.sides:
            got = self.world.runner.run(getattr(side.backend, verb)(side.there(which), MANY, **how))
            assert sorted(side.known[job_id] for job_id in got) == sorted(expected), f"{verb} on {side.name}"

    # -- the way of a job

    @rule(jobs=st.lists(new_jobs, max_size=5))
    def enqueue(self, jobs: list[NewJob]) -> None:
        self.both("enqueue", jobs, learn=True)

    @rule(job=new_jobs, back=seconds)
    def enqueue_at(self, job: NewJob, back: float) -> None:
        at = self.clock.now() - dt.timedelta(seconds=back)
        self.both("enqueue", [changed(job, delay=None, at=at, expires=at + dt.timedelta(seconds=60.5))], learn=True)

    @rule(demand=demands)
    def claim(self, demand: Demand) -> None:
        self.leases += [claim.lease for claim in self.both("claim", demand)]

    @rule(worker=st.sampled_from(WORKERS), limit=st.integers(1, 9), suspects=st.booleans())
    def claim_anything(self, worker: str, limit: int, suspects: bool) -> None:
        self.claim(Demand(worker, dict.fromkeys(TYPES, MANY), limit, 60.5, suspects=suspects))

    def some_leases(self, data: st.DataObject, most: int = 4) -> list[Lease]:
        """At most one a job: of those that hold, mostly, or of all that were ever given out."""
        held = [lease for lease in self.leases if self.model.held(lease)]
        among = st.sampled_from(self.leases)
        if held:
            among = rarely(among).flatmap(lambda any_: st.sampled_from(held) if any_ is None else st.just(any_))
        found = data.draw(st.lists(among, min_size=1, max_size=most, unique_by=lambda lease: lease.id))
        return list(found)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), worker=st.sampled_from(WORKERS))
    def settle(self, data: st.DataObject, worker: str) -> None:
        ends = [data.draw(endings(lease)) for lease in self.some_leases(data)]
        self.both("settle", ends, worker)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), lasting=seconds, progress=st.none() | st.just('{"done": 1}'), checkpoint=st.none() | values)
    def hold(self, data: st.DataObject, lasting: float, progress: str | None, checkpoint: str | None) -> None:
        self.both("extend", self.some_leases(data), lasting)
        for lease in self.some_leases(data, 1):
            self.both("save", lease, progress=progress, checkpoint=checkpoint)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), result=st.none() | values)
    def transaction(self, data: st.DataObject, result: str | None) -> None:
        for lease in self.some_leases(data, 1):
            expected = self.model.transaction(lease)
            for side in self.sides:
                assert self.world.runner.run(_committed(side.backend, side.there(lease))) == expected, side.name
            if result is not None and expected:
                self.both("store_result", Lease(lease.id, lease.token + 1), result)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), worker=st.sampled_from(WORKERS))
    def disown(self, data: st.DataObject, worker: str) -> None:
        self.both("disown", worker, self.some_leases(data))

    @rule(data=st.data(), limit=st.integers(1, 4), suspects=st.booleans(), worker=st.sampled_from(WORKERS))
    def run_some(self, data: st.DataObject, limit: int, suspects: bool, worker: str) -> None:
        """A worker's round: claim, save something, settle."""
        self.claim_anything(worker, limit, suspects)
        for lease in self.leases[-limit:]:
            if data.draw(st.booleans()):
                self.both(
                    "save",
                    lease,
                    progress=data.draw(st.none() | st.just('{"done": 2}')),
                    checkpoint=data.draw(st.none() | values),
                )
        ends = {lease.id: data.draw(endings(lease)) for lease in self.leases[-limit:]}
        self.both("settle", list(ends.values()), worker)

    @rule(limit=st.integers(1, 4), suspects=st.booleans(), max_crashes=st.integers(2, 4))
    def crash_some(self, limit: int, suspects: bool, max_crashes: int) -> None:
        """A worker's death: claim, and let the leases run out."""
        self.claim_anything("w-1", limit, suspects)
        self.clock.advance(61.0)
        self.reclaim(max_crashes)

    # -- upkeep

    @rule(by=st.sampled_from([0.125, 1.0, 10.0, 21.0, 61.0, 600.0, 5000.5]), lines_up=st.booleans())
    def time_passes(self, by: float, lines_up: bool) -> None:
        self.clock.advance(by)
        if lines_up:
            self.both("promote_due", MANY)

    @rule(max_crashes=st.integers(2, 4))
    def reclaim(self, max_crashes: int) -> None:
        self.both("reclaim", MANY, max_crashes=max_crashes, lease=60.5, unordered=True)

    @rule(after=st.sampled_from([0.0, 20.0, 600.0]), retention=st.dictionaries(st.sampled_from(ENDED), seconds, max_size=1))
    def maintain(self, after: float, retention: dict[Status, float]) -> None:
        self.both("bury_unknown", after, MANY)
        self.both("bury_expired", MANY)
        self.both("prune", retention, MANY)

    # -- administration

    @rule(which=filters, data=st.data(), verb=st.sampled_from(["requeue", "requeue", "cancel", "delete"]))
    def administer(self, which: JobFilter, data: st.DataObject, verb: str) -> None:
        by_id = st.lists(st.sampled_from(sorted(self.model.jobs) or [1]), max_size=4)
        # What is deleted is gone for the rest of the example: never all of it.
        self.both_ids(verb, replace(which, ids=data.draw(by_id if verb == "delete" else rarely(by_id))))

    @rule(which=filters, spacing=seconds, begin=seconds)
    def requeue_at_a_rate(self, which: JobFilter, spacing: float, begin: float) -> None:
        self.both_ids("requeue", which, spacing=spacing, begin=begin)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), payload=st.none() | payloads, priority=st.none() | st.sampled_from([1, 10]), due_now=st.booleans())
    def amend(self, data: st.DataObject, payload: str | None, priority: int | None, due_now: bool) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.model.jobs)))
        expected = self.model.amend(job_id, payload=payload, priority=priority, due_now=due_now)
        for side in self.sides:
            change = side.backend.amend(side.real[job_id], payload=payload, priority=priority, due_now=due_now)
            assert side.back(self.world.runner.run(change)) == expected, f"amend on {side.name}"

    @rule(what=st.sampled_from(PAUSABLE), ends=st.lists(seconds, min_size=1, max_size=2), without=rarely(st.just(True)))
    def pause(self, what: tuple[str, str], ends: list[float], without: bool | None) -> None:
        for until in [*ends, None] if without else ends:
            self.both("pause", *what, until)
        self.both("pauses", unordered=True)

    @rule(what=st.sampled_from(PAUSABLE))
    def resume(self, what: tuple[str, str]) -> None:
        self.both("resume", *what)

    # -- schedules and workers

    @rule(
        name=st.sampled_from(["s", "t"]),
        cron=st.sampled_from(["* * * * *", "0 * * * *"]),
        kind=some_types,
        count=st.integers(0, 3),
        job=new_jobs,
        stale=rarely(st.just(True)),
    )
    def schedule(self, name: str, cron: str, kind: str, count: int, job: NewJob, stale: bool | None) -> None:
        # The same few minutes again and again, so that schedules which are set back meet fire times that they have had.
        begins = START.replace(second=0)
        self.both("put_schedules", [Schedule(name, kind, cron, "UTC", "all", begins)])
        one = self.model.planned[name]
        minute = dt.timedelta(minutes=1)
        times = [one.next_fire + n * minute for n in range(count)]
        seen = one.next_fire - minute if stale else one.next_fire
        jobs = [changed(job, payload=json.dumps({"n": n}), unique_key=None) for n in range(count)]
        fire = Fire(one.name, seen, one.next_fire + max(count, 1) * minute, times, jobs)
        expected = self.model.fire(fire)
        for side in self.sides:
            got = self.world.runner.run(side.backend.fire(fire))
            assert (got is None) == (expected is None), f"fire on {side.name}"
            self.learn(side, expected, got)

    @rule(name=st.sampled_from(["s", "t"]), paused=st.booleans())
    def pause_schedule(self, name: str, paused: bool) -> None:
        self.both("pause_schedule", name, paused)

    @rule(worker=workers, leaves=st.booleans(), older=st.sampled_from([25.0, 5000.0]))
    def staff(self, worker: WorkerInfo, leaves: bool, older: float) -> None:
        self.both("heartbeat", worker)
        if leaves:
            self.both("retire", worker.id)
        self.both("forget_workers", older)

    # -- what must be the same at every moment

    @initialize()
    def begin_with_some_jobs(self) -> None:
        self.both("enqueue", [NewJob(name, unique_key=key) for name in TYPES for key in (None, "k")], learn=True)

    @invariant()
    def rows_are_the_same(self) -> None:
        expected = self.model.query(JobFilter())
        for side in self.sides:
            assert side.back(self.world.runner.run(side.backend.query(JobFilter(), limit=MANY))) == expected, side.name

    @invariant()
    def deadlines_are_the_same(self) -> None:
        self.both("next_deadline")

    @rule(which=filters)
    def readings_are_the_same(self, which: JobFilter) -> None:
        run = self.world.runner.run
        for side in self.sides:
            assert side.back(run(side.backend.query(which, limit=MANY))) == self.model.query(which), side.name
            assert _plain(run(side.backend.stats())) == self.model.stats(), side.name
            assert sorted(run(side.backend.unhandled())) == self.model.unhandled(), side.name
            groups = side.back(run(side.backend.failures(MANY)))
            assert sorted(groups, key=_group) == sorted(self.model.failures(), key=_group), side.name
            assert run(side.backend.schedules()) == self.model.schedules(), side.name
            found = [_listed(worker) for worker in run(side.backend.workers(30.0))]
            assert sorted(found, key=repr) == sorted(self.model.workers(30.0), key=repr), side.name

    @rule(which=filters, window=st.sampled_from([1, 4, MANY]), limit=st.sampled_from([1, 5, MANY]))
    def looks_are_the_same(self, which: JobFilter, window: int, limit: int) -> None:
        run = self.world.runner.run
        which = replace(which, ended_before=None)
        for side in self.sides:
            found = side.back(run(_searched(side.backend, which, window, limit)))
            assert found == self.model.query(which)[::-1], f"search on {side.name}"
        self.both("running", limit)
        self.both("ended_since", START, limit)
        self.both("oldest_due")

    def histories_are_the_same(self) -> None:
        for side in self.sides:
            for known, real in side.real.items():
                assert side.back(self.world.runner.run(side.backend.errors(real))) == self.model.errors(known), side.name


@st.composite
def endings(draw: st.DrawFn, lease: Lease) -> Settlement:
    """A way for a run to end that a worker can tell of."""
    error = draw(errors)
    told: dict[str, Any] = {
        "error": error,
        "error_group": error,
        "logged": True,
        "traceback": draw(st.none() | st.just("Traceback")),
    }
    match draw(
        st.sampled_from(["completed", "plain", "failed", "failed for nothing", "snoozed", "released", "dead", "cancelled"])
    ):
        case "completed":
            return Settlement(*lease, Status.COMPLETED, result=draw(values))
        case "plain":
            return Settlement(*lease, Status.COMPLETED)
        case "failed":
            return Settlement(*lease, Status.FAILED, delay=draw(seconds), **told)
        case "failed for nothing":
            return Settlement(*lease, Status.FAILED, delay=draw(seconds), spent=False, **told)
        case "snoozed":
            return Settlement(*lease, Status.PENDING, delay=draw(seconds), spent=False)
        case "released":
            return Settlement(*lease, Status.PENDING, spent=False, ended=False)
        case "dead":
            return Settlement(*lease, Status.DEAD, dead_reason=draw(st.sampled_from(["exhausted", "discarded"])), **told)
    return Settlement(*lease, Status.CANCELLED, error=draw(st.none() | errors))


async def _searched(backend: QueueBackend, which: JobFilter, window: int, limit: int) -> list[Job[Any]]:
    """All that a search finds, page by page."""
    found: list[Job[Any]] = []
    after = None
    while True:
        page = await backend.search(which, window=window, limit=limit, after=after)
        found += page.jobs
        after = page.after
        if after is None:
            return found


async def _committed(backend: QueueBackend, lease: Lease) -> bool:
    try:
        async with backend.transaction(lease):
            return True
    except LeaseLost:
        return False


def _plain(stats: Stats) -> Stats:
    def table(counts: Any) -> dict[str, dict[str, int]]:
        return {name: dict(row) for name, row in counts.items()}

    return replace(
        stats,
        by_status=dict(stats.by_status),
        by_type=table(stats.by_type),
        by_queue=table(stats.by_queue),
        avg_attempts=dict(stats.avg_attempts),
        unhandled=dict(stats.unhandled),
    )


def _listed(worker: WorkerInfo) -> WorkerInfo:
    return replace(worker, types=list(worker.types), queues=None if worker.queues is None else list(worker.queues))


def _group(group: FailureGroup) -> tuple[str, str]:
    return group.type, group.error


@pytest.fixture
def world(postgres_url: str, tmp_path: Path) -> Iterator[World]:
    with asyncio.Runner() as runner:
        yield World(runner, tmp_path, postgres_url)


def test_both_backends_are_as_the_model(world: World) -> None:
    run_state_machine_as_test(functools.partial(Machine, world), settings=PROFILE)  # type: ignore[no-untyped-call]
