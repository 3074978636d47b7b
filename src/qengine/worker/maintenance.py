"""What any worker does for all: due jobs, ended leases, retention, unknown types, and the register of workers.

Several workers may do it at once; the backend's own locking gives each row to one of them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from qengine.backends.protocol import QueueBackend, Reclaimed, WorkerInfo
from qengine.worker.contact import Contact
from qengine.worker.database_time import DatabaseTime
from qengine.worker.options import Rules

log = logging.getLogger("qengine.worker")

BATCH = 500
"""Rows in one statement of upkeep, at the most."""
LOOK_AGAIN = 5.0
"""Seconds between looks for due jobs when nothing says that there are any sooner."""
IN_NO_HASTE = 1.0
"""Seconds until the next look when what is overdue could not be taken."""
THROTTLE = 0.05
"""Seconds between looks, at the least."""
HEARTBEAT = 10.0
"""Seconds between heartbeats."""
RETENTION_EVERY = 60.0
"""Seconds between looks for jobs to delete."""
FORGET_AFTER = 86_400.0
"""Seconds after which a worker that fell silent is forgotten."""


async def repeat(step: Callable[[], Awaitable[int]]) -> int:
    """Do a step until it finds less than a full batch; how many rows it touched."""
    total = 0
    while True:
        touched = await step()
        total += touched
        if touched < BATCH:
            return total


class DueJobs:
    """Puts jobs in line whose time has come, buries those that expired, and takes back those whose lease has ended.

    `reclaimed` is told of these.
    """

    def __init__(
        self, backend: QueueBackend, rules: Rules, contact: Contact, *, reclaimed: Callable[[Sequence[Reclaimed]], None]
    ) -> None:
        self._backend = backend
        self._rules = rules
        self._contact = contact
        self._reclaimed = reclaimed
        # Whoever asks for a round while one is under way waits for its end: what that one takes, a second does not find.
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Do it at the right moments, for ever."""
        looked_at = -math.inf
        while True:
            seen = self._backend.wakes
            deadline = await self._backend.next_deadline()
            pause = LOOK_AGAIN if deadline is None else min(deadline, LOOK_AGAIN)
            if pause <= 0 or time.monotonic() - looked_at >= LOOK_AGAIN:
                looked_at = time.monotonic()
                # What is overdue and yet not to be had (a lease that is left alone for now) is not asked for in haste.
                pause = 0.0 if await self.round() else IN_NO_HASTE if pause <= 0 else pause
            await self._sleep(max(pause, THROTTLE), seen)

    async def round(self) -> int:
        """Do it once; how many jobs it concerned."""
        async with self._turn:
            promoted = await repeat(lambda: self._backend.promote_due(BATCH))
            buried = await repeat(lambda: self._backend.bury_expired(BATCH))
            # Whoever was cut off itself gives the others, who may have been cut off by the same outage, the time to renew.
            taken = await repeat(self._reclaim) if self._contact.whole_for(self._rules.lease) else 0
            return promoted + buried + taken

    async def _reclaim(self) -> int:
        taken = await self._backend.reclaim(BATCH, max_crashes=self._rules.max_crashes, lease=self._rules.lease)
        self._reclaimed(taken)
        return len(taken)

    async def _sleep(self, seconds: float, seen: int) -> None:
        """Sleep, or until something new may have changed what comes next; notice when this process was not running."""
        before = time.time()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(THROTTLE)
                await self._backend.wake(seen)
        except TimeoutError:
            pass
        if not -1 < time.time() - before < seconds + self._rules.lease / 3:
            log.info("this process was not running for a while; leases are left alone for %g s", self._rules.lease)
            self._contact.broken()


class PauseEnds:
    """Says when a pause has ended by itself, of which no wake-up tells."""

    def __init__(self, backend: QueueBackend, time: DatabaseTime, *, ended: Callable[[], None]) -> None:
        self._backend = backend
        self._time = time
        self._ended = ended
        self._looking = asyncio.Event()

    def look(self) -> None:
        """Told that there is a new pause."""
        self._looking.set()

    async def run(self) -> None:
        """Do it for ever. A pause that another worker makes is noticed within five seconds."""
        before: set[tuple[Literal["type", "queue"], str]] = set()
        while True:
            self._looking.clear()
            pauses = await self._backend.pauses()
            now = {(pause.kind, pause.name) for pause in pauses}
            if before - now:
                self._ended()
            before = now
            # This process's idea of the database's time need not be exact: until the pause is over it looks again.
            ends = [pause.until.timestamp() - self._time.now() for pause in pauses if pause.until is not None]
            try:
                async with asyncio.timeout(max(THROTTLE, min([LOOK_AGAIN, *ends]))):
                    await self._looking.wait()
            except TimeoutError:
                continue


class Retention:
    """Deletes jobs that ended long ago, in small batches."""

    def __init__(self, backend: QueueBackend, rules: Rules) -> None:
        self._backend = backend
        self._rules = rules

    async def run(self) -> None:
        """Do it every minute, for ever."""
        while self._rules.retention:
            full = await self._backend.prune(self._rules.retention, BATCH) == BATCH
            await asyncio.sleep(THROTTLE if full else RETENTION_EVERY)


class Presence:
    """Announces this worker, forgets dead ones, and looks for types that nobody handles; `unhandled` is told of each."""

    def __init__(
        self,
        backend: QueueBackend,
        rules: Rules,
        announce: Callable[[], WorkerInfo],
        *,
        unhandled: Callable[[str], None],
    ) -> None:
        self._backend = backend
        self._rules = rules
        self._announce = announce
        self._unhandled = unhandled
        self._told: set[str] = set()

    async def run(self) -> None:
        """Do it every ten seconds, for ever."""
        while True:
            await self._backend.heartbeat(self._announce())
            await self._backend.forget_workers(FORGET_AFTER)
            await self._look_for_unhandled()
            await asyncio.sleep(HEARTBEAT)

    async def _look_for_unhandled(self) -> None:
        found = set(await self._backend.unhandled())
        for name in sorted(found - self._told):
            self._unhandled(name)
        self._told = found
        after = self._rules.unknown_type_after
        if after is not None:
            buried = await repeat(lambda: self._backend.bury_unknown(after, BATCH))
            if buried:
                log.error("%d jobs of types that no worker knew for %g s are dead (unknown_type)", buried, after)
