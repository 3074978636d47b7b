"""`qengine worker`: a worker process. The only place where qengine installs signal handlers."""

from __future__ import annotations

import asyncio
import enum
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from types import FrameType
from typing import Annotated, Any

import typer

from qengine import Engine
from qengine.cli.errors import ExitCode
from qengine.cli.target import load_engine
from qengine.engine.health import MAX_DUE
from qengine.logs import JsonLines
from qengine.probes import Address, Probes

log = logging.getLogger("qengine.cli")

ONE_SIGNAL_WITHIN = 0.1
"""Seconds within which the same signal counts once: `timeout` and others send it to the process and again to its group."""
THREADS_END_WITHIN = 1.0
"""Seconds that idle threads have to end when the worker has stopped."""


class Level(enum.StrEnum):
    """How much a worker logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def worker(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:ENGINE", help="The engine, for instance app:engine.", show_default=False)
    ],
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="How many jobs run at once.")] = 10,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", help="Only this queue. Repeatable.", show_default=False)
    ] = None,
    type: Annotated[
        list[str] | None, typer.Option("--type", "-t", help="Only jobs of this type. Repeatable.", show_default=False)
    ] = None,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that running jobs have to end when the worker is stopped.")] = 30.0,
    once: Annotated[bool, typer.Option("--once", help="Run what is due, then exit.")] = False,
    log_level: Annotated[Level, typer.Option(help="How much to log, on stderr.")] = Level.INFO,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log one JSON object a line.")] = False,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Serve /metrics for Prometheus, /healthz and /readyz here.", show_default=False),
    ] = None,
    health: Annotated[
        str | None, typer.Option(metavar="[HOST:]PORT", help="Serve /healthz and /readyz here.", show_default=False)
    ] = None,
    max_due: Annotated[
        float, typer.Option(min=0, help="/readyz fails when a due job waits for more seconds than this; 0: however long.")
    ] = MAX_DUE,
) -> int:
    """Run jobs until stopped.

    SIGTERM or Ctrl-C: claim nothing more, let running jobs end within the grace, put back those that don't; exit 0.
    A second one: put them back at once. No attempt is spent either way. A third one: die without putting anything back.
    """
    _log_to_stderr(log_level, log_json)
    options = {"concurrency": concurrency, "queues": queue, "types": type, "grace": grace, "until_idle": once}
    engine = load_engine(target)
    probes = _probes(engine, metrics, health, max_due or None)
    code = asyncio.run(_serve(engine, target, options, probes))
    _leave_threads(code)
    return code


def _log_to_stderr(level: Level, as_json: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def _probes(engine: Engine, metrics: str | None, health: str | None, max_due: float | None) -> list[Probes]:
    found = []
    if metrics is not None:
        from qengine.metrics import page  # an extra

        found.append(Probes(engine, Address.parse(metrics), metrics=page(engine), max_due=max_due))
    if health is not None:
        found.append(Probes(engine, Address.parse(health), max_due=max_due))
    return found


async def _serve(engine: Engine, target: str, options: dict[str, Any], probes: list[Probes]) -> int:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(engine)
        for probe in probes:
            await stack.enter_async_context(probe)
            log.info("%s at http://%s", "metrics and health" if probe.has_metrics else "health", probe.address)
        running = asyncio.create_task(engine.run_worker(**options))
        with _signals(running, options["grace"]) as received:
            log.info("working for %s with concurrency %d; Ctrl-C stops", target, options["concurrency"])
            try:
                await running
            except asyncio.CancelledError:
                if not received:
                    raise
    if received:
        log.info("stopped")
    return 128 + received[-1] if len(received) > 1 else ExitCode.OK


@contextmanager
def _signals(running: asyncio.Task[Any], grace: float) -> Iterator[list[int]]:
    """Turn signals into cancellations of the worker: at the first it stops gracefully, at the second at once."""
    loop = asyncio.get_running_loop()
    received: list[int] = []
    last = (0, 0.0)

    def stop(signals: int) -> None:
        if signals == 1:
            log.info("stopping: running jobs have %g s to end; a second signal stops at once", grace)
            running.cancel()
        else:
            log.warning("stopping at once: running jobs are cancelled and put back")
            loop.call_later(0.1, running.cancel)  # apart from the first: a task takes two at once for one

    def handle(number: int, frame: FrameType | None) -> None:
        # Not the loop's own signal handling: a handler that blocks the loop must not keep the third signal from us.
        nonlocal last
        before, last = last, (number, time.monotonic())
        if number == before[0] and last[1] - before[1] < ONE_SIGNAL_WITHIN:
            return
        received.append(number)
        if len(received) > 2:
            os._exit(128 + number)
        loop.call_soon_threadsafe(stop, len(received))

    replaced = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


def _leave_threads(code: int) -> None:
    """End the process although a handler still runs in a thread: its job was put back and may run elsewhere by now."""
    until = time.monotonic() + THREADS_END_WITHIN
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                log.warning("a handler still runs in a thread; the process ends without it")
                logging.shutdown()
                sys.stdout.flush()
                os._exit(code)
