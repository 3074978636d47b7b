"""The parts of a worker, one at a time and without a database: what they do when something is odd."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, cast

import pytest

from qengine import BackendUnavailable, Engine, JobContext, RetryAfter, Snooze, Status
from qengine.backends.protocol import Claim, Lease, Settlement
from qengine.worker import Rules, supervisor, watch
from qengine.worker.bench import Bench
from qengine.worker.contact import Contact
from qengine.worker.instrument import observed
from qengine.worker.lease import LeaseKeeper
from qengine.worker.loops import Loops
from qengine.worker.run import Run, Stop
from qengine.worker.runner import Runner
from qengine.worker.settler import Settler
from qengine.worker.supervisor import supervise
from qengine.worker.watch import Watch

pytestmark = pytest.mark.anyio

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def run(job_id: int = 1, token: int = 1, task: Any = None) -> Run:
    claim = Claim(job_id, token, "mail", "default", 5, "{}", 1, 3, 0, None, NOW, NOW, None, False, None, None, None, None)
    now = time.monotonic()
    return Run(claim, task, now, now)


def completed(job_id: int = 1) -> Settlement:
    return Settlement(job_id, 1, Status.COMPLETED)


# -- the settler


class Desk:
    """A backend that settles as it is told to."""

    def __init__(self) -> None:
        self.written: list[list[int]] = []
        self.refused: set[int] = set()
        self.lost: set[int] = set()
        self.failures = 0
        self.after_failing: set[int] = set()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def settle(self, settlements: Sequence[Settlement], worker: str) -> list[Lease]:
        await self.go_on.wait()
        if self.failures:
            self.failures -= 1
            self.lost |= self.after_failing
            raise BackendUnavailable("away")
        if self.refused & {settlement.id for settlement in settlements}:
            raise ValueError("cannot be stored")
        self.written.append([settlement.id for settlement in settlements])
        return [Lease(settlement.id, settlement.token) for settlement in settlements if settlement.id in self.lost]


class Told:
    """What a settler told of what it wrote."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.gone: set[int] = set()

    def __call__(self, written: Sequence[Settlement], runs: Sequence[Run], gone: set[int]) -> None:
        assert [settlement.id for settlement in written] == [found.claim.id for found in runs]
        self.runs += [found.claim.id for found in runs]
        self.gone |= gone


@contextlib.asynccontextmanager
async def settling(desk: Desk, told: Told, bound: int = 1_000) -> AsyncIterator[Settler]:
    settler = Settler(cast("Any", desk), "w", Contact(), bound=bound, settled=told)
    task = asyncio.create_task(settler.run())
    yield settler
    task.cancel()
    await asyncio.wait([task])


async def test_one_that_cannot_be_written_holds_up_no_other_and_counts_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    desk, told = Desk(), Told()
    desk.refused = {5}
    async with settling(desk, told) as settler:
        for job_id in range(8):
            settler.put(completed(job_id), run(job_id))
        await settler.flush()
    assert sorted(id for batch in desk.written for id in batch) == [0, 1, 2, 3, 4, 6, 7]
    assert told.runs == list(range(8))
    assert told.gone == {5}
    (record,) = (record for record in caplog.records if record.exc_info)
    fields: Any = record
    assert (fields.job_id, fields.type, fields.attempt, fields.worker) == (5, "mail", 1, "w")


async def test_leases_that_were_gone_are_told(caplog: pytest.LogCaptureFixture) -> None:
    desk, told = Desk(), Told()
    desk.lost = {2}
    async with settling(desk, told) as settler:
        for job_id in range(4):
            settler.put(completed(job_id), run(job_id))
        await settler.flush()
    assert told.gone == {2}
    assert "1 of 4 jobs were no longer ours" in caplog.text


async def test_what_a_lost_answer_may_have_written_does_not_count_as_lost() -> None:
    desk, told = Desk(), Told()
    desk.failures, desk.after_failing = 1, {2}
    async with settling(desk, told) as settler:
        for job_id in range(4):
            settler.put(completed(job_id), run(job_id))
        await settler.flush()
    assert (told.runs, told.gone) == ([0, 1, 2, 3], set())


async def test_slots_wait_when_too_much_is_not_durable_yet() -> None:
    desk, told = Desk(), Told()
    desk.go_on.clear()
    async with settling(desk, told, bound=3) as settler:
        for job_id in range(3):
            settler.put(completed(job_id), run(job_id))
        assert settler.full
        waiting = asyncio.create_task(settler.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        desk.go_on.set()
        await waiting
        assert not settler.full
    assert told.runs == [0, 1, 2]


async def test_what_was_being_written_when_the_loop_broke_is_written_by_the_next() -> None:
    desk, told = Desk(), Told()
    desk.go_on.clear()
    settler = Settler(cast("Any", desk), "w", Contact(), bound=9, settled=told)
    settler.put(completed(1), run(1))
    task = asyncio.create_task(settler.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    desk.go_on.set()
    again = asyncio.create_task(settler.run())
    await settler.flush()
    again.cancel()
    assert told.runs == [1]


# -- the bench


class Bottomless:
    """A settler that is full for a while."""

    def __init__(self) -> None:
        self.full = False
        self.waited = 0

    async def room(self) -> None:
        self.waited += 1
        self.full = False


def bench(
    work: Callable[[Run], Awaitable[None]], concurrency: int = 1, settler: Any = None, prefetch: int | None = None
) -> Bench:
    made = Bench(concurrency, prefetch, work, settler or Bottomless())
    made.start()
    return made


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_a_slot_waits_for_room_before_it_takes_the_next_job() -> None:
    settler = Bottomless()

    async def work(found: Run) -> None:
        settler.full = True

    made = bench(work, settler=settler)
    made.give([run(1), run(2)])
    await until(lambda: settler.waited == 2)
    assert made.held == 0
    await made.close(1)


async def test_a_slot_lets_the_event_loop_turn_between_short_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qengine.worker.bench.RUN_ON", 0.0)
    turns: list[int] = []
    ended: list[int] = []

    async def work(found: Run) -> None:
        ended.append(found.claim.id)

    async def count() -> None:
        while True:
            turns.append(len(ended))
            await asyncio.sleep(0)

    made = bench(work, prefetch=0)
    counting = asyncio.create_task(count())
    made.give([run(n) for n in range(20)])
    await until(lambda: len(ended) == 20)
    counting.cancel()
    assert {5, 10, 15} <= set(turns)
    assert all(found.started for found in made.running.values())
    await made.close(1)


async def test_all_slots_are_at_work_within_a_few_turns() -> None:
    go_on = asyncio.Event()

    async def work(found: Run) -> None:
        await go_on.wait()

    made = bench(work, concurrency=100)
    await until(lambda: len(made._idle) == 100)
    made.give([run(n) for n in range(150)])
    for _ in range(10):
        await asyncio.sleep(0)
    assert (len(made.running), made.buffered) == (100, 50)
    go_on.set()
    await until(lambda: made.held == 0)
    await made.close(1)


async def test_few_slots_are_woken_for_jobs_that_end_at_once() -> None:
    async def work(found: Run) -> None:
        pass

    made = bench(work, concurrency=100)
    await until(lambda: len(made._idle) == 100)
    asleep = list(made._idle)
    made.give([run(n) for n in range(50)])
    await until(lambda: made.held == 0)
    assert sum(slot.done() for slot in asleep) <= 3
    await made.close(1)


async def test_a_job_is_given_to_no_slot_that_has_gone() -> None:
    ended: list[int] = []

    async def work(found: Run) -> None:
        ended.append(found.claim.id)

    made = bench(work, concurrency=2)
    await until(lambda: len(made._idle) == 2)
    for slot in list(made._slots)[:1]:
        slot.cancel()
    await until(lambda: len(made._slots) == 1)
    made.give([run(1), run(2)])
    await until(lambda: len(ended) == 2)
    await made.close(1)


async def test_a_job_is_taken_out_by_its_lease_and_by_no_other() -> None:
    go_on = asyncio.Event()

    async def work(found: Run) -> None:
        await go_on.wait()

    made = bench(work)
    made.give([run(1, 7), run(2, 7), run(3, 7)])
    await until(lambda: made.running)
    assert made.take_out(Lease(1, 6)) is None  # an older claim's
    assert made.take_out(Lease(3, 6)) is None
    running, buffered = made.take_out(Lease(1, 7)), made.take_out(Lease(3, 7))
    assert running is not None
    assert buffered is not None
    assert (running.claim.id, buffered.claim.id, made.held, made.buffered) == (1, 3, 2, 1)
    go_on.set()
    await made.close(1)


async def test_a_handler_that_is_left_behind_leaves_its_slot_to_another_unless_all_ends() -> None:
    go_on = asyncio.Event()
    ended: list[int] = []

    async def work(found: Run) -> None:
        if found.claim.id == 1:
            await go_on.wait()
        ended.append(found.claim.id)

    made = bench(work)
    stuck = run(1)
    made.give([stuck, run(2)])
    await until(lambda: made.running)
    made.let_go(stuck)
    await until(lambda: ended == [2])
    assert made.held == 0
    other = run(3)
    made.give([other])
    await until(lambda: ended == [2, 3])
    await made.close(0.01)
    made.let_go(run(4))
    assert made.held == -1  # it was never given
    go_on.set()


async def test_a_bench_without_slots_is_closed_at_once() -> None:
    made = Bench(1, None, cast("Any", None), cast("Any", Bottomless()))
    await made.close(1)
    assert made.room() == 1


# -- the watch


async def test_the_watch_looks_at_deadlines_handlers_that_ignore_and_what_waits_too_long() -> None:
    ignored: list[Run] = []
    stale: list[Run] = []

    class Seats:
        held = 4

        def __init__(self, *runs: Run) -> None:
            self.running = {found.claim.id: found for found in runs}

        def take_back(self, older_than: float) -> list[Run]:
            return [old]

    late, deaf, patient, old = run(1), run(2), run(3), run(4)
    now = time.monotonic()
    late.deadline = now - 1
    deaf.stop, deaf.stopped_at = Stop.TIMEOUT, now - watch.PATIENCE - 1
    patient.stop, patient.stopped_at = Stop.TIMEOUT, now
    looking = Watch(cast("Any", Seats(late, deaf, patient)), ignored=ignored.append, stale=stale.extend)
    assert looking._look() >= watch.FINE
    assert late.stop is Stop.TIMEOUT
    assert (ignored, stale) == ([deaf], [old])


def test_the_first_reason_to_stop_stands_but_for_a_lost_lease() -> None:
    found = run()
    found.cancel(Stop.TIMEOUT, 1.0)
    found.cancel(Stop.SHUTDOWN, 2.0)
    assert (found.stop, found.stopped_at) == (Stop.TIMEOUT, 1.0)
    found.cancel(Stop.LOST, 3.0)
    assert (found.stop, found.stopped_at) == (Stop.LOST, 1.0)


# -- the supervisor


class Loop:
    """Fails as often as it is told to, then ends."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self) -> None:
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "OUTAGE_WAIT", lambda state: 0.0)


@pytest.mark.usefixtures("hasty")
async def test_a_loop_that_ran_well_for_long_begins_to_count_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    many = 2 * supervisor.FAILURES_IN_A_ROW
    monkeypatch.setattr(supervisor, "HEALTHY_AFTER", -1.0)
    await supervise("loop", Loop(*[ValueError("broken")] * many), Contact())
    assert caplog.text.count("is restarted") == many
    caplog.clear()
    await supervise("loop", Loop(*[BackendUnavailable("away")] * many), Contact())
    assert caplog.text.count("the database is away") == many  # each is a new outage


@pytest.mark.usefixtures("hasty")
async def test_an_outage_is_told_once_and_waited_out_however_long(caplog: pytest.LogCaptureFixture) -> None:
    contact = Contact()
    await supervise("loop", Loop(*[BackendUnavailable("away")] * 50), contact)
    assert len(caplog.records) == 1
    assert not contact.whole_for(60)


@pytest.mark.usefixtures("hasty")
async def test_a_loop_that_cannot_recover_raises_its_error(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="broken"):
        await supervise("loop", Loop(*[ValueError("broken")] * 99), Contact())
    assert caplog.records[-1].levelno == logging.CRITICAL


# -- the loops


@pytest.mark.usefixtures("hasty")
async def test_loops_end_when_one_that_is_to_last_is_over_or_one_fails() -> None:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    loops = Loops(Contact())
    assert not loops
    loops.start({"settling": for_ever, "fetching": Loop(), "retention": Loop(*[ValueError("broken")] * 99)})
    assert loops
    never = asyncio.Event()
    await loops.until_an_end(never.wait())
    assert loops.alive(stopping=False) == {"settling": True, "fetching": True, "retention": False}
    await loops.end("settling", within=0.01)
    await asyncio.sleep(0)
    assert loops.alive(stopping=False)["settling"] is False
    assert loops.alive(stopping=True)["settling"] is True
    error = await loops.end_all()
    assert isinstance(error, ValueError)
    assert not loops


async def test_loops_that_may_end_end_nothing() -> None:
    loops = Loops(Contact())
    loops.start({"fetching": Loop(), "schedules": Loop()})
    await loops.until_an_end()
    assert await loops.end_all() is None


# -- the lease keeper


class Renewals:
    """A backend that extends, and tells of it."""

    def __init__(self) -> None:
        self.extended: list[list[Lease]] = []
        self.errors: list[Exception] = []
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1
        if self.errors:
            raise self.errors.pop(0)

    async def close(self) -> None:
        self.closed += 1

    async def extend(self, leases: Sequence[Lease], seconds: float) -> list[Lease]:
        self.extended.append(list(leases))
        return [Lease(2, 1)] if len(leases) > 1 else []


def keeper(backend: Renewals, lost: list[Lease] | None = None, lease: float = 3600.0) -> LeaseKeeper:
    found: list[Lease] = [] if lost is None else lost
    return LeaseKeeper(cast("Any", backend), worker="w", lease=lease, contact=Contact(), lost=found.extend)


async def test_a_renewal_is_noted_and_what_is_lost_is_told() -> None:
    backend, lost = Renewals(), list[Lease]()
    keeping = keeper(backend, lost)
    one, two, over = run(1), run(2), run(3)
    over.renew_until = -math.inf
    before = one.renewed
    keeping.hold([one, two, over])
    keeping.start()
    assert keeping.alive
    while not lost:
        keeping.nudge()
        await asyncio.sleep(0.01)
    assert backend.extended[0] == [Lease(1, 1), Lease(2, 1)]
    assert one.renewed > before
    keeping.forget([Lease(1, 9), Lease(2, 1), Lease(3, 1), Lease(4, 1)])
    assert keeping.held() == [Lease(1, 1)]
    await keeping.stop()
    assert not keeping.alive
    keeping.nudge()  # nobody is there, and nothing happens
    await keeping.stop()
    assert backend.closed >= 1


async def test_a_keeper_that_fails_is_restarted(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    backend, lost = Renewals(), list[Lease]()
    backend.errors = [ValueError("broken")]
    keeping = keeper(backend, lost)
    monkeypatch.setattr(keeping._stopped, "wait", lambda timeout: None)
    keeping.hold([run(1), run(2)])
    keeping.start()
    while not lost:
        keeping.nudge()
        await asyncio.sleep(0.01)
    await keeping.stop()
    assert "the lease keeper failed and is restarted" in caplog.text


async def test_leases_wait_for_the_database_to_come_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "OUTAGE_WAIT", lambda state: 0.01)
    backend, lost = Renewals(), list[Lease]()
    backend.errors = [BackendUnavailable("away"), BackendUnavailable("away")]
    keeping = keeper(backend, lost, lease=0.3)
    keeping.hold([run(1), run(2)])
    keeping.start()
    while not lost:
        await asyncio.sleep(0.01)
    await keeping.stop()
    assert caplog.text.count("leases cannot be extended") == 1


async def test_a_loop_that_is_blocked_by_no_handler_is_told_as_such(caplog: pytest.LogCaptureFixture) -> None:
    keeping = keeper(Renewals())
    keeping.hold([run(1)])
    keeping._answered = time.monotonic() - 60
    keeping._watch_host()
    keeping._watch_host()
    assert caplog.text.count("by something other than a handler") == 1
    fields: Any = caplog.records[0]
    assert fields.worker == "w"
    await asyncio.sleep(0)  # the loop answers
    assert not keeping._warned


async def test_when_the_workers_loop_is_gone_the_keeper_ends() -> None:
    keeping = keeper(Renewals())
    keeping._host = asyncio.new_event_loop()
    keeping._host.close()
    keeping._tell_host(lambda: None)
    assert keeping._stopped.is_set()
    ended = asyncio.new_event_loop()
    ended.close()
    keeping._loop = ended
    keeping.nudge()  # its own loop has just ended: nothing happens


# -- the runner and an instrument


class Stored:
    """A backend as far as a run needs one."""

    def __init__(self, *, stores: bool | Exception = True) -> None:
        self._stores = stores

    @contextlib.asynccontextmanager
    async def transaction(self, lease: Lease) -> AsyncIterator[None]:
        yield None

    async def store_result(self, lease: Lease, result: str) -> bool:
        if isinstance(self._stores, Exception):
            raise self._stores
        return self._stores

    async def pause(self, kind: str, name: str, seconds: float) -> None:
        raise BackendUnavailable("away")


async def settled_by(handler: Callable[..., Any], backend: Stored) -> Settlement | None:
    engine = Engine("sqlite:///never-opened.db")
    task = engine.task("mail")(handler)
    runner = Runner(
        cast("Any", backend),
        Rules(),
        worker="w",
        engine=engine,
        concurrency=1,
        started=lambda found: None,
        paused=lambda: None,
    )
    found = run(task=task)
    found.slot = asyncio.current_task()
    return await runner.run(found)


@pytest.mark.parametrize(
    ("end", "stores", "says"),
    [
        ("value", True, None),
        ("value", False, "was taken up again before its result was stored"),
        ("value", BackendUnavailable("away"), "its result could not be stored"),
        ("unstorable", True, "its result cannot be stored"),
        ("signal", True, "after its transaction had completed it"),
        ("error", True, "failed after its transaction had completed it"),
    ],
)
async def test_what_comes_after_a_transaction_changes_nothing(
    end: str, stores: Any, says: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def mail(ctx: JobContext) -> Any:
        async with ctx.transaction():
            pass
        match end:
            case "unstorable":
                return object()
            case "signal":
                raise Snooze(1)
            case "error":
                raise ValueError("too late")
        return 7

    assert await settled_by(mail, Stored(stores=stores)) is None
    assert [says in record.getMessage() for record in caplog.records if says] == ([True] if says else [])
    assert all((record.job_id, record.worker) == (1, "w") for record in caplog.records)  # type: ignore[attr-defined]


async def test_a_type_that_cannot_be_paused_waits_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def mail() -> None:
        raise RetryAfter(5, pause_type=True)

    settlement = await settled_by(mail, Stored())
    assert settlement is not None
    assert (settlement.status, settlement.delay, settlement.spent) == (Status.PENDING, 5, False)
    assert "could not be paused" in caplog.text


async def test_a_slot_that_is_cancelled_from_outside_ends_with_its_run() -> None:
    begun = asyncio.Event()

    async def mail() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def slot() -> None:
        await settled_by(mail, Stored())

    task = asyncio.create_task(slot())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


class Recorder:
    """An instrument that remembers."""

    def __init__(self) -> None:
        self.ends: list[Any] = []

    @contextlib.contextmanager
    def running(self, claim: Claim, worker: str) -> Any:
        yield lambda *told: self.ends.append((claim.id, worker, *told))


@pytest.mark.parametrize(
    ("settlement", "told"),
    [
        (None, (1, "w", "lease_lost", None, None)),
        (completed(), (1, "w", "completed", None, None)),
        (Settlement(1, 1, Status.DEAD, error="no", traceback="…"), (1, "w", "dead", "no", "…")),
    ],
)
async def test_an_instrument_is_told_how_a_run_ends(settlement: Settlement | None, told: Any) -> None:
    recorder = Recorder()

    async def run_job(found: Run) -> Settlement | None:
        return settlement

    assert await observed(cast("Any", recorder), "w", run_job)(run()) is settlement
    assert recorder.ends == [told]
