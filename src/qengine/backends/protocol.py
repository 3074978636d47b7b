"""What a backend is: the contract between qengine and a database.

Nothing here runs. A backend implements `QueueBackend`; `qengine.testing.conformance` checks that it keeps
every rule written below. Rules that hold for every verb:

- A verb is atomic: it happened, wholly, or it did not. When it returns, its effect is durable.
- Batched verbs cost a constant number of statements, however many rows they touch.
- "Now" is the backend's clock: the database server's, or `settings.clock` when that is given.
- Durations are float seconds; times are aware datetimes; payloads, results, checkpoints, progress and headers
  cross as JSON text, except in `Job`, which holds the decoded values.
- *In line* means `rank IS NOT NULL`. A job is in line exactly when it is pending or failed and its time has come.
  `rank = due time (unix seconds) + priority x ageing`; smaller goes first, ties by id.
- *The fence*: every write about a running job names `(id, lease_token)` and applies only where both match. The token
  grows when a job is claimed and when it leaves its holder in any way, and never goes back.
- When a job leaves `processing` its `locked_by` and `locked_until` are cleared.
- A failure to reach the database is `BackendUnavailable`; other driver errors are translated to the tree in
  `qengine.errors`. The verb may then have happened or not: callers repeat only what is safe to repeat.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

from qengine.backends.inspection import Inspection, JobFilter
from qengine.clock import Clock
from qengine.job import Job, JobError, NewJob, Status

CONTRACT_VERSION = 1
"""Grows when this file changes in a way that breaks a backend; checked when a plug-in is loaded."""

STRICT_AGEING = 1e10
"""The ageing step (seconds) that stands for strict priority: three centuries a step."""

SUSPECT_CRASHES = 2
"""A job with this many crashes or more is a suspect and runs only in the quarantine lane."""


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """What the engine tells every backend; what is special to one arrives as its options."""

    clock: Clock | None = None
    """None: the database server's clock where it has one, else this machine's."""
    ageing: float = 600.0
    """Seconds that one step of priority is worth in the line."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do; shared code asks these and never which database it is."""

    push: bool
    """The database itself wakes waiting workers, in other processes too; without it they look more often."""
    server_clock: bool
    """Now is the database server's, so that the hosts' clocks need not agree."""
    caller_connection: bool
    """`enqueue(conn=…)` can join a transaction of the caller's."""


class Lease(NamedTuple):
    """The right to run one job: its id, and the token under which it was claimed."""

    id: int
    token: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What a worker has room for."""

    worker: str
    """The id of the worker, stored as `locked_by`."""
    types: Mapping[str, int]
    """The types it has handlers for, and how many more of each it takes."""
    limit: int
    """How many jobs it takes in all."""
    lease: float
    """Seconds until the lease ends unless it is extended."""
    queues: Sequence[str] | None = None
    """The queues it serves; None: every queue."""
    suspects: bool = False
    """False: take jobs with fewer than SUSPECT_CRASHES crashes. True: take only those with as many or more."""


class Claim(NamedTuple):
    """A job that was claimed: what is needed to run it."""

    id: int
    token: int
    type: str
    queue: str
    priority: int
    payload: str
    attempt: int
    """This attempt's number, 1 for the first: `attempts` as just raised."""
    max_attempts: int
    crashes: int
    timeout: float | None
    scheduled_for: dt.datetime
    created_at: dt.datetime
    expires_at: dt.datetime | None
    expired: bool
    """True when `expires_at` had passed at the claim: to be buried, not run."""
    unique_key: str | None
    partition_key: str | None
    checkpoint: str | None
    headers: str | None

    @property
    def lease(self) -> Lease:
        """The right under which it may be written."""
        return Lease(self.id, self.token)


class Settlement(NamedTuple):
    """How one run ended, and so what becomes of its job."""

    id: int
    token: int
    status: Status
    """COMPLETED; FAILED (retry after `delay`); PENDING (snoozed for `delay`, or released); DEAD; CANCELLED."""
    result: str | None = None
    """JSON text of what the handler returned (COMPLETED)."""
    delay: float | None = None
    """FAILED, PENDING: due this many seconds from now (0: in line at once). None, with PENDING: it goes back to
    the place in line that it had."""
    spent: bool = True
    """False: the attempt is given back (`attempts` goes down by one)."""
    ended: bool = True
    """True: the run ended by itself and `crashes` becomes 0. False (release at shutdown): `crashes` stays."""
    dead_reason: str | None = None
    """DEAD: a `DeadReason`."""
    error: str | None = None
    """One line. Becomes `last_error`; with `logged`, also a row of the job's history."""
    traceback: str | None = None
    error_group: str | None = None
    """`error` normalised; stored in the job for `failures`."""
    logged: bool = False
    """Whether `error` is a failed attempt that belongs in the history (`qengine_errors`)."""


class Enqueued(NamedTuple):
    """The answer to one enqueued job."""

    id: int
    existed: bool
    """True: a live job of this type had the unique key already; this is its id and nothing was stored."""
    created_at: dt.datetime
    scheduled_for: dt.datetime


class Reclaimed(NamedTuple):
    """A job whose lease had run out."""

    id: int
    type: str
    crashes: int
    dead: bool
    """True when it reached the limit of crashes and was buried as `crash_loop`."""
    worker: str | None
    """The worker that held it."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of everything stored."""

    by_status: Mapping[str, int]
    """Every status, those with none included."""
    by_type: Mapping[str, Mapping[str, int]]
    """For each type stored: every status, those with none included."""
    by_queue: Mapping[str, Mapping[str, int]]
    avg_attempts: Mapping[str, float]
    """For each type: attempts a completed or dead job took, on average. Types with neither are absent."""
    oldest_pending: float | None
    """Seconds that the job which has been due longest has waited; None when nothing is due."""
    unhandled: Mapping[str, int]
    """Types that wait (pending or failed, due or not) and that no live worker serves, and how many jobs of each."""
    workers: int
    """Live workers."""


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Dead and failed jobs of one type whose errors are alike."""

    type: str
    error: str
    """The normalised error; select the group's jobs with `error_group=`."""
    count: int
    dead: int
    """How many of them are dead."""
    first: dt.datetime
    last: dt.datetime
    sample: int
    """The id of the latest of them."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A type or a queue from which nothing is claimed."""

    kind: Literal["type", "queue"]
    name: str
    until: dt.datetime | None
    """None: until it is resumed."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron schedule, as declared in code and as it stands in the database."""

    name: str
    """Unique in the database: the task's name and the expression, with the time zone unless that is UTC."""
    type: str
    """The task that a fire enqueues."""
    cron: str
    tz: str
    catch_up: Literal["skip", "one", "all"]
    next_fire: dt.datetime
    """The first fire time not yet dealt with."""
    last_fire: dt.datetime | None = None
    """The latest fire time that was enqueued."""
    paused: bool = False
    """It fires no more until it is resumed. Set with `pause_schedule`; `put_schedules` leaves it as it stands."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker as it announces itself."""

    id: str
    host: str
    pid: int
    version: str
    types: Sequence[str]
    queues: Sequence[str] | None
    concurrency: int
    running: int = 0
    started_at: dt.datetime | None = None
    """Set by the backend's clock at its first heartbeat."""
    heartbeat: dt.datetime | None = None
    """Set by the backend's clock at each."""
    loop_lag: float | None = None
    """Seconds by which its event loop is late, as it measured last; None: not known."""


@dataclass(frozen=True, slots=True)
class Fire:
    """The due fires of one schedule: to be enqueued if, and only if, nobody has dealt with them."""

    schedule: str
    seen: dt.datetime
    """`next_fire` as it was read; when it is another by now, someone else has fired."""
    next_fire: dt.datetime
    times: Sequence[dt.datetime] = ()
    """The fire times for which `jobs` are (as many, in order); none when all were missed and are skipped."""
    jobs: Sequence[NewJob] = field(default=())


class QueueBackend(Inspection, Protocol):
    """A database that holds jobs. One instance belongs to one event loop. `Inspection` is a part of it."""

    contract: ClassVar[int]
    """The CONTRACT_VERSION that it was written for."""
    capabilities: Capabilities

    @classmethod
    def from_url(cls, url: str, settings: BackendSettings, options: Mapping[str, Any]) -> Self:
        """Make one, connecting to nothing. Options in the URL's query and in `options` mean the same; `options` wins.

        Raises ConfigurationError naming what is wrong with the URL or an option (an unknown one included), and never
        shows a password.
        """
        ...

    def sibling(self) -> QueueBackend:
        """Another, unopened, on the same database: a single connection, no wake-ups; for a thread with its own loop."""
        ...

    # -- lifecycle

    async def open(self) -> None:
        """Connect. Raises BackendUnavailable, or SchemaError when what is there is no database of this kind."""
        ...

    async def close(self) -> None:
        """Let go of every connection and thread. May be called twice."""
        ...

    async def migrate(self) -> list[str]:
        """Bring the schema up to this release, under a lock that other processes respect; the names of what was applied.

        Forward only. Raises SchemaError when the database is newer than this release, changing nothing.
        """
        ...

    async def check_schema(self) -> None:
        """Raise SchemaError, saying the remedy, unless the schema is one that this release can use."""
        ...

    def migration_sql(self) -> str:
        """The text of all migrations, in order, as a database administrator would run them by hand."""
        ...

    async def now(self) -> dt.datetime:
        """The backend's clock."""
        ...

    # -- the way of a job

    async def enqueue(self, jobs: Sequence[NewJob], conn: Any = None) -> list[Enqueued]:
        """Store jobs and wake workers; the answers are in the order of `jobs`, and new ids grow in that order.

        One that is due now or before is in line at once. With a `unique_key` that a live job of the type has, nothing
        is stored for it and the answer is that job (also within one batch). With `conn`, a connection of the caller's
        (ConfigurationError unless it is of the backend's driver), all of it, wake-up included, happens if and when
        the caller's transaction commits.
        """
        ...

    async def claim(self, demand: Demand) -> list[Claim]:
        """Take the first jobs in line among the asked-for types and queues, at most `limit` and each type's own number.

        Skips paused types and queues, and rows that another claim is taking at this moment. Each taken job becomes
        `processing`, out of line, with `attempts` and `lease_token` raised by one, owner, `started_at` and a lease of
        `demand.lease` seconds. The answer is in the order of the line.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement], worker: str) -> list[Lease]:
        """Write down how runs ended, each under its fence; the leases whose fence did not hold are returned.

        `worker` goes into the history. A token that applies is raised by one. At most one settlement a job.
        """
        ...

    async def extend(self, leases: Sequence[Lease], seconds: float) -> list[Lease]:
        """Let leases end `seconds` from now; those lost are returned. One that is overdue but not yet reclaimed holds."""
        ...

    async def disown(self, worker: str, keep: Sequence[Lease]) -> int:
        """Put back in line what a worker holds without knowing it; how many jobs.

        They are the processing jobs of `worker` under none of the leases `keep`: claims whose answer never arrived. Each
        has its attempt given back and its token raised; no crash is counted. Wakes workers.
        """
        ...

    async def save(self, lease: Lease, *, progress: str | None = None, checkpoint: str | None = None) -> bool:
        """Store what is given, under the fence; False when the lease is lost. The token stays."""
        ...

    def transaction(self, lease: Lease) -> AbstractAsyncContextManager[Any]:
        """A transaction of the database, as the driver's own connection, that ends with completing the job.

        At the end of the block the job is completed under its fence (token raised by one) and all is committed; when
        the fence does not hold, all is rolled back and LeaseLost raised. An exception from the block rolls back and
        leaves the job running. The job's row is not locked while the block works.
        """
        ...

    async def store_result(self, lease: Lease, result: str) -> bool:
        """Store a result under the token that `transaction` left behind (the claim's, plus one); False when that is gone."""
        ...

    # -- upkeep: any worker does these, several may at once, and each row is dealt with by one of them

    async def promote_due(self, limit: int) -> int:
        """Put up to `limit` jobs whose time has come in line, earliest first; how many."""
        ...

    async def next_deadline(self) -> float | None:
        """Seconds until the next job comes due or a lease ends, 0 when one is past already; None when there is neither.

        Counts jobs that are not in line, and leases of running jobs.
        """
        ...

    async def reclaim(self, limit: int, *, max_crashes: int, lease: float) -> list[Reclaimed]:
        """Take back up to `limit` jobs whose lease has ended.

        Each has its attempt given back, `crashes` and the token raised by one, a row in its history, and goes back in
        line at its old place; or, with `max_crashes` crashes, becomes dead with reason `crash_loop`. Takes none while
        the database server itself has been up for less than `lease` seconds, by its own clock: what it was down for
        is nobody's crash.
        """
        ...

    async def bury_expired(self, limit: int) -> int:
        """Make up to `limit` pending or failed jobs whose `expires_at` has passed dead, reason `expired`; how many."""
        ...

    async def bury_unknown(self, after: float, limit: int) -> int:
        """Make up to `limit` jobs dead, reason `unknown_type`; how many.

        They are those in line, due for `after` seconds or more, of a type that no live worker of their queue serves,
        while some live worker of that queue has been up for `after` seconds.
        """
        ...

    async def prune(self, retention: Mapping[Status, float], limit: int) -> int:
        """Delete up to `limit` jobs (with their history) that ended longer ago than their status's seconds; how many."""
        ...

    # -- waking

    @property
    def wakes(self) -> int:
        """How many wake-ups there have been: enqueues, requeues, resumptions and the like, of any process."""
        ...

    async def wake(self, seen: int) -> int:
        """Wait until `wakes` is more than `seen`, and return it. Any number may wait; none misses one."""
        ...

    # -- reading

    async def get(self, job_id: int) -> Job[Any] | None:
        """The job, as it stands, or None."""
        ...

    async def query(
        self, which: JobFilter, *, limit: int, after: int | None = None, newest_first: bool = False
    ) -> list[Job[Any]]:
        """Up to `limit` jobs in the order of their ids (or against it), beginning past the id `after`."""
        ...

    async def errors(self, job_id: int) -> list[JobError]:
        """The history of a job's failed attempts and crashes, oldest first."""
        ...

    async def stats(self) -> Stats:
        """Counts as of now. May read the whole table."""
        ...

    async def unhandled(self) -> list[str]:
        """The types in line that no live worker of their queue serves. Cheap: it does not count."""
        ...

    async def failures(self, limit: int) -> list[FailureGroup]:
        """Dead and failed jobs by type and normalised error, the largest groups first."""
        ...

    # -- administration

    async def requeue(self, which: JobFilter, limit: int, *, spacing: float = 0.0, begin: float = 0.0) -> list[int]:
        """Put up to `limit` dead, cancelled or completed jobs back: pending, in line now; their ids, ascending.

        Job number i of the answer, counted from 0, comes due `begin + i * spacing` seconds from now; where that is 0, it is
        in line at once. So with neither all are, and with them a group goes back at a rate. `attempts` and `crashes`
        become 0, the token grows, result, reason and an `expires_at` that has passed are cleared; error, history and
        checkpoint stay. One whose unique key a live job has now is left alone. Wakes workers.
        """
        ...

    async def cancel(self, which: JobFilter, limit: int) -> list[int]:
        """Make up to `limit` pending, failed or processing jobs cancelled (token raised); their ids.

        The holder of a running one learns of it when it next extends its lease.
        """
        ...

    async def delete(self, which: JobFilter, limit: int) -> list[int]:
        """Delete up to `limit` jobs and their history; their ids. A running one is lost to its holder."""
        ...

    async def pause(self, kind: Literal["type", "queue"], name: str, until: float | dt.datetime | None = None) -> None:
        """Claim nothing of this type or queue, for so many seconds or until then; None: until resumed.

        A pause without end is not shortened by one with an end, nor a longer one by a shorter; `resume` first.
        """
        ...

    async def resume(self, kind: Literal["type", "queue"], name: str) -> bool:
        """End a pause; False when there was none. Wakes workers."""
        ...

    async def pauses(self) -> list[Pause]:
        """The pauses in force."""
        ...

    # -- schedules

    async def put_schedules(self, schedules: Sequence[Schedule]) -> None:
        """Declare schedules. One that stands with the same cron and tz keeps its `next_fire` and `last_fire`."""
        ...

    async def schedules(self) -> list[Schedule]:
        """All that were ever declared, by name."""
        ...

    async def fire(self, fire: Fire) -> list[int] | None:
        """Enqueue a schedule's due fires and move it on, all at once: the new jobs' ids; None when someone else has.

        A fire time is enqueued at most once for ever (`qengine_fires`), whatever `seen` says. Of a schedule that is paused
        nothing is enqueued: it is moved on to `next_fire` (its `last_fire` stays), and the answer is empty.
        """
        ...

    # -- workers

    async def heartbeat(self, worker: WorkerInfo) -> None:
        """Announce a worker, or that it still lives and what it is doing."""
        ...

    async def retire(self, worker_id: str) -> None:
        """Forget a worker that has stopped."""
        ...

    async def workers(self, within: float) -> list[WorkerInfo]:
        """Those whose last heartbeat is at most `within` seconds old."""
        ...

    async def forget_workers(self, older: float) -> int:
        """Forget workers whose last heartbeat is more than `older` seconds old; how many."""
        ...


LIVE_WITHIN = 30.0
"""A worker is live while its last heartbeat is at most this many seconds old (`stats`, `bury_unknown`)."""
