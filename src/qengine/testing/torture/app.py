"""The application under torture: handlers that behave well, badly and criminally, and record what they do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread

from qengine import BackendUnavailable, Cancel, Discard, Engine, JobContext, LeaseLost, RetryAfter, RetryPolicy, Snooze
from qengine.testing.torture.clock import SharedClock
from qengine.testing.torture.ledger import Ledger
from qengine.testing.torture.options import Config

CRONS = {"tick_all": "all", "tick_one": "one", "tick_skip": "skip"}
"""The tasks that a schedule fires, and their catch-up policies."""
CRON = "*/10 * * * * *"
CRON_PERIOD = 10
GUILTY = ("poison", "hog")
"""Types whose runs end their process, and which alone may become `crash_loop` for it."""
UNKNOWN = "nobody_knows"
"""A type without a handler."""
OVERSTAY = 8.0
"""Seconds that handlers which ignore their cancellation go on for."""


class PlannedFailure(Exception):
    """A failure that the payload asked for."""


class Recorder:
    """Writes down what runs do."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @contextlib.contextmanager
    def run(self, ctx: JobContext) -> Iterator[None]:
        """The begin and the end of a run."""
        who = {"job": ctx.job.id, "token": ctx.lease_token}
        self._ledger.write(
            "begin", **who, type=ctx.job.type, attempt=ctx.attempt, crashes=ctx.job.crashes, worker=ctx.job.locked_by
        )
        try:
            yield
        except BaseException as end:
            self._ledger.write("end", **who, how=type(end).__name__)
            raise
        self._ledger.write("end", **who, how="return")

    async def attempt(self, ctx: JobContext, op: str, call: Awaitable[None], **facts: Any) -> str:
        """Try a fenced write and record the answer: accepted, refused or unknown."""
        began, answer = time.monotonic(), "unknown"
        try:
            await call
            answer = "accepted"
        except LeaseLost:
            answer = "refused"
        except BackendUnavailable:
            answer = "unknown"
        finally:
            self._ledger.write("write", job=ctx.job.id, token=ctx.lease_token, op=op, answer=answer, began=began, **facts)
        return answer

    async def save(self, ctx: JobContext, step: int) -> str:
        """Save a checkpoint that names the token under which it was written."""
        return await self.attempt(ctx, "checkpoint", ctx.checkpoint({"token": ctx.lease_token, "step": step}), step=step)

    async def report(self, ctx: JobContext, step: int) -> str:
        """Report progress, likewise."""
        return await self.attempt(ctx, "progress", ctx.progress(step, None, f"token {ctx.lease_token}"))

    async def extend(self, ctx: JobContext) -> str:
        """Extend the lease."""
        return await self.attempt(ctx, "extend", ctx.extend())

    def resumed(self, ctx: JobContext) -> int:
        """The step from which a run goes on."""
        saved = ctx.checkpointed
        step = int(saved["step"]) if saved else 0
        self._ledger.write("resumed", job=ctx.job.id, token=ctx.lease_token, step=step)
        return step


def build(config: Config, ledger: Ledger) -> Engine:
    """The engine of a process, with all tasks."""
    clock = None
    if config.clock is not None:
        clock = SharedClock(Path(config.clock))
        clock.install()
    engine = Engine(
        config.url,
        lease=config.lease,
        retry=RetryPolicy(wait=lambda state: 0.5 * min(state.attempt_number, 4), max_attempts=3),
        ageing=config.ageing,
        max_crashes=config.max_crashes,
        retention={"completed": None, "cancelled": None},
        clock=clock,
        backend_options=config.backend_options,
    )
    recorder = Recorder(ledger)
    _register_workers_bread(engine, recorder)
    _register_nuisances(engine, recorder)
    _register_criminals(engine, recorder)
    _register_crons(engine, recorder)
    return engine


def _register_workers_bread(engine: Engine, recorder: Recorder) -> None:
    @engine.task()
    async def plain(ctx: JobContext, marker: str, plan: list[str]) -> dict[str, int]:
        """Do what the plan says for this attempt."""
        with recorder.run(ctx):
            await asyncio.sleep(0.01)
            _carry_out(plan[min(ctx.attempt, len(plan)) - 1], ctx)
            return {"token": ctx.lease_token}

    @engine.task()
    async def effect(ctx: JobContext, marker: str) -> None:
        """Write, and be completed, in one transaction."""
        with recorder.run(ctx):
            if await recorder.attempt(ctx, "transaction", _effect(ctx)) != "accepted":
                raise PlannedFailure(f"token={ctx.lease_token}: the transaction failed, or its answer was lost")

    @engine.task(max_concurrency=3)
    async def steps(ctx: JobContext, marker: str, count: int) -> dict[str, int]:
        """Go on from the checkpoint, in steps that are saved."""
        with recorder.run(ctx):
            for step in range(recorder.resumed(ctx), count):
                await asyncio.sleep(0.2)
                if await recorder.save(ctx, step + 1) == "refused":
                    raise LeaseLost("refused a checkpoint")
                await recorder.report(ctx, step + 1)
            return {"token": ctx.lease_token}

    @engine.task(max_concurrency=1)
    async def line(ctx: JobContext, marker: str) -> dict[str, int]:
        """Stand in a line that is always there, so that order matters."""
        with recorder.run(ctx):
            await asyncio.sleep(0.05)
            return {"token": ctx.lease_token}


async def _effect(ctx: JobContext) -> None:
    async with ctx.transaction() as tx:
        await tx.execute(f"INSERT INTO torture_effects (job, token) VALUES ({ctx.job.id}, {ctx.lease_token})")  # noqa: S608 - numbers
        await asyncio.sleep(0.003)


def _carry_out(deed: str, ctx: JobContext) -> None:
    # Decided by the run, so that a snooze, which gives its attempt back, is not repeated for ever.
    again = random.Random(f"{ctx.job.id} {ctx.lease_token}").random() < 0.5  # noqa: S311 - repeatable, guards nothing
    if deed == "fail":
        raise PlannedFailure(f"token={ctx.lease_token}")
    if deed == "discard":
        raise Discard(f"token={ctx.lease_token}")
    if deed == "cancel":
        raise Cancel(f"token={ctx.lease_token}")
    if deed == "snooze" and again:
        raise Snooze(0.7)
    if deed == "retry_after" and again:
        raise RetryAfter(0.7)


def _register_nuisances(engine: Engine, recorder: Recorder) -> None:
    ghosts: set[asyncio.Task[None]] = set()

    @engine.task(max_concurrency=2)
    async def ghost(ctx: JobContext, marker: str) -> dict[str, int]:
        """Leave something behind that goes on writing after the end."""
        with recorder.run(ctx):
            task = asyncio.create_task(_haunt(ctx, recorder, 2.0))
            ghosts.add(task)
            task.add_done_callback(ghosts.discard)
            await asyncio.sleep(0.01)
            return {"token": ctx.lease_token}

    @engine.task(timeout=1.5, max_concurrency=1)
    async def stubborn(ctx: JobContext, marker: str) -> dict[str, int]:
        """Ignore cancellation and go on writing."""
        with recorder.run(ctx):
            until = time.monotonic() + OVERSTAY
            while time.monotonic() < until:
                with contextlib.suppress(asyncio.CancelledError):
                    await _haunt(ctx, recorder, until - time.monotonic())
            return {"token": ctx.lease_token}

    @engine.task(max_concurrency=2)
    def threaded(ctx: JobContext, marker: str, seconds: float) -> dict[str, int]:
        """Sit in a thread, which nothing can cancel, then write."""
        with recorder.run(ctx):
            time.sleep(seconds)
            for step in range(2):
                with contextlib.suppress(RuntimeError):  # the worker's event loop has ended
                    anyio.from_thread.run(recorder.report, ctx, step)
            return {"token": ctx.lease_token}

    @engine.task(max_concurrency=1)
    async def blocker(ctx: JobContext, marker: str, seconds: float) -> dict[str, int]:
        """Block the event loop."""
        with recorder.run(ctx):
            time.sleep(seconds)  # noqa: ASYNC251 - on purpose
            await recorder.extend(ctx)
            return {"token": ctx.lease_token}


async def _haunt(ctx: JobContext, recorder: Recorder, seconds: float) -> None:
    """Try every kind of write under a token that may be spent, for so many seconds."""
    until, step = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        await asyncio.sleep(0.4)
        step += 1
        match step % 3:
            case 0:
                await recorder.extend(ctx)
            case 1:
                await recorder.report(ctx, step)
            case _:
                await recorder.save(ctx, step)


def _register_criminals(engine: Engine, recorder: Recorder) -> None:
    @engine.task()
    async def poison(ctx: JobContext, marker: str) -> None:
        """Kill the process."""
        with recorder.run(ctx):
            os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(3600)

    @engine.task()
    async def hog(ctx: JobContext, marker: str, megabytes: int) -> int:
        """Take memory until killed for it."""
        with recorder.run(ctx):
            held = []
            for _ in range(megabytes // 8):
                held.append(bytearray(os.urandom(1024)) * 8192)
                time.sleep(0.01)  # noqa: ASYNC251 - it also blocks
            time.sleep(3)  # noqa: ASYNC251
            return len(held)


def _register_crons(engine: Engine, recorder: Recorder) -> None:
    async def tick(ctx: JobContext) -> None:
        with recorder.run(ctx):
            await asyncio.sleep(0)

    for name, catch_up in CRONS.items():
        engine.cron(CRON, catch_up=catch_up)(engine.task(name)(tick))  # type: ignore[arg-type]
