"""Keeping a loop alive: wait out a database that is away, restart what breaks, give up loudly on what cannot recover."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

import anyio
from tenacity import Future, RetryCallState, wait_random_exponential
from tenacity.wait import wait_base

from qengine.errors import BackendUnavailable
from qengine.worker.contact import Contact

log = logging.getLogger("qengine.worker")

OUTAGE_WAIT: wait_base = wait_random_exponential(multiplier=0.2, max=10)
"""Between attempts to reach a database that is away."""
HEALTHY_AFTER = 30.0
"""A loop that has run for so many seconds is healthy: earlier failures no longer count."""
FAILURES_IN_A_ROW = 8
"""So many failures in a row, other than the database being away, end the worker."""


class Backoff:
    """Growing waits, with jitter, between tries; `reset` after a success."""

    def __init__(self) -> None:
        self.tries = 0

    def reset(self) -> None:
        """Begin anew."""
        self.tries = 0

    def next(self) -> float:
        """Seconds to wait before the next try."""
        self.tries += 1
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        state.attempt_number = self.tries
        state.outcome = Future(self.tries)
        return float(OUTAGE_WAIT(state))


async def supervise(name: str, loop: Callable[[], Awaitable[None]], contact: Contact) -> None:
    """Run `loop` until it returns.

    While the database is away it is run again after a growing wait, for as long as it takes. Any other error is logged
    and the loop restarted; when that happens many times in a row the error is raised, which ends the worker.
    """
    outage, failures = Backoff(), Backoff()
    while True:
        began = time.monotonic()
        try:
            await loop()
            return
        except BackendUnavailable as error:
            contact.broken()
            if time.monotonic() - began > HEALTHY_AFTER:
                outage.reset()
            pause = outage.next()
            if outage.tries == 1:
                log.warning("%s: the database is away, trying again until it is back: %s", name, error)
        except Exception as error:
            if time.monotonic() - began > HEALTHY_AFTER:
                failures.reset()
            pause = failures.next()
            if failures.tries >= FAILURES_IN_A_ROW:
                log.critical("%s failed %d times in a row; the worker ends", name, failures.tries)
                raise
            log.error("%s failed and is restarted: %s", name, error, exc_info=error)
        await anyio.sleep(pause)
