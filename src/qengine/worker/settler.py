"""Writing down how runs ended: in batches, without a timer. What piles up during one write goes into the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from qengine.backends.protocol import Lease, QueueBackend, Settlement
from qengine.context import JobLogger
from qengine.errors import BackendUnavailable
from qengine.worker.contact import Contact
from qengine.worker.run import Run, about
from qengine.worker.supervisor import Backoff

log = logging.getLogger("qengine.worker")

BATCH = 1_000
"""Settlements in one write, at the most."""


class Settler:
    """Collects settlements and writes them.

    `settled` is told of each batch once it is durable: the settlements, their runs, and the ids of those that were not
    written, because the lease was gone or the database will not have them.
    """

    def __init__(
        self,
        backend: QueueBackend,
        worker: str,
        contact: Contact,
        *,
        bound: int,
        settled: Callable[[Sequence[Settlement], Sequence[Run], set[int]], None],
    ) -> None:
        self._backend = backend
        self._worker = worker
        self._contact = contact
        self._bound = bound
        self._settled = settled
        self._pending: list[Settlement] = []
        self._pending_runs: list[Run] = []
        self._writing: list[Settlement] = []
        self._writing_runs: list[Run] = []
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.outstanding = 0
        """How many settlements are not durable yet."""

    def put(self, settlement: Settlement, run: Run) -> None:
        """Hand over how a run ended; it is written soon."""
        self._pending.append(settlement)
        self._pending_runs.append(run)
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
        while True:
            if not self._writing:
                if not self._pending:
                    self._filled.clear()
                    await self._filled.wait()
                self._writing, self._pending = self._pending[:BATCH], self._pending[BATCH:]
                self._writing_runs, self._pending_runs = self._pending_runs[:BATCH], self._pending_runs[BATCH:]
            lost = await self._write(self._writing)
            self._done(lost)

    async def _write(self, batch: list[Settlement]) -> list[Lease]:
        """Write a batch, for as long as it takes; the leases of those that were not written.

        One that the database will not have at all does not hold up the others.
        """
        backoff = Backoff()
        while True:
            try:
                lost = await self._backend.settle(batch, self._worker)
            except BackendUnavailable as error:
                self._contact.broken()
                pause = backoff.next()
                if backoff.tries == 1:
                    log.warning("settling waits for the database to come back: %s", error)
                await asyncio.sleep(pause)
            except Exception as error:
                if len(batch) == 1:
                    self._log_of(batch[0]).exception(
                        "how job %s ended cannot be written down; it runs again when its lease ends", batch[0].id
                    )
                    return [Lease(batch[0].id, batch[0].token)]
                log.warning("a batch of %d settlements was refused (%s); they are written in halves", len(batch), error)
                middle = len(batch) // 2
                return await self._write(batch[:middle]) + await self._write(batch[middle:])
            else:
                self._report(lost, len(batch), repeated=backoff.tries > 0)
                # Of a write that was repeated, what does not apply any more has most likely applied the first time.
                return [] if backoff.tries else lost

    def _log_of(self, settlement: Settlement) -> JobLogger:
        run = self._writing_runs[self._writing.index(settlement)]
        return about(log, run.claim, self._worker)

    def _report(self, lost: Sequence[Lease], count: int, *, repeated: bool) -> None:
        if lost:
            # After an outage the write before may have been the one that applied: its reply was lost, not its effect.
            level = logging.INFO if repeated else logging.WARNING
            ids = sorted(lease.id for lease in lost)
            text = "%d of %d jobs were no longer ours when they ended: %s"
            log.log(level, text, len(ids), count, ids[:20], extra={"worker": self._worker})

    def _done(self, lost: Sequence[Lease]) -> None:
        written, self._writing = self._writing, []
        runs, self._writing_runs = self._writing_runs, []
        self.outstanding -= len(written)
        self._settled(written, runs, {lease.id for lease in lost})
        self._room.set()

    async def flush(self) -> None:
        """Wait until all that was put is durable."""
        while self.outstanding:
            self._room.clear()
            await self._room.wait()
