"""Recording what a worker does, by minutes and by quarters of an hour, so that dashboards in other processes can show it."""

from __future__ import annotations

import asyncio
import logging
import random

from qengine.backends.inspection import STEPS, WAIT_BOUNDS, Activity
from qengine.backends.protocol import QueueBackend
from qengine.errors import BackendUnavailable
from qengine.worker.database_time import DatabaseTime
from qengine.worker.tally import Tally, TypeTally

log = logging.getLogger("qengine.worker")

EVERY = 10.0
"""Seconds between records; every one of STEPS is a multiple of it."""
JUST_AFTER = 0.005
"""Seconds after the turn of a slot at which its end is noted, so as not to be early."""
SPREAD = 2.0
"""Seconds over which the workers of a cluster, which all look at the same moments, spread their writing."""
KEPT = 3 * 3600.0
"""Seconds for which what cannot be written is kept to be written later."""

_BINS = len(WAIT_BOUNDS) + 1
_NOTHING = [0] * (4 + 2 * _BINS)

Slot = tuple[int, int, str]
"""The step, the beginning, and the job type."""


class ActivityLog:
    """Writes the tally down. What was done in a slot of time is written again and again until the slot is over."""

    def __init__(self, backend: QueueBackend, tally: Tally, time: DatabaseTime) -> None:
        self._backend = backend
        self._tally = tally
        self._time = time
        self._tally.offset = self._time.offset
        self._start = dict.fromkeys(STEPS, 0)
        self._before: dict[int, dict[str, list[int]]] = {step: {} for step in STEPS}
        """What the tally stood at when the present slot of each step began."""
        self._unwritten: dict[Slot, Activity] = {}
        self._latest: dict[Slot, Activity] = {}
        """What was done in the present slots, as it was last noted."""
        self._refused = False

    async def run(self) -> None:
        """Record every ten seconds, for ever. What the database will not have is reported and left out."""
        self._tally.offset = await self._time.ask()
        self.look()
        while True:
            await asyncio.sleep(EVERY - self._time.now() % EVERY + JUST_AFTER)
            self.look()
            await asyncio.sleep(random.uniform(0, SPREAD))  # noqa: S311 - it spreads load and guards nothing
            self._tally.offset = await self._time.ask()
            await self.write()

    async def finish(self) -> None:
        """Record for the last time. Raises BackendUnavailable."""
        self.look()
        await self.write()

    def look(self) -> None:
        """Note what was done since the present slots began; those that have ended are noted for the last time."""
        now = self._time.now()
        figures = {type: _figures(counts) for type, counts in self._tally.types.items()}
        for step in STEPS:
            begun = int(now // step) * step
            # Until the first look nothing was done. A clock that goes back does not open a slot again: what is in it stays.
            start = self._start[step] = self._start[step] or begun
            self._note(step, start, figures)
            if begun > start:
                self._start[step], self._before[step] = begun, figures
        self._latest = {slot: row for slot, row in self._latest.items() if slot[1] >= self._start[slot[0]]}
        for slot in [slot for slot in self._unwritten if slot[1] < now - KEPT - slot[0]]:
            del self._unwritten[slot]

    def _note(self, step: int, start: int, figures: dict[str, list[int]]) -> None:
        before = self._before[step]
        for type, total in figures.items():
            done = [now - then for now, then in zip(total, before.get(type, _NOTHING), strict=True)]
            if any(done):
                row = Activity(
                    step,
                    start,
                    self._tally.worker,
                    type,
                    completed=done[0],
                    failed=done[1],
                    dead=done[2],
                    other=done[3],
                    waits=tuple(done[4 : 4 + _BINS]),
                    runs=tuple(done[4 + _BINS :]),
                )
                if self._latest.get((step, start, type)) != row:
                    self._latest[step, start, type] = self._unwritten[step, start, type] = row

    async def write(self) -> None:
        """Write what was noted and is not written yet. Raises BackendUnavailable."""
        rows = dict(self._unwritten)
        if not rows:
            return
        try:
            await self._backend.record_activity(list(rows.values()))
        except BackendUnavailable:
            raise
        except Exception:
            # A worker that runs jobs but cannot tell of it is better than none.
            if not self._refused:
                text = "what this worker does cannot be recorded; dashboards will not show it"
                log.exception(text, extra={"worker": self._tally.worker})
            self._refused = True
            return
        self._refused = False
        for slot, row in rows.items():
            if self._unwritten.get(slot) is row:
                del self._unwritten[slot]


def _figures(counts: TypeTally) -> list[int]:
    completed, failed, dead = counts.runs("completed"), counts.runs("failed"), counts.runs("dead")
    runs = [sum(bins) for bins in zip(*(ended.bins for ended in counts.ended.values()), strict=True)] or [0] * _BINS
    return [completed, failed, dead, sum(runs) - completed - failed - dead, *counts.waits.bins, *runs]
