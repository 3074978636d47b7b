"""The worker: wires its parts together, starts them, and ends them in the right order."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import anyio

from qengine.backends.protocol import Lease, QueueBackend, Settlement, WorkerInfo
from qengine.errors import BackendUnavailable
from qengine.events import Dispatcher
from qengine.registry import Registry
from qengine.worker.activity import ActivityLog
from qengine.worker.bench import Bench
from qengine.worker.contact import Contact
from qengine.worker.cron import CronLoop
from qengine.worker.database_time import DatabaseTime
from qengine.worker.fetcher import Fetcher
from qengine.worker.instrument import Instrument, observed
from qengine.worker.lag import LoopLag
from qengine.worker.lease import LeaseKeeper
from qengine.worker.loops import Loops
from qengine.worker.maintenance import DueJobs, PauseEnds, Presence, Retention
from qengine.worker.options import Rules, WorkerOptions
from qengine.worker.reporter import Reporter
from qengine.worker.run import Run, Stop, about
from qengine.worker.runner import Runner, released
from qengine.worker.settler import Settler
from qengine.worker.tally import Tally
from qengine.worker.watch import PATIENCE, Watch

log = logging.getLogger("qengine.worker")

LAST_CLAIM_WITHIN = 2.0
"""Seconds that a claim which is under way at shutdown has to answer."""
FLUSH_WITHIN = 10.0
"""Seconds that the last outcomes have to be written at shutdown, should the database be away."""


class Worker:
    """A pool of slots that runs jobs until it is stopped.

    `engine` is what handlers see as `ctx.engine`; the worker itself makes no use of it.
    """

    def __init__(
        self,
        backend: QueueBackend,
        registry: Registry,
        rules: Rules,
        options: WorkerOptions,
        *,
        engine: Any = None,
        events: Dispatcher | None = None,
        instrument: Instrument | None = None,
        on_settled: Callable[[Iterable[int]], None] = lambda ids: None,
        on_ended: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        self.id = str(uuid.uuid4())
        """Fresh at every start; stored as `locked_by`."""
        self.settled = 0
        """How many runs it has brought to an end."""
        self.tally = Tally(self.id)
        """What it has done, in figures."""
        self._reporter = Reporter(self.tally, events or Dispatcher())
        self._backend = backend
        self._rules = rules
        self._options = options
        self._on_settled = on_settled
        self._on_ended = on_ended
        self._tasks = {name: registry.get(name) for name in options.types or registry.names}
        self._contact = Contact()
        bound = max(1_000, 4 * options.concurrency)
        self._settler = Settler(backend, self.id, self._contact, bound=bound, settled=self._after_settling)
        self._bench = Bench(options.concurrency, options.prefetch, self._work, self._settler)
        self._watch = Watch(self._bench, ignored=self._go_on_without, stale=self._put_back)
        self._time = DatabaseTime(backend)
        self._pause_ends = PauseEnds(backend, self._time, ended=lambda: self._fetcher.again())
        self._runner = Runner(
            backend,
            rules,
            worker=self.id,
            engine=engine,
            concurrency=options.concurrency,
            started=self._run_started,
            paused=self._pause_ends.look,
        )
        self._run_job = self._runner.run if instrument is None else observed(instrument, self.id, self._runner.run)
        self._keeper = LeaseKeeper(
            backend.sibling(), worker=self.id, lease=rules.lease, contact=self._contact, lost=self._leases_lost
        )
        self._fetcher = Fetcher(
            backend,
            self._tasks,
            options,
            self._bench,
            worker=self.id,
            lease=rules.lease,
            claimed=self._hold,
            held=self._keeper.held,
            quiet=self._is_quiet,
            catch_up=self._catch_up,
        )
        self._due = DueJobs(backend, rules, self._contact, reclaimed=self._reporter.reclaimed)
        self._cron = CronLoop(backend, registry, self._tasks)
        self._presence = Presence(backend, rules, self._announcement, unhandled=self._reporter.unhandled)
        self._activity = ActivityLog(backend, self.tally, self._time)
        self._loops = Loops(self._contact)
        self._stopping = asyncio.Event()
        self._stopping_now = asyncio.Event()

    # -- from outside

    def stop(self) -> None:
        """Begin to stop: claim no more, let running jobs end within the grace, put back what does not."""
        self._stopping.set()

    def stop_now(self) -> None:
        """Stop without waiting for running jobs: they are cancelled and put back."""
        self._stopping.set()
        self._stopping_now.set()

    @property
    def types(self) -> Collection[str]:
        """The types that it runs."""
        return self._tasks.keys()

    @property
    def running(self) -> bool:
        """Whether its loops have been started and have not all been ended."""
        return bool(self._loops)

    @property
    def stopping(self) -> bool:
        """Whether it has been told to stop."""
        return self._stopping.is_set()

    @property
    def loops(self) -> Mapping[str, bool]:
        """Its loops by name, and whether each is alive. One that had nothing to do and ended counts as alive."""
        alive = self._loops.alive(stopping=self.stopping)
        return alive | {"leases": self._keeper.alive} if alive else alive

    def renew_now(self) -> None:
        """Extend all leases now, which tells at once which running jobs were cancelled or requeued meanwhile."""
        self._keeper.nudge()

    async def run(self) -> None:
        """Run until stopped, or until idle if the options say so.

        When the caller is cancelled the worker stops gracefully first; when it is cancelled again, at once.
        Raises the error of a loop that could not recover.
        """
        main = asyncio.create_task(self._main(), name="qengine-worker")
        try:
            await asyncio.shield(main)
        except asyncio.CancelledError:
            if main.done():
                raise
            self.stop()
            with anyio.CancelScope(shield=True):
                await self._finish(main)
            raise

    async def _finish(self, main: asyncio.Task[None]) -> None:
        try:
            await asyncio.wait([main])
        except asyncio.CancelledError:
            self.stop_now()
            await asyncio.wait([main])
        if not main.cancelled() and main.exception() is not None:
            log.error("the worker ended with an error", exc_info=main.exception())

    # -- life

    async def _main(self) -> None:
        self._keeper.start()
        self._bench.start()
        try:
            await self._with_loops()
        finally:
            await self._keeper.stop()

    async def _with_loops(self) -> None:
        loops = {
            "settling": self._settler.run,
            "watching": self._watch.run,
            "fetching": self._fetcher.run,
            "listening": self._fetcher.listen,
            "due jobs": self._due.run,
            "pauses": self._pause_ends.run,
            "schedules": self._cron.run,
            "retention": Retention(self._backend, self._rules).run,
            "presence": self._presence.run,
            "activity": self._activity.run,
            "loop lag": LoopLag(self.tally).run,
        }
        self._loops.start(loops)
        try:
            await self._loops.until_an_end(self._stopping.wait(), self._fetcher.idle.wait())
            await self._shut_down()
        finally:
            error = await self._loops.end_all()
            self._on_ended(self.tally)
        if error is not None:
            raise error

    async def _shut_down(self) -> None:
        self._fetcher.stop()
        await self._loops.end("fetching", within=LAST_CLAIM_WITHIN)
        await self._loops.end("activity")
        self._put_back(self._bench.take_back())
        await self._wait_for_runs(self._options.grace, unless=self._stopping_now)
        now = time.monotonic()
        for run in list(self._bench.running.values()):
            run.cancel(Stop.SHUTDOWN, now)
        await self._wait_for_runs(PATIENCE)
        for run in list(self._bench.running.values()):
            self._go_on_without(run)
        await self._bench.close(patience=0.1)
        try:
            async with asyncio.timeout(FLUSH_WITHIN):
                await self._settler.flush()
                await self._fetcher.tidy()
                await self._backend.retire(self.id)
                await self._activity.finish()
        except (TimeoutError, BackendUnavailable) as error:
            log.warning(
                "the database was away at shutdown; %d jobs run again when their leases end: %s", self._settler.outstanding, error
            )

    async def _wait_for_runs(self, seconds: float, unless: asyncio.Event | None = None) -> None:
        until = time.monotonic() + seconds
        while self._bench.held and not (unless is not None and unless.is_set()):
            left = min(until - time.monotonic(), 0.25)
            if left <= 0:
                return
            self._bench.freed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._bench.freed.wait()
            except TimeoutError:
                continue

    # -- what the parts tell each other

    async def _work(self, run: Run) -> None:
        """One job in one slot."""
        if run.started - run.renewed > self._rules.lease:
            self._put_back_overdue(run)
            return
        try:
            settlement = await self._run_job(run)
        except Exception:
            about(log, run.claim, self.id).exception(
                "job %s (%s) went wrong outside its handler and runs again when its lease ends", run.claim.id, run.claim.type
            )
            settlement = None
        self._fetcher.ended(run)
        if run.let_go:
            about(log, run.claim, self.id).info("the handler of type %s (job %s) has ended at last", run.claim.type, run.claim.id)
            return
        self.settled += 1
        run.ended = time.monotonic()
        if settlement is None:
            self._keeper.forget((run.claim,))
            self._reporter.ended(run, "completed" if run.completed else "lease_lost")
            self._on_settled((run.claim.id,))
            return
        self._settler.put(settlement, run)

    def _hold(self, runs: Sequence[Run]) -> None:
        self._keeper.hold(runs)
        self._watch.wake()

    def _run_started(self, run: Run) -> None:
        if run.deadline != math.inf:
            run.renew_until = run.deadline + 2 * PATIENCE

    def _after_settling(self, written: Sequence[Settlement], runs: Sequence[Run], gone: set[int]) -> None:
        self._keeper.forget(written)
        self._reporter.settled(written, runs, gone)
        self._on_settled(s.id for s in written)

    def _leases_lost(self, leases: Sequence[Lease]) -> None:
        self._keeper.forget(leases)
        now = time.monotonic()
        for lease in leases:
            run = self._bench.take_out(lease)
            if run is None or run.completed or (run.context is not None and run.context.completing):
                continue
            about(log, run.claim, self.id).warning(
                "the lease of job %s (%s) is lost; its handler is cancelled", run.claim.id, run.claim.type
            )
            run.cancel(Stop.LOST, now)

    def _go_on_without(self, run: Run) -> None:
        about(log, run.claim, self.id).error(
            "the handler of type %s (job %s) ignores its cancellation; its lease is let go", run.claim.type, run.claim.id
        )
        run.ended = time.monotonic()
        self._bench.let_go(run)
        self._fetcher.ended(run)
        if run.stop is Stop.TIMEOUT:
            self._settler.put(self._runner.timed_out(run), run)
        elif run.stop is Stop.SHUTDOWN:
            self._settler.put(released(run), run)
        else:
            self._keeper.forget((run.claim,))
            self._reporter.ended(run, "lease_lost")

    def _put_back_overdue(self, run: Run) -> None:
        """This process slept for longer than a lease while the job was in the buffer: someone else may have it by now."""
        about(log, run.claim, self.id).info(
            "job %s (%s) was claimed longer ago than its lease lasts; it is not started, and goes back in line",
            run.claim.id,
            run.claim.type,
        )
        run.started = 0.0
        self._fetcher.ended(run)
        self._put_back((run,))

    def _put_back(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._settler.put(released(run), run)

    async def _catch_up(self) -> int:
        """Bring in line all that is due, fires of schedules included; how many jobs that concerned."""
        await self._cron.round()
        return await self._due.round()

    def _is_quiet(self) -> bool:
        return not self._bench.held and not self._settler.outstanding

    def _announcement(self) -> WorkerInfo:
        return WorkerInfo(
            self.id,
            socket.gethostname(),
            os.getpid(),
            version("qengine"),
            tuple(self._tasks),
            self._options.queues,
            self._options.concurrency,
            running=len(self._bench.running),
            loop_lag=self.tally.loop_lag,
        )
