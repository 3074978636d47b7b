"""Telling what happens in a worker: to its tally, to who listens for events, and to the log."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Collection, Sequence
from typing import Any

from qengine.backends.protocol import Reclaimed, Settlement
from qengine.events import Dispatcher, Event
from qengine.job import DeadReason
from qengine.worker.run import Run
from qengine.worker.tally import Ended, Tally, how_it_ended

log = logging.getLogger("qengine.worker")


class Reporter:
    """What the parts of one worker tell of what they did. Events are made only of kinds that someone wants."""

    def __init__(self, tally: Tally, events: Dispatcher) -> None:
        self._tally = tally
        self._events = events

    def settled(self, settlements: Sequence[Settlement], runs: Sequence[Run], gone: Collection[int]) -> None:
        """A batch of outcomes was written down, but for those of the jobs `gone`, which were no longer ours."""
        self._tally.settled(settlements, runs, gone)
        wanted = self._events.wanted
        if wanted:
            for settlement, run in zip(settlements, runs, strict=True):
                end = how_it_ended(settlement, gone)
                if end in wanted and run.started:
                    self._events.tell(self._event(run, end, settlement))

    def ended(self, run: Run, end: Ended) -> None:
        """A run is over of which nothing is left to be written down."""
        self._tally.ended(run, end)
        if end in self._events.wanted:
            self._events.tell(self._event(run, end))

    def reclaimed(self, jobs: Sequence[Reclaimed]) -> None:
        """Jobs were taken back from workers whose leases had ended."""
        self._tally.reclaimed(jobs)
        for job in jobs:
            level = logging.ERROR if job.dead else logging.WARNING
            fate = "is dead (crash_loop)" if job.dead else "goes back in line"
            text = "job %s (%s) lost its lease (worker %s), crash %d: it %s"
            extra = {"job_id": job.id, "type": job.type, "worker": job.worker}
            log.log(level, text, job.id, job.type, job.worker, job.crashes, fate, extra=extra)
            if "crashed" in self._events.wanted:
                self._events.tell(Event("crashed", self._now(), job.type, job.id, worker=job.worker, crashes=job.crashes))
            if job.dead and "dead" in self._events.wanted:
                reason = DeadReason.CRASH_LOOP.value
                self._events.tell(Event("dead", self._now(), job.type, job.id, worker=job.worker, dead_reason=reason))

    def unhandled(self, type: str) -> None:
        """Jobs of a type wait that no live worker handles."""
        log.warning("jobs of type %s wait, and no live worker has a handler for it", type, extra={"type": type})
        if "unhandled_type" in self._events.wanted:
            self._events.tell(Event("unhandled_type", self._now(), type, worker=self._tally.worker))

    def _event(self, run: Run, end: Ended, settlement: Settlement | None = None) -> Event:
        claim, offset = run.claim, self._tally.offset
        told: dict[str, Any] = {}
        if settlement is not None and end != "lease_lost":
            told = {
                "error": settlement.error,
                "error_group": settlement.error_group,
                "dead_reason": settlement.dead_reason,
                "delay": settlement.delay,
            }
        return Event(
            end,
            _moment(run.ended + offset),
            claim.type,
            claim.id,
            claim.attempt,
            self._tally.worker,
            waited=max(0.0, run.started + offset - claim.scheduled_for.timestamp()),
            seconds=run.ended - run.started,
            **told,
        )

    def _now(self) -> dt.datetime:
        return _moment(time.monotonic() + self._tally.offset)


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
