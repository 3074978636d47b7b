"""Running one claimed job: decode, call the handler, and say how it ended."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_process
import anyio.to_thread

from qengine import codec
from qengine.backends.protocol import Claim, Lease, QueueBackend, Settlement
from qengine.context import JobContext
from qengine.errors import BackendUnavailable, LeaseLost, PayloadError
from qengine.failure import describe, group, traceback_text
from qengine.job import DeadReason, Status
from qengine.outcomes import Cancel, Discard, Outcome, RetryAfter, Snooze
from qengine.worker.options import Rules
from qengine.worker.process import call_by_name
from qengine.worker.run import Run, Stop, about

log = logging.getLogger("qengine.worker")


class Runner:
    """Runs handlers for one worker. It writes nothing: what it returns is written by the settler."""

    def __init__(
        self,
        backend: QueueBackend,
        rules: Rules,
        *,
        worker: str,
        engine: Any,
        concurrency: int,
        started: Callable[[Run], None],
        paused: Callable[[], None],
    ) -> None:
        self._backend = backend
        self._rules = rules
        self._worker = worker
        self._engine = engine
        self._started = started
        self._paused = paused
        self._threads = anyio.CapacityLimiter(concurrency)
        self._processes = anyio.CapacityLimiter(concurrency)

    async def run(self, run: Run) -> Settlement | None:
        """Run the job in its slot, which is the calling task.

        None when there is nothing to settle, because the lease is gone or is spent. Raises CancelledError only when the
        slot itself is cancelled from outside.
        """
        claim = run.claim
        if claim.expired:
            error = f"expired: not started by {claim.expires_at}"
            return Settlement(
                claim.id,
                claim.token,
                Status.DEAD,
                spent=False,
                dead_reason=DeadReason.EXPIRED,
                error=error,
                error_group=group(error),
            )
        try:
            arguments = run.task.codec.decode(claim.payload)
        except PayloadError as error:
            return self._buried(run, DeadReason.BAD_PAYLOAD, error, spent=False)
        timeout = claim.timeout or run.task.settings.timeout or self._rules.timeout
        if timeout is not None:
            run.timeout = timeout
            run.deadline = time.monotonic() + timeout
        self._started(run)
        try:
            value = await self._called(run, arguments)
        except asyncio.CancelledError as error:
            if run.stop is None and run.slot is not None and run.slot.cancelling():
                raise
            return self._stopped(run) if run.stop is not None else self._failed(run, error)
        except (Exception, SystemExit, BaseExceptionGroup) as error:
            return self._stopped(run) if run.stop is not None else await self._raised(run, _sole(error))
        if run.stop in (Stop.TIMEOUT, Stop.LOST):
            return self._stopped(run)
        if value is None and run.context is None:
            return Settlement(claim.id, claim.token, Status.COMPLETED)
        return await self._returned(run, value)

    async def _raised(self, run: Run, error: BaseException) -> Settlement | None:
        if isinstance(error, Outcome):
            return await self._signalled(run, error)
        if isinstance(error, LeaseLost) and self._is_own(run):
            return None
        return self._failed(run, error)

    async def _called(self, run: Run, arguments: dict[str, Any]) -> Any:
        """What the handler returns, called such that `run.cancel` reaches it, and nothing but it."""
        run.in_handler = True
        task = run.task
        try:
            if task.settings.executor == "async":
                if task.wants_context:
                    return await task.fn(self._context(run), **arguments)
                return await task.fn(**arguments)
            return await self._called_elsewhere(run, arguments)
        finally:
            run.left_handler()

    async def _called_elsewhere(self, run: Run, arguments: dict[str, Any]) -> Any:
        task = run.task
        if task.settings.executor == "process":
            where = task.fn.__module__, task.fn.__qualname__
            text = await anyio.to_process.run_sync(
                call_by_name, *where, run.claim.payload, cancellable=True, limiter=self._processes
            )
            return codec.decode(text)
        head = (self._context(run),) if task.wants_context else ()
        call = functools.partial(task.fn, *head, **arguments)
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)

    def _context(self, run: Run) -> JobContext:
        deadline = None if run.timeout is None else dt.datetime.now(dt.UTC) + dt.timedelta(seconds=run.timeout)
        run.context = JobContext(
            run.claim,
            self._backend,
            engine=self._engine,
            worker=self._worker,
            lease=self._rules.lease,
            deadline=deadline,
            payload_limit=self._rules.payload_limit,
        )
        return run.context

    async def _returned(self, run: Run, value: Any) -> Settlement | None:
        claim = run.claim
        if value is None:
            return None if run.completed else Settlement(claim.id, claim.token, Status.COMPLETED)
        try:
            result = codec.encode(value, limit=self._rules.payload_limit, what=f"the result of {claim.type}")
        except PayloadError as error:
            return self._buried(run, DeadReason.DISCARDED, error)
        if not run.completed:
            return Settlement(claim.id, claim.token, Status.COMPLETED, result)
        # The transaction completed the job and raised the token by one: the result is stored under that.
        try:
            if not await self._backend.store_result(Lease(claim.id, claim.token + 1), result):
                about(log, claim, self._worker).warning(
                    "job %s (%s) was taken up again before its result was stored", claim.id, claim.type
                )
        except BackendUnavailable as error:
            about(log, claim, self._worker).warning(
                "job %s (%s) is completed, but its result could not be stored: %s", claim.id, claim.type, error
            )
        return None

    def _stopped(self, run: Run) -> Settlement | None:
        if run.stop is Stop.LOST or run.completed:
            return None
        if run.stop is Stop.SHUTDOWN:
            return released(run)
        return self.timed_out(run)

    def timed_out(self, run: Run) -> Settlement:
        """A failed attempt, for a run that took too long."""
        return self._attempt_failed(run, TimeoutError(f"timed out after {run.timeout:g} s"), traceback=None)

    def _failed(self, run: Run, error: BaseException) -> Settlement | None:
        if run.completed:
            about(log, run.claim, self._worker).error(
                "job %s (%s) failed after its transaction had completed it", run.claim.id, run.claim.type, exc_info=error
            )
            return None
        text = traceback_text(error)
        if not isinstance(error, Exception):
            # SystemExit, or a CancelledError of the handler's own making: an attempt failed, and policies speak of Exceptions.
            error = RuntimeError(f"the handler raised {describe(error)}")
        return self._attempt_failed(run, error, text)

    def _attempt_failed(self, run: Run, error: BaseException, traceback: str | None) -> Settlement:
        claim = run.claim
        policy = run.task.settings.retry or self._rules.retry
        delay = policy.delay(claim.attempt, error)
        line = describe(error)
        status, reason = Status.FAILED, None
        if delay is None:
            status, reason = Status.DEAD, DeadReason.DISCARDED
        elif claim.attempt >= claim.max_attempts:
            status, reason, delay = Status.DEAD, DeadReason.EXHAUSTED, None
        return Settlement(
            claim.id,
            claim.token,
            status,
            delay=delay,
            dead_reason=reason,
            error=line,
            traceback=traceback,
            error_group=group(line),
            logged=True,
        )

    def _buried(self, run: Run, reason: DeadReason, error: BaseException, *, spent: bool = True) -> Settlement | None:
        if run.completed:
            about(log, run.claim, self._worker).error(
                "job %s (%s) is completed, but its result cannot be stored: %s", run.claim.id, run.claim.type, error
            )
            return None
        line = describe(error)
        return Settlement(
            run.claim.id,
            run.claim.token,
            Status.DEAD,
            spent=spent,
            dead_reason=reason,
            error=line,
            traceback=None,
            error_group=group(line),
            logged=True,
        )

    async def _signalled(self, run: Run, outcome: Outcome) -> Settlement | None:
        claim = run.claim
        if run.completed:
            about(log, claim, self._worker).error(
                "job %s (%s) raised %r after its transaction had completed it", claim.id, claim.type, outcome
            )
            return None
        if isinstance(outcome, Snooze):
            return Settlement(claim.id, claim.token, Status.PENDING, delay=outcome.seconds, spent=False)
        if isinstance(outcome, RetryAfter):
            if outcome.pause_type:
                await self._pause_type(claim, outcome.seconds)
            return Settlement(claim.id, claim.token, Status.PENDING, delay=outcome.seconds, spent=False, error=str(outcome))
        if isinstance(outcome, Discard):
            return self._buried(run, DeadReason.DISCARDED, outcome)
        if isinstance(outcome, Cancel):
            return Settlement(claim.id, claim.token, Status.CANCELLED, error=describe(outcome))
        return self._failed(run, outcome)

    async def _pause_type(self, claim: Claim, seconds: float) -> None:
        try:
            await self._backend.pause("type", claim.type, seconds)
        except BackendUnavailable as error:
            about(log, claim, self._worker).warning("type %s could not be paused for %g s: %s", claim.type, seconds, error)
        else:
            self._paused()

    def _is_own(self, run: Run) -> bool:
        """Whether a LeaseLost that came out of the handler is about this very run."""
        return run.context is not None and run.context.lost


def _sole(error: BaseException) -> BaseException:
    """The one error in a group of one, as task groups raise it; else the error itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def released(run: Run) -> Settlement:
    """Back in line at its old place, as if it had not been claimed."""
    return Settlement(run.claim.id, run.claim.token, Status.PENDING, spent=False, ended=False)
