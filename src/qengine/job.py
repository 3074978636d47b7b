"""A job as the database holds it, its statuses, and the request that makes one."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from qengine.errors import ConfigurationError

R_co = TypeVar("R_co", covariant=True)


class Status(enum.StrEnum):
    """Where a job stands. A job is in exactly one status from its enqueue to its deletion."""

    PENDING = "pending"
    """Waiting to be run, perhaps for its time."""
    PROCESSING = "processing"
    """Held by a worker under a lease."""
    COMPLETED = "completed"
    """The handler returned."""
    FAILED = "failed"
    """The last attempt failed; waits for its retry."""
    DEAD = "dead"
    """Will not run again unless requeued; `dead_reason` says why."""
    CANCELLED = "cancelled"
    """Was no longer wanted."""


LIVE = (Status.PENDING, Status.PROCESSING, Status.FAILED)
"""The statuses within which a `unique_key` is unique."""


class DeadReason(enum.StrEnum):
    """Why a job is dead."""

    EXHAUSTED = "exhausted"
    """Its last attempt failed."""
    DISCARDED = "discarded"
    """Its handler raised `Discard`, or an error on which its policy gives up."""
    CRASH_LOOP = "crash_loop"
    """It lost its lease `max_crashes` times in a row."""
    UNKNOWN_TYPE = "unknown_type"
    """No worker knew its type for as long as the engine allows."""
    BAD_PAYLOAD = "bad_payload"
    """Its stored payload does not fit its handler."""
    EXPIRED = "expired"
    """It was not started in time."""


class JobWaiter(Protocol):
    """What a job needs of its engine in order to be waited for."""

    async def wait_for(self, job_id: int, timeout: float | None) -> Any:
        """See `Job.wait`."""
        ...


class NewJob(msgspec.Struct, frozen=True):
    """A request to run something, checked and encoded, ready to be stored."""

    type: str
    """The name of its task."""
    payload: str = "{}"
    """The arguments, a JSON object."""
    queue: str = "default"
    priority: int = 5
    """1 (first) to 10 (last)."""
    delay: float | None = None
    """Seconds from now, by the backend's clock, until it is due. Not together with `at`."""
    at: dt.datetime | None = None
    """When it is due (aware). Neither `delay` nor `at`: at once."""
    max_attempts: int = 3
    timeout: float | None = None
    """Seconds an attempt may take; None: as the task says where it runs."""
    unique_key: str | None = None
    """At most one live job of this type has this key."""
    partition_key: str | None = None
    expires: float | dt.datetime | None = None
    """Seconds from now, or an aware datetime: no attempt starts after it."""
    headers: str | None = None
    """Trace context and the like, a JSON object of strings."""


class Job(msgspec.Struct, Generic[R_co], frozen=True, eq=False):
    """One stored request to run, as it was when it was read. It does not change; read it again to see news.

    A msgspec Struct, which is made in a fraction of the time that a frozen dataclass takes: each enqueue makes one.
    """

    id: int
    type: str
    queue: str = "default"
    priority: int = 5
    payload: Any = msgspec.field(default_factory=dict)
    """The arguments, as plain JSON values; the stored text itself where it is no JSON."""
    status: Status = Status.PENDING
    attempts: int = 0
    """Attempts begun, less those given back (snooze, RetryAfter, shutdown, a lost lease)."""
    max_attempts: int = 3
    crashes: int = 0
    """Leases lost in a row; a run that ends by itself sets it back to 0."""
    last_error: str | None = None
    dead_reason: str | None = None
    scheduled_for: dt.datetime | None = None
    """When it is, or was, due."""
    rank: float | None = None
    """Its place in line (smaller first); None when it is not in line."""
    locked_until: dt.datetime | None = None
    locked_by: str | None = None
    """The id of the worker that holds it."""
    lease_token: int = 0
    unique_key: str | None = None
    partition_key: str | None = None
    timeout: float | None = None
    expires_at: dt.datetime | None = None
    result: Any = None
    """What the handler returned, as plain JSON values."""
    progress: Mapping[str, Any] | None = None
    """`{"done": …, "total": …, "message": …}` as last reported."""
    checkpoint: Any = None
    """What the handler last saved with `ctx.checkpoint`."""
    headers: Mapping[str, str] | None = None
    created_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None
    started_at: dt.datetime | None = None
    """When its last attempt was claimed."""
    completed_at: dt.datetime | None = None
    """When it reached a final status (completed, dead or cancelled)."""
    error_group: str | None = None
    """`last_error` with what varies taken out, by which failures are grouped."""
    existed: bool = False
    """True on the answer to an enqueue whose `unique_key` a live job already had: this is that job."""
    _waiter: JobWaiter | None = None

    def __eq__(self, other: object) -> bool:
        """Whether it is the same job in the same state, wherever each was read."""
        if not isinstance(other, Job):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in STORED)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in (*STORED, "existed")]

    def __repr__(self) -> str:
        return f"Job({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    async def wait(self, timeout: float | None = None) -> R_co:
        """Wait until the job ends and return its result.

        `timeout` is in seconds; None waits without end. Raises JobFailed when the job ends dead or
        cancelled, JobNotFound when it is deleted meanwhile, and TimeoutError when time is up first.
        The job itself is not touched by any of these.
        """
        if self._waiter is None:
            raise ConfigurationError(f"job {self.id} was not read through an engine; read it with `await engine.job({self.id})`")
        result: R_co = await self._waiter.wait_for(self.id, timeout)
        return result


STORED = tuple(name for name in Job.__struct_fields__ if name not in ("existed", "_waiter"))
"""The fields of a job that are columns of its row."""


@dataclass(frozen=True, slots=True)
class JobError:
    """One failed attempt, or crash, in the history of a job."""

    job_id: int
    attempt: int
    worker: str | None
    started_at: dt.datetime | None
    ended_at: dt.datetime
    error: str
    """One line: the exception's type and message."""
    traceback: str | None
