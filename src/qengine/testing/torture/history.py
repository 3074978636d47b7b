"""What is known about a run, as the checker sees it."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from qengine.testing.torture.ledger import Event

FINAL = ("completed", "dead", "cancelled")
WAITING = ("pending", "failed")
OWN_HAND = "its own hand"
"""Why a worker ended that got a SIGKILL which the run did not send."""


@dataclass(frozen=True, slots=True)
class Row:
    """A job as it is stored at the end."""

    id: int
    type: str
    status: str
    priority: int
    attempts: int
    max_attempts: int
    crashes: int
    token: int
    due: float
    """`scheduled_for`, unix seconds by the engine's clock."""
    created: float
    """`created_at`, likewise."""
    unique_key: str | None = None
    dead_reason: str | None = None
    last_error: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None

    @property
    def marker(self) -> str | None:
        """By which whoever enqueued it knows it; None for one that a schedule made."""
        return self.payload.get("marker")


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a job, as a trigger in the database recorded it in the same transaction."""

    seq: int
    at: float
    """Unix seconds by the machine's clock."""
    job: int
    type: str
    before: str | None
    """The status; None: the job was new."""
    after: str | None
    """None: the job was deleted."""
    token_before: int
    token: int
    attempts_before: int
    attempts: int
    max_attempts: int
    crashes_before: int
    crashes: int
    priority: int
    due: float
    rank: float | None
    worker: str | None
    """`locked_by` after the change, or before it when the job left its holder."""
    dead_reason: str | None = None
    error: str | None = None
    """`last_error`, where it changed."""
    result: Any = None
    checkpoint: Any = None
    """Where it changed."""
    progress: Any = None
    """Where it changed."""

    @property
    def is_claim(self) -> bool:
        """Whether a worker took the job."""
        return self.after == "processing" and self.before != "processing"

    @property
    def leaves_holder(self) -> bool:
        """Whether the job left a worker's hands."""
        return self.before == "processing" and self.after != "processing"

    @property
    def is_crash(self) -> bool:
        """Whether its lease was taken back."""
        return self.leaves_holder and self.crashes > self.crashes_before

    def __str__(self) -> str:
        said = f"database {self.before or 'new'} -> {self.after or 'deleted'} token={self.token} attempts={self.attempts}"
        said += f" crashes={self.crashes} due={self.due:.3f} rank={self.rank} worker={self.worker}"
        for name in ("dead_reason", "error", "result", "checkpoint", "progress"):
            value = getattr(self, name)
            if value is not None:
                said += f" {name}={value}"
        return said


@dataclass(frozen=True, slots=True)
class Rules:
    """What held in the run."""

    max_crashes: int
    ageing: float
    crons: Mapping[str, str]
    """Tasks on a schedule, and their catch-up policies."""
    cron_period: float
    guilty: Sequence[str]
    """Types that end their process."""
    unknown: str
    """The type that no worker knew."""
    grace: float
    """Seconds that a worker had for its running jobs."""
    calm: tuple[float, float] | None = None
    """Since when nothing was broken any more, and when the workers were told to stop; by the engine's clock."""


@dataclass
class History:
    """All that is known."""

    rules: Rules
    rows: dict[int, Row]
    changes: list[Change]
    """In the order of the database; empty when it could not record them."""
    events: list[Event]
    """In the order of time."""
    fires: list[tuple[str, float]] = field(default_factory=list)
    """(schedule, fire time)"""
    effects: list[tuple[int, int]] = field(default_factory=list)
    """(job, token) that handlers wrote in `ctx.transaction()`."""
    orders: set[str] = field(default_factory=set)
    """Markers that applications committed together with a job."""
    rested: bool = True
    """Whether everything came to rest in time."""

    @cached_property
    def changes_by_job(self) -> dict[int, list[Change]]:
        """The changes of each job, in order."""
        found: dict[int, list[Change]] = defaultdict(list)
        for change in self.changes:
            found[change.job].append(change)
        return found

    @cached_property
    def events_by_job(self) -> dict[int, list[Event]]:
        """The events that name each job, in order."""
        found: dict[int, list[Event]] = defaultdict(list)
        for event in self.events:
            if "job" in event.facts:
                found[event.facts["job"]].append(event)
            elif event.kind in ("ack", "asks", "acts"):
                for job in event.facts.get("ids", ()):
                    found[job].append(event)
        return found

    @cached_property
    def begins(self) -> list[Event]:
        """The beginnings of runs."""
        return [event for event in self.events if event.kind == "begin"]

    @cached_property
    def faults(self) -> list[Event]:
        """What the nemesis did, at the moment it began."""
        return [event for event in self.events if event.kind == "fault"]

    @cached_property
    def deaths(self) -> dict[int, Event]:
        """How each worker process ended, by pid."""
        return {event.facts["victim"]: event for event in self.events if event.kind == "exit"}

    def of_kind(self, *kinds: str) -> Iterator[Event]:
        """The events of these kinds."""
        return (event for event in self.events if event.kind in kinds)

    def told(self, job: int) -> str:
        """The whole history of a job, from all sides, in the order of time."""
        lines: list[tuple[float, str]] = [(event.at, str(event)) for event in self.events_by_job.get(job, ())]
        lines += [(change.at, str(change)) for change in self.changes_by_job.get(job, ())]
        times = [event.at for event in self.faults]
        if lines:
            first = bisect.bisect_left(times, min(lines)[0] - 5)
            last = bisect.bisect_right(times, max(lines)[0])
            around = self.faults[first:last]
            shown = around if len(around) <= 60 else around[-60:]
            lines += [(event.at, f"    ({event})") for event in shown]
        lines.sort(key=lambda line: line[0])
        told = [f"  {at:.3f} {text}" for at, text in lines]
        row = self.rows.get(job)
        return "\n".join([*told, f"  at the end: {row if row is not None else 'not there'}"])
