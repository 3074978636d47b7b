"""What `qengine top` shows, as it is at one moment."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qengine import Engine, Job, Stats, Status, WorkerInfo
from qengine.cli.text import clean, duration, one_line

LOOK_BACK = dt.timedelta(minutes=5)
"""Over which throughput is averaged."""
COUNTED_WITHIN = 2.0
"""Seconds that counts may be old, unless counting takes long."""
RUNNING = 200
"""Running jobs that are shown, at the most."""
_BAR = 10


@dataclass(frozen=True, slots=True)
class TypeRow:
    """One type of jobs."""

    type: str
    counts: Mapping[str, int]
    """By status; empty while nothing was counted yet."""
    done: float
    """Jobs completed a minute."""
    failed: float
    """Attempts that failed, for good or not, a minute."""
    due_for: float | None
    """Seconds that the first in line has been due; None when none is in line."""
    paused: bool
    paused_until: dt.datetime | None
    served: bool
    """Whether a live worker has a handler for it."""

    @property
    def state(self) -> str:
        """What keeps it, in words."""
        if self.paused:
            return "paused" if self.paused_until is None else f"paused until {self.paused_until.astimezone():%H:%M:%S}"
        return "" if self.served else "no worker"


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is shown."""

    at: dt.datetime
    """By the database's clock."""
    types: Sequence[TypeRow] = ()
    running: Sequence[Job[Any]] = ()
    workers: Sequence[WorkerInfo] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    counted_at: dt.datetime | None = None
    """None: not counted yet."""

    @property
    def summary(self) -> str:
        """The line at the top."""
        slots = sum(worker.concurrency for worker in self.workers)
        busy = sum(worker.running for worker in self.workers)
        done = sum(row.done for row in self.types)
        parts = [f"{len(self.workers)} workers, {busy} of {slots} slots busy", f"{done:.1f} done/min"]
        if self.counted_at is None:
            parts.append("counting …")
        else:
            parts += [f"{count} {status}" for status, count in self.counts.items()]
            age = max(0.0, (self.at - self.counted_at).total_seconds())
            parts.append(f"counted {duration(math.floor(age))} ago" if age >= 1 else "counted now")
        return "  ·  ".join(parts)


async def look(engine: Engine, *, wait_for_counts: bool = False) -> View:
    """Look now; counts are those made last, in the background, unless they are waited for."""
    now = await engine.backend.now()
    if wait_for_counts:
        stats: Stats | None = await engine.stats()
        counted_at: dt.datetime | None = now
    else:
        counts = engine.counts(COUNTED_WITHIN)
        stats, counted_at = counts.stats, counts.at
    workers, due = await engine.workers(), await engine.oldest_due()
    paused = {pause.name: pause for pause in await engine.pauses() if pause.kind == "type"}
    done, failed, minutes = await _throughput(engine, now)
    served = {name for worker in workers for name in worker.types}
    by_type: Mapping[str, Mapping[str, int]] = {} if stats is None else stats.by_type
    types = [
        TypeRow(
            name,
            by_type.get(name, {}),
            done[name] / minutes,
            failed[name] / minutes,
            max(0.0, (now - due[name]).total_seconds()) if name in due else None,
            name in paused,
            paused[name].until if name in paused else None,
            name in served,
        )
        for name in sorted({*by_type, *due, *paused, *served, *done, *failed})
    ]
    return View(now, types, await engine.running(RUNNING), workers, {} if stats is None else stats.by_status, counted_at)


async def _throughput(engine: Engine, now: dt.datetime) -> tuple[Counter[str], Counter[str], float]:
    """Jobs completed and attempts failed of each type, and within how many minutes."""
    since = (now - LOOK_BACK).replace(second=0, microsecond=0)
    done: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for slot in await engine.activity(60, since):
        done[slot.type] += slot.completed
        failed[slot.type] += slot.failed + slot.dead
    return done, failed, (now - since).total_seconds() / 60


def type_cells(row: TypeRow) -> list[str]:
    """A row of the table of types."""
    statuses = (Status.PENDING, Status.PROCESSING, Status.FAILED, Status.DEAD)
    counts = [str(row.counts.get(status, 0)) if row.counts else "" for status in statuses]
    due = "" if row.due_for is None else duration(row.due_for)
    return [clean(row.type), *counts, f"{row.done:.1f}", f"{row.failed:.1f}", due, row.state]


def job_cells(job: Job[Any], now: dt.datetime, hosts: Mapping[str, str]) -> list[str]:
    """A row of the table of running jobs; `hosts` names workers by their ids."""
    ran = "" if job.started_at is None else duration(max(0.0, (now - job.started_at).total_seconds()))
    worker = hosts.get(job.locked_by or "", job.locked_by or "")
    return [str(job.id), clean(job.type), f"{job.attempts}/{job.max_attempts}", ran, progress(job), clean(worker)]


def worker_cells(worker: WorkerInfo, now: dt.datetime) -> list[str]:
    """A row of the table of workers."""
    heard = "" if worker.heartbeat is None else duration(max(0.0, (now - worker.heartbeat).total_seconds()))
    lag = "" if worker.loop_lag is None else duration(worker.loop_lag)
    return [place(worker), clean(worker.version), f"{worker.running}/{worker.concurrency}", lag, heard]


def place(worker: WorkerInfo) -> str:
    """Where a worker is."""
    return clean(f"{worker.host} {worker.pid}")


def progress(job: Job[Any]) -> str:
    """How far a job says it is: a bar, figures, its message."""
    told = job.progress or {}
    done, total, message = told.get("done"), told.get("total"), told.get("message")
    parts = []
    if isinstance(done, (int, float)) and isinstance(total, (int, float)) and total > 0:
        share = min(1.0, max(0.0, done / total))
        full = round(share * _BAR)
        parts.append(f"{'█' * full}{'░' * (_BAR - full)} {share * 100:.0f} %")
    elif done is not None:
        parts.append(one_line(str(done), 20))
    if message:
        parts.append(one_line(str(message), 40))
    return " ".join(parts)


def document(view: View) -> dict[str, Any]:
    """The view for `--json`."""
    return {
        "at": view.at,
        "counts": view.counts,
        "types": [
            {
                "type": row.type,
                "counts": row.counts,
                "done_per_minute": round(row.done, 3),
                "failed_per_minute": round(row.failed, 3),
                "due_for": row.due_for,
                "paused": row.paused,
                "paused_until": row.paused_until,
                "served": row.served,
            }
            for row in view.types
        ],
        "running": [
            {
                "id": job.id,
                "type": job.type,
                "attempt": job.attempts,
                "worker": job.locked_by,
                "started_at": job.started_at,
                "progress": job.progress,
            }
            for job in view.running
        ],
        "workers": [
            {
                "id": worker.id,
                "host": worker.host,
                "pid": worker.pid,
                "version": worker.version,
                "running": worker.running,
                "concurrency": worker.concurrency,
                "loop_lag": worker.loop_lag,
                "heartbeat": worker.heartbeat,
            }
            for worker in view.workers
        ],
    }
