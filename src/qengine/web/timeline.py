"""A job's life as a line: where it waited, where it ran, and how each run ended."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qengine.job import LIVE, Job, JobError, Status

NARROWEST = 0.6
"""Percent of the line that a run takes at the least, so that it is seen."""

SHORTEST_WAIT = 0.001
"""Seconds: what waited for less did not wait."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of a job's life."""

    kind: str
    """waited, retry (waited for its retry, or to be requeued), ran, failed or completed (runs: still going, or ended so)."""
    label: str
    start: dt.datetime
    end: dt.datetime
    x: float = 0.0
    """Where it begins, percent of the line."""
    width: float = 0.0
    """How long it is, percent of the line."""

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return max(0.0, (self.end - self.start).total_seconds())


def timeline(job: Job[Any], errors: Sequence[JobError], now: dt.datetime) -> list[Segment]:
    """The stretches of a job's life from its creation to its end, or to `now`, in order, and where to draw them."""
    if job.created_at is None:
        return []
    runs = _runs(job, errors, now)
    end = job.completed_at if job.completed_at is not None and job.status not in LIVE else now
    found: list[Segment] = []
    at = job.created_at
    for run in runs:
        if (run.start - at).total_seconds() >= SHORTEST_WAIT:
            found.append(_waiting(at, run.start, found))
        found.append(run)
        at = max(at, run.end)
    if job.status is not Status.PROCESSING and end > at:
        found.append(_waiting(at, end, found))
    return _placed(found)


def _waiting(start: dt.datetime, end: dt.datetime, before: Sequence[Segment]) -> Segment:
    return Segment("retry", "waited for its retry", start, end) if before else Segment("waited", "waited", start, end)


def _runs(job: Job[Any], errors: Sequence[JobError], now: dt.datetime) -> list[Segment]:
    runs = [
        Segment("failed", f"attempt {error.attempt} {_end(error)}", error.started_at or error.ended_at, error.ended_at)
        for error in errors
    ]
    # The last run is in the history only if it failed.
    if job.started_at is not None and all(run.start != job.started_at for run in runs):
        if job.status is Status.PROCESSING:
            runs.append(Segment("ran", f"attempt {job.attempts} runs", job.started_at, max(now, job.started_at)))
        elif job.status in (Status.COMPLETED, Status.CANCELLED, Status.DEAD) and job.completed_at is not None:
            kind = "completed" if job.status is Status.COMPLETED else "ran"
            started = min(job.started_at, job.completed_at)
            if not runs or started >= runs[-1].end:
                runs.append(Segment(kind, f"attempt {job.attempts}, {job.status}", started, job.completed_at))
    return sorted(runs, key=lambda run: run.start)


def _end(error: JobError) -> str:
    return "crashed" if error.error.startswith("crashed:") else "failed"  # as `reclaim` writes it


def _placed(segments: Sequence[Segment]) -> list[Segment]:
    """The same with their places; what would be too narrow to be seen takes its width from the others."""
    total = sum(segment.seconds for segment in segments)
    if not segments:
        return []
    shares = [100 * segment.seconds / total if total else 100 / len(segments) for segment in segments]
    wide = [max(share, NARROWEST) for share in shares]
    scale = 100 / sum(wide)
    placed, x = [], 0.0
    for segment, width in zip(segments, wide, strict=True):
        placed.append(Segment(segment.kind, segment.label, segment.start, segment.end, round(x, 3), round(width * scale, 3)))
        x += width * scale
    return placed
