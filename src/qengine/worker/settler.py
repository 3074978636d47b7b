"""Writing down how runs ended: in batches, without a timer. What piles up during one write goes into the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from qengine.backends.protocol import Lease, QueueBackend, Settlement
from qengine.errors import BackendUnavailable
from qengine.worker.contact import Contact
from qengine.worker.supervisor import Backoff

log = logging.getLogger("qengine.worker")

BATCH = 1_000
"""Settlements in one write, at the most."""


class Settler:
    """Collects settlements and writes them. `settled` is told of each batch once it is durable."""

    def __init__(
        self,
        backend: QueueBackend,
        worker: str,
        contact: Contact,
        *,
        bound: int,
        settled: Callable[[Sequence[Settlement], set[int]], None],
    ) -> None:
        self._backend = backend
        self._worker = worker
        self._contact = contact
        self._bound = bound
        self._settled = settled
        self._pending: list[Settlement] = []
        self._writing: list[Settlement] = []
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.outstanding = 0
        """How many settlements are not durable yet."""

    def put(self, settlement: Settlement) -> None:
        """Hand one over; it is written soon."""
        self._pending.append(settlement)
        self.outstanding += 1
        self._filled.set()

    @property
    def full(self) -> bool:
        """Whether so many wait that those who put should wait for room."""
        return self.outstanding >= self._bound

    async def room(self) -> None:
        """Wait until it is not full."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    async def run(self) -> None:
        """Write what comes, for ever. A database that is away is waited for; nothing that was put is dropped."""
        backoff = Backoff()
        while True:
            if not self._writing:
                if not self._pending:
                    self._filled.clear()
                    await self._filled.wait()
                self._writing, self._pending = self._pending[:BATCH], self._pending[BATCH:]
            try:
                lost = await self._backend.settle(self._writing, self._worker)
            except BackendUnavailable as error:
                self._contact.broken()
                pause = backoff.next()
                if backoff.tries == 1:
                    log.warning("settling waits for the database to come back: %s", error)
                await asyncio.sleep(pause)
                continue
            self._done(lost, repeated=backoff.tries > 0)
            backoff.reset()

    def _done(self, lost: Sequence[Lease], *, repeated: bool) -> None:
        written, self._writing = self._writing, []
        self.outstanding -= len(written)
        gone = {lease.id for lease in lost}
        if gone:
            # After an outage the write before may have been the one that applied: its reply was lost, not its effect.
            level = logging.INFO if repeated else logging.WARNING
            log.log(level, "%d of %d jobs were no longer ours when they ended: %s", len(gone), len(written), sorted(gone)[:20])
        self._settled(written, gone)
        self._room.set()

    async def flush(self) -> None:
        """Wait until all that was put is durable."""
        while self.outstanding:
            self._room.clear()
            await self._room.wait()
