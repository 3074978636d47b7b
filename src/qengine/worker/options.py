"""What a worker is told: options of its own, and the rules that hold for the whole engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qengine.errors import ConfigurationError
from qengine.job import Status
from qengine.retry import RetryPolicy

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of one worker."""

    concurrency: int = 10
    """How many jobs it runs at once. Raise it for handlers that wait on the network."""
    queues: tuple[str, ...] | None = None
    """The queues it serves; None: every queue."""
    types: tuple[str, ...] | None = None
    """The types it runs; None: every task that is registered."""
    grace: float = 30.0
    """Seconds that running jobs have to end at shutdown before they are cancelled and put back."""
    until_idle: bool = False
    """Stop when nothing is due any more and nothing runs."""
    prefetch: int | None = None
    """How many jobs may be claimed ahead of a free slot, at the most. None: as many as ended in the last 100 ms,
    which is none for slow jobs. 0: none."""

    def __post_init__(self) -> None:
        if isinstance(self.concurrency, bool) or not isinstance(self.concurrency, int) or self.concurrency < 1:
            raise ConfigurationError(f"concurrency={self.concurrency!r}: give a whole number, 1 or more")
        if self.prefetch is not None and (not isinstance(self.prefetch, int) or self.prefetch < 0):
            raise ConfigurationError(f"prefetch={self.prefetch!r}: give a whole number, 0 or more, or None")
        if not isinstance(self.grace, (int, float)) or not self.grace >= 0:
            raise ConfigurationError(f"grace={self.grace!r}: give a number of seconds, 0 or more")
        for name in ("queues", "types"):
            value = getattr(self, name)
            if value is not None and (not value or not all(isinstance(v, str) and v for v in value)):
                raise ConfigurationError(f"{name}={value!r}: give a list of names, or None for all")


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every worker of an engine."""

    lease: float = 60.0
    """Seconds that a claim lasts; renewed at a third of it. Shorter: crashed workers' jobs are taken over sooner."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """For tasks without a policy of their own."""
    timeout: float | None = None
    """Seconds an attempt may take, for tasks without a timeout of their own; None: without end."""
    max_crashes: int = 5
    """Leases lost in a row after which a job is dead."""
    payload_limit: int = 1 << 20
    """Bytes that a payload, a result or a checkpoint may have."""
    retention: Mapping[Status, float] = field(default_factory=lambda: {Status.COMPLETED: 7 * DAY, Status.CANCELLED: 7 * DAY})
    """Seconds that ended jobs are kept, by status; a status that is absent is kept for ever."""
    unknown_type_after: float | None = None
    """Seconds after which due jobs that no live worker knows are dead; None: never."""
