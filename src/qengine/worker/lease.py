"""Keeping the leases of a worker's jobs: in a thread of its own, with an event loop and a connection of its own.

A handler that blocks the worker's event loop therefore does not lose its lease, and is named in a warning.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from qengine.backends.protocol import Claim, Lease, QueueBackend, Settlement
from qengine.errors import BackendUnavailable
from qengine.worker.contact import Contact
from qengine.worker.run import Run, about
from qengine.worker.supervisor import Backoff

log = logging.getLogger("qengine.lease")

BLOCKED_AFTER = 3.0
"""Seconds for which the event loop must not answer before a warning names what blocks it."""

STOP_WITHIN = 5.0
"""Seconds to wait for the thread at the end, should the database hang; it does not keep the process alive."""


class LeaseKeeper:
    """Extends the lease of every run that it holds, at a third of the lease.

    `lost` is called in the worker's event loop with the leases that are gone.
    """

    def __init__(
        self,
        backend: QueueBackend,
        *,
        worker: str,
        lease: float,
        contact: Contact,
        lost: Callable[[Sequence[Lease]], None],
    ) -> None:
        self._backend = backend
        self._worker = worker
        self._lease = lease
        self._contact = contact
        self._lost = lost
        self._held: dict[int, Run] = {}
        self._lock = threading.Lock()
        self._host = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._nudged: asyncio.Event | None = None
        self._stopped = threading.Event()
        self._answered = time.monotonic()
        self._warned = False
        self._thread = threading.Thread(target=self._main, name="qengine-lease-keeper", daemon=True)

    def start(self) -> None:
        """Start the thread. It connects to the database when there is first something to extend."""
        self._thread.start()

    def hold(self, runs: Iterable[Run]) -> None:
        """Keep the leases of these from now on."""
        with self._lock:
            for run in runs:
                self._held[run.claim.id] = run

    def forget(self, leases: Iterable[Lease | Claim | Settlement]) -> None:
        """Keep these no longer. A job that was claimed anew meanwhile, under another token, is kept."""
        held = self._held
        with self._lock:
            for lease in leases:
                run = held.get(lease.id)
                if run is not None and run.claim.token == lease.token:
                    del held[lease.id]

    def held(self) -> list[Lease]:
        """The leases that it keeps."""
        with self._lock:
            return [run.claim.lease for run in self._held.values()]

    def nudge(self) -> None:
        """Extend now, and so find out now which leases are gone."""
        self._call(lambda: self._nudged.set() if self._nudged else None)

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    async def stop(self) -> None:
        """End the thread and close its connection."""
        self._stopped.set()
        self.nudge()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, STOP_WITHIN)

    def _call(self, callback: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(callback)
            except RuntimeError:
                return  # the thread's loop has ended meanwhile: there is nobody left to tell

    def _main(self) -> None:
        while not self._stopped.is_set():
            try:
                asyncio.run(self._run())
            except Exception:
                log.exception("the lease keeper failed and is restarted")
                self._stopped.wait(1.0)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._nudged = asyncio.Event()
        opened = False
        due = time.monotonic() + self._lease / 3
        backoff = Backoff()
        try:
            while not self._stopped.is_set():
                await self._pause(min(due - time.monotonic(), 1.0))
                nudged = self._nudged.is_set()
                self._nudged.clear()
                self._watch_host()
                if self._stopped.is_set() or not (nudged or time.monotonic() >= due):
                    continue
                try:
                    if not opened and self._held:
                        await self._backend.open()
                        opened = True
                    await self._extend()
                except BackendUnavailable as error:
                    self._contact.broken()
                    due = time.monotonic() + min(backoff.next(), self._lease / 10)
                    if backoff.tries == 1:
                        text = "leases cannot be extended until the database is back: %s"
                        log.warning(text, error, extra={"worker": self._worker})
                else:
                    backoff.reset()
                    due = time.monotonic() + self._lease / 3
        finally:
            self._loop = None
            await self._backend.close()

    async def _pause(self, seconds: float) -> None:
        assert self._nudged is not None
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._nudged.wait()
            except TimeoutError:
                return

    async def _extend(self) -> None:
        now = time.monotonic()
        with self._lock:
            runs = [run for run in self._held.values() if now < run.renew_until]
        if runs:
            leases = [run.claim.lease for run in runs]
            lost = await self._backend.extend(leases, self._lease)
            for run in runs:
                run.renewed = now
            if lost:
                self._tell_host(lambda: self._lost(lost))

    def _watch_host(self) -> None:
        """Ask the worker's event loop to answer, and warn when it has not for a while."""
        if not self._held:
            self._answered = time.monotonic()
            return
        silent = time.monotonic() - self._answered
        if silent > BLOCKED_AFTER and not self._warned:
            self._warned = True
            self._report_blocker(silent)
        self._tell_host(self._answer)

    def _answer(self) -> None:
        self._warned = False
        self._answered = time.monotonic()

    def _tell_host(self, callback: Callable[[], None]) -> None:
        try:
            self._host.call_soon_threadsafe(callback)
        except RuntimeError:
            self._stopped.set()  # the worker's loop is gone, and with it every handler

    def _report_blocker(self, silent: float) -> None:
        text = "the event loop has been blocked for %.1f s by %s"
        if (run := self._blocker()) is None:
            log.warning(text, silent, "something other than a handler", extra={"worker": self._worker})
        else:
            what = f"type {run.claim.type} (job {run.claim.id})"
            about(log, run.claim, self._worker).warning(text, silent, what)

    def _blocker(self) -> Run | None:
        """The run whose handler is on the event loop now, as far as can be told from here."""
        current = asyncio.current_task(self._host)
        with self._lock:
            runs = list(self._held.values())
        for run in runs:
            if run.in_handler and run.slot is current:
                return run
        return None
