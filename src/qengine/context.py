"""What a handler is given about its run, when its first parameter is a `JobContext`."""

from __future__ import annotations

import datetime as dt
import logging
import math
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from qengine.backends.protocol import Claim, Lease, QueueBackend
from qengine.codec import decode_or_text, encode
from qengine.errors import ConfigurationError, LeaseLost
from qengine.job import Job, Status

_logger = logging.getLogger("qengine.job")


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds `job_id`, `type`, `attempt` and `worker` to each record, beside what the call itself adds."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """See logging.LoggerAdapter."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class JobContext:
    """One run of a job, as its handler sees it.

    Everything that it writes is fenced by the lease: once that is lost, it raises LeaseLost and nothing was written.
    A handler in a thread calls the async methods with `anyio.from_thread.run(ctx.progress, 1, 2)`.
    """

    __slots__ = (
        "_backend",
        "_claim",
        "_completed",
        "_completing",
        "_job",
        "_lease",
        "_limit",
        "_log",
        "_lost",
        "_saved",
        "_worker",
        "cancelled",
        "deadline",
        "engine",
    )

    def __init__(
        self,
        claim: Claim,
        backend: QueueBackend,
        *,
        engine: Any = None,
        worker: str = "",
        lease: float = 60.0,
        deadline: dt.datetime | None = None,
        payload_limit: int | None = None,
    ) -> None:
        self._claim = claim
        self._backend = backend
        self._worker = worker
        self._lease = lease
        self._limit = payload_limit
        self._completed = False
        self._completing = False
        self._lost = False
        self._job: Job[Any] | None = None
        self._log: JobLogger | None = None
        self._saved: str | None = claim.checkpoint
        self.engine = engine
        """The engine that runs it, to enqueue further jobs with."""
        self.deadline = deadline
        """When this attempt times out (aware); None: it may take as long as it likes."""
        self.cancelled = False
        """True once the run is to stop: it timed out, was cancelled, lost its lease, or the worker shuts down. An async
        handler is cancelled besides; one in a thread should look here now and then."""

    @property
    def job(self) -> Job[Any]:
        """The job as it stood when it was claimed."""
        if self._job is None:
            self._job = _job(self._claim, self._worker)
        return self._job

    @property
    def attempt(self) -> int:
        """This attempt's number, 1 for the first."""
        return self._claim.attempt

    @property
    def lease_token(self) -> int:
        """Grows with every claim of the job: pass it on as a fencing token to what must refuse a holder that was replaced."""
        return self._claim.token

    @property
    def completed(self) -> bool:
        """Whether `transaction` has completed the job, so that only its result is still to be stored."""
        return self._completed

    @property
    def completing(self) -> bool:
        """Whether `transaction` is completing the job just now: its own answer says whether the lease held."""
        return self._completing

    @property
    def lost(self) -> bool:
        """Whether one of this run's own writes found that the lease is gone."""
        return self._lost

    @property
    def log(self) -> JobLogger:
        """The logger `qengine.job`, whose records carry `job_id`, `type`, `attempt` and `worker`."""
        if self._log is None:
            claim = self._claim
            extra = {"job_id": claim.id, "type": claim.type, "attempt": claim.attempt, "worker": self._worker}
            self._log = JobLogger(_logger, extra)
        return self._log

    @property
    def checkpointed(self) -> Any:
        """What `checkpoint` last saved, in this attempt or an earlier one, as plain JSON values; None: nothing yet."""
        return decode_or_text(self._saved)

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Report how far the run is, for `job.progress` and the command line. The units are the handler's own.

        Raises LeaseLost, and PayloadError for numbers or a message that cannot be stored.
        """
        text = encode({"done": done, "total": total, "message": message}, limit=self._limit, what="progress")
        await self._save(progress=text)

    async def checkpoint(self, value: Any) -> None:
        """Save `value`, so that a later attempt, after a crash or an error, goes on from there (`checkpointed`).

        It is stored as JSON. Raises LeaseLost, and PayloadError when it cannot be stored or is over the payload limit.
        """
        text = encode(value, limit=self._limit, what="checkpoint")
        await self._save(checkpoint=text)
        self._saved = text

    async def extend(self, seconds: float | None = None) -> None:
        """Let the lease end `seconds` from now; None: the engine's `lease`.

        The worker does so by itself while the handler runs; call it to learn at once whether the job is still ours,
        before a step that cannot be undone. Raises LeaseLost when it is not.
        """
        seconds = self._lease if seconds is None else seconds
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds) or seconds <= 0:
            raise ConfigurationError(f"extend({seconds!r}): give a number of seconds over 0, or nothing for the engine's lease")
        if await self._backend.extend([self._held()], seconds):
            raise self._loss()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A database transaction that also completes the job: `async with ctx.transaction() as tx`.

        `tx` is the driver's own connection (asyncpg or aiosqlite). The handler's writes and the completion are
        committed together, or neither is; LeaseLost is raised, and all rolled back, when the lease is lost. An exception
        in the block rolls back and the job runs on. Afterwards the handler may still return a value, which is stored
        separately; an exception after the block undoes nothing.
        """
        lease = self._held()
        try:
            async with self._backend.transaction(lease) as connection:
                yield connection
                self._completing = True
            self._completed = True
        except LeaseLost:
            # Only one that comes from the completion is about this run; one from the block may be about anything.
            self._lost = self._lost or self._completing
            raise
        finally:
            self._completing = False

    async def _save(self, *, progress: str | None = None, checkpoint: str | None = None) -> None:
        if not await self._backend.save(self._held(), progress=progress, checkpoint=checkpoint):
            raise self._loss()

    def _held(self) -> Lease:
        if self._completed:
            raise LeaseLost(f"job {self._claim.id} was completed by ctx.transaction(); nothing more can be written about it")
        return self._claim.lease

    def _loss(self) -> LeaseLost:
        self._lost = True
        return LeaseLost(f"job {self._claim.id} ({self._claim.type}) is no longer held under lease token {self._claim.token}")


def _job(claim: Claim, worker: str) -> Job[Any]:
    return Job(
        id=claim.id,
        type=claim.type,
        queue=claim.queue,
        priority=claim.priority,
        payload=decode_or_text(claim.payload),
        status=Status.PROCESSING,
        attempts=claim.attempt,
        max_attempts=claim.max_attempts,
        crashes=claim.crashes,
        scheduled_for=claim.scheduled_for,
        locked_by=worker or None,
        lease_token=claim.token,
        unique_key=claim.unique_key,
        partition_key=claim.partition_key,
        timeout=claim.timeout,
        expires_at=claim.expires_at,
        checkpoint=decode_or_text(claim.checkpoint),
        headers=decode_or_text(claim.headers),
        created_at=claim.created_at,
    )
