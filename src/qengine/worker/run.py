"""One run of one job inside a worker, and the ways in which it can be stopped from outside."""

from __future__ import annotations

import asyncio
import enum
import logging
import math

from qengine.backends.protocol import Claim
from qengine.context import JobContext, JobLogger
from qengine.registry import AnyTask


class Stop(enum.Enum):
    """Why a run was cancelled by its worker."""

    TIMEOUT = "timeout"
    """It took longer than it may: a failed attempt."""
    LOST = "lost"
    """Its lease is gone (reclaimed, cancelled, requeued, deleted): nothing is written."""
    SHUTDOWN = "shutdown"
    """The worker ends: the job goes back in line, no attempt spent."""


def about(log: logging.Logger, claim: Claim, worker: str) -> JobLogger:
    """The logger whose records carry which job they are about."""
    return JobLogger(log, {"job_id": claim.id, "type": claim.type, "attempt": claim.attempt, "worker": worker})


class Run:
    """A claimed job on its way through the worker: buffered, then running in a slot, then settled."""

    __slots__ = (
        "cancels",
        "claim",
        "claimed",
        "context",
        "deadline",
        "ended",
        "in_handler",
        "let_go",
        "renew_until",
        "renewed",
        "slot",
        "started",
        "stop",
        "stopped_at",
        "task",
        "timeout",
    )

    def __init__(self, claim: Claim, task: AnyTask, asked: float, claimed: float) -> None:
        self.claim = claim
        self.task = task
        self.claimed = claimed
        """Monotonic time of the claim."""
        self.renewed = asked
        """Monotonic time at which its lease was last asked for, at the claim or to be extended."""
        self.started = 0.0
        """Monotonic time at which a slot took it; 0 while it is buffered."""
        self.ended = 0.0
        """Monotonic time at which it was over; 0 before."""
        self.context: JobContext | None = None
        self.slot: asyncio.Task[None] | None = None
        """The slot that has it; None while it is buffered."""
        self.in_handler = False
        """Whether the slot is inside the handler now, where a cancellation reaches it and nothing else."""
        self.timeout: float | None = None
        self.deadline = math.inf
        """Monotonic time at which it has timed out."""
        self.renew_until = math.inf
        """Monotonic time after which its lease is left to run out."""
        self.stop: Stop | None = None
        self.stopped_at = math.inf
        self.cancels = 0
        self.let_go = False
        """True when the handler ignored its cancellation and the worker has gone on without it."""

    @property
    def completed(self) -> bool:
        """Whether its handler's `ctx.transaction()` has completed the job."""
        return self.context is not None and self.context.completed

    def cancel(self, why: Stop, now: float) -> None:
        """Cancel the handler, once; the first reason given stands, except that a lost lease always does."""
        if self.context is not None:
            self.context.cancelled = True
        if self.stop is None:
            self.stopped_at = now
            if self.in_handler and self.slot is not None:
                self.cancels += 1
                self.slot.cancel()
            self.stop = why
        elif why is Stop.LOST:
            self.stop = why

    def left_handler(self) -> None:
        """The handler has ended: nothing cancels it any more, and the slot can go on with the next job."""
        self.in_handler = False
        self.deadline = math.inf
        if self.cancels and self.slot is not None:
            for _ in range(self.cancels):
                self.slot.uncancel()
            self.cancels = 0
