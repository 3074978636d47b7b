"""A registered handler, how to enqueue it, and the options that a job can be given."""

from __future__ import annotations

import datetime as dt
import functools
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar

from qengine.codec import PayloadCodec, encode
from qengine.context import JobContext
from qengine.errors import ConfigurationError, PayloadError
from qengine.job import Job, NewJob
from qengine.retry import RetryPolicy
from qengine.signatures import function_name, parameter_types, signature
from qengine.values import is_unicode

CallP = ParamSpec("CallP")
"""The parameters of the handler itself, a JobContext included."""
CallR = TypeVar("CallR", covariant=True)
"""What calling the handler gives: for an async one, a coroutine."""
P = ParamSpec("P")
"""The parameters of the handler, less a JobContext: those of a job."""
R = TypeVar("R", covariant=True)
"""The result of the handler."""

Executor = Literal["async", "thread", "process"]
EXECUTORS: tuple[Executor, ...] = ("async", "thread", "process")

NAME_LIMIT = 255
"""The longest name of a task or queue, in characters."""
KEY_LIMIT = 512
"""The longest unique_key or partition_key, in characters."""


@dataclass(frozen=True)
class TaskOptions:
    """What a task was registered with. Each is checked at registration (ConfigurationError)."""

    name: str
    """The type of its jobs: what the database stores. Default: the function's name. Give one when the function may be
    renamed, or another service enqueues by it."""
    queue: str = "default"
    """The lane its jobs go to when they name none. Use another for work that only some workers are to serve."""
    priority: int = 5
    """1 (first) to 10 (last), for jobs that name none. A step is worth the engine's `ageing` seconds in the line."""
    timeout: float | None = None
    """Seconds one attempt may take; then it has failed. None: the engine's `timeout`. Set it for whatever talks to a network."""
    max_attempts: int | None = None
    """Attempts before a job is dead, for jobs that name none. None: the engine's number."""
    max_concurrency: int | None = None
    """How many run at once in one worker; None: as many as the worker has slots. Set it to spare what the task calls."""
    retry: RetryPolicy | None = None
    """When a failed attempt is tried again; None: the engine's `retry`."""
    executor: Executor = "async"
    """Where it runs: "async" in the worker's event loop (for `async def`), "thread" in a thread (the default for `def`),
    "process" in a process of its own, which a timeout really kills (a `def` at module level)."""

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_name("queue", self.queue)
        check_priority(self.priority)
        if self.timeout is not None:
            check_seconds("timeout", self.timeout, above=True, none="the engine's")
        for name in ("max_attempts", "max_concurrency"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        if self.executor not in EXECUTORS:
            raise ConfigurationError(f"executor={self.executor!r}: give one of {', '.join(map(repr, EXECUTORS))}")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The options of one job, or of all of one `enqueue_many`. None: as the task says, or nothing of the kind.

    Raises ConfigurationError, naming the value and what to give instead.
    """

    priority: int | None = None
    """1 (first) to 10 (last)."""
    delay: float | None = None
    """Seconds from now, by the database's clock, until it is due. Not together with `at`."""
    at: dt.datetime | None = None
    """When it is due, an aware datetime. One that has passed: now."""
    max_attempts: int | None = None
    """Attempts before it is dead, 1 or more."""
    timeout: float | None = None
    """Seconds one attempt may take, over 0."""
    queue: str | None = None
    """The lane that it goes to."""
    unique_key: str | None = None
    """While a live job of the type has this key, enqueueing gives that job instead of a new one (`job.existed`)."""
    partition_key: str | None = None
    """What the job is about, such as a customer's id."""
    expires: float | dt.datetime | None = None
    """No attempt starts later than this: seconds from now, over 0, or an aware datetime. The job is dead then, `expired`."""
    headers: Mapping[str, str] | None = None
    """Trace context and the like: texts by name."""
    conn: Any = field(default=None, repr=False)
    """A connection of the caller's, with a transaction open: the job exists if, and only if, that commits."""

    def __post_init__(self) -> None:
        if self.priority is not None:
            check_priority(self.priority)
        if self.delay is not None:
            if self.at is not None:
                raise ConfigurationError(f"delay={self.delay!r} and at={self.at!r}: give one of them")
            check_seconds("delay", self.delay)
        if self.at is not None:
            check_moment("at", self.at)
        if self.max_attempts is not None:
            check_count("max_attempts", self.max_attempts)
        if self.timeout is not None:
            check_seconds("timeout", self.timeout, above=True, none="the task's")
        if self.queue is not None:
            check_name("queue", self.queue)
        for name in ("unique_key", "partition_key"):
            if getattr(self, name) is not None:
                check_name(name, getattr(self, name), KEY_LIMIT)
        if isinstance(self.expires, dt.datetime):
            check_moment("expires", self.expires)
        elif self.expires is not None:
            check_seconds("expires", self.expires, above=True, none="never")
        if self.headers is not None:
            check_headers(self.headers)


NO_OPTIONS = JobOptions()


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """What a job gets that its options leave open."""

    queue: str = "default"
    priority: int = 5
    max_attempts: int = 3


def new_job(type: str, payload: str, options: JobOptions, defaults: JobDefaults) -> NewJob:
    """The request to store one job of `type` with an encoded payload."""
    if options is NO_OPTIONS:
        return NewJob(type, payload, defaults.queue, defaults.priority, max_attempts=defaults.max_attempts)
    return NewJob(
        type=type,
        payload=payload,
        queue=defaults.queue if options.queue is None else options.queue,
        priority=defaults.priority if options.priority is None else options.priority,
        delay=options.delay,
        at=options.at,
        max_attempts=defaults.max_attempts if options.max_attempts is None else options.max_attempts,
        timeout=options.timeout,
        unique_key=options.unique_key,
        partition_key=options.partition_key,
        expires=options.expires,
        headers=None if options.headers is None else encode(dict(options.headers), what="headers"),
    )


class Submitter(Protocol):
    """What a task needs of its engine."""

    @property
    def payload_limit(self) -> int:
        """The longest payload, in bytes."""
        ...

    @property
    def default_max_attempts(self) -> int:
        """Attempts of a job when neither it, its task nor the task's policy says."""
        ...

    async def submit(self, jobs: list[NewJob], conn: Any) -> list[Job[Any]]:
        """Store jobs, in the caller's transaction when there is a `conn`; the stored jobs, in the same order."""
        ...


class Task(Generic[CallP, CallR, P, R]):
    """A registered handler. Called, it is the plain function; `enqueue` stores a job that runs it.

    Made by `engine.task(…)`, never by hand.
    """

    def __init__(self, fn: Callable[CallP, CallR], settings: TaskOptions, submitter: Submitter) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        """The plain function."""
        self.settings = settings
        """What it was registered with."""
        self.name = settings.name
        """The type of its jobs."""
        self.wants_context = wants_context(fn)
        """Whether the handler's first parameter is a JobContext."""
        self.codec = PayloadCodec(fn, skip_first=self.wants_context)
        """Stores its arguments."""
        self._submitter = submitter
        self._unbound: BoundTask[P, R] = BoundTask(self, NO_OPTIONS)

    def __call__(self, /, *args: CallP.args, **kwargs: CallP.kwargs) -> CallR:
        """Call the plain function, here and now; no job is made."""
        return self.fn(*args, **kwargs)

    async def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Store a job that calls the handler with these arguments. When this returns, the job is durable.

        Raises PayloadError, naming the parameter, when an argument does not fit the handler or cannot be stored, and
        BackendUnavailable when the database does not answer; nothing is stored then, as far as is known.
        """
        return await self._unbound.enqueue(*args, **kwargs)

    async def enqueue_many(self, calls: Iterable[Mapping[str, Any]]) -> list[Job[R]]:
        """Store one job for each set of arguments, all of them or none; the jobs in the same order.

        Raises as `enqueue`; the message says which of them was wrong.
        """
        return await self._unbound.enqueue_many(calls)

    def options(
        self,
        *,
        priority: int | None = None,
        delay: float | None = None,
        at: dt.datetime | None = None,
        max_attempts: int | None = None,
        timeout: float | None = None,
        queue: str | None = None,
        unique_key: str | None = None,
        partition_key: str | None = None,
        expires: float | dt.datetime | None = None,
        headers: Mapping[str, str] | None = None,
        conn: Any = None,
    ) -> BoundTask[P, R]:
        """The task with options for the jobs enqueued through the answer; see `JobOptions`.

        Raises ConfigurationError, naming the value and what to give instead.
        """
        return BoundTask(
            self,
            JobOptions(
                priority=priority,
                delay=delay,
                at=at,
                max_attempts=max_attempts,
                timeout=timeout,
                queue=queue,
                unique_key=unique_key,
                partition_key=partition_key,
                expires=expires,
                headers=headers,
                conn=conn,
            ),
        )

    @functools.cached_property
    def defaults(self) -> JobDefaults:
        """What its jobs get that their options leave open."""
        settings = self.settings
        return JobDefaults(settings.queue, settings.priority, settings.max_attempts or self._submitter.default_max_attempts)

    def new_job(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: JobOptions = NO_OPTIONS, *, plain: bool = False
    ) -> NewJob:
        """The request to store one call. With `plain`, arguments may be in their JSON form. Raises PayloadError."""
        payload = self.codec.encode(args, kwargs, self._submitter.payload_limit, plain=plain)
        return new_job(self.name, payload, options, self.defaults)

    async def _submit(self, jobs: list[NewJob], conn: Any) -> list[Job[Any]]:
        return await self._submitter.submit(jobs, conn) if jobs else []

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"


class BoundTask(Generic[P, R]):
    """A task with the options of the jobs to be enqueued. It may be used any number of times."""

    __slots__ = ("_options", "_task")

    def __init__(self, task: Task[..., Any, P, R], options: JobOptions) -> None:
        self._task = task
        self._options = options

    async def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """See `Task.enqueue`."""
        task = self._task
        (job,) = await task._submit([task.new_job(args, kwargs, self._options)], self._options.conn)
        return job

    async def enqueue_many(self, calls: Iterable[Mapping[str, Any]]) -> list[Job[R]]:
        """See `Task.enqueue_many`."""
        task = self._task
        if isinstance(calls, Mapping):
            raise PayloadError(f"{task.name}: enqueue_many takes a list of arguments' dicts, not one dict; give [{{…}}, {{…}}]")
        jobs = []
        for index, kwargs in enumerate(calls):
            if not isinstance(kwargs, Mapping):
                raise PayloadError(
                    f"{task.name}: item {index} of enqueue_many is no dict of arguments but {type(kwargs).__name__}"
                )
            try:
                jobs.append(task.new_job((), kwargs, self._options))
            except PayloadError as error:
                raise PayloadError(f"item {index}: {error}", parameter=error.parameter) from error
        return await task._submit(jobs, self._options.conn)

    def __repr__(self) -> str:
        return f"<{self._task.name!r} with {self._options}>"


def wants_context(fn: Callable[..., Any]) -> bool:
    """Whether the first parameter of `fn` is a JobContext. Raises ConfigurationError when one stands anywhere else."""
    types = parameter_types(fn)
    wanted = False
    for index, (name, parameter) in enumerate(signature(fn).parameters.items()):
        if not _mentions_context(types[name]):
            continue
        positional = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if index > 0 or not positional or not isinstance(types[name], type):
            raise ConfigurationError(
                f"{function_name(fn)}: parameter {name!r} is no place for a JobContext; "
                "let it be the first parameter, annotated as just that: `ctx: JobContext`"
            )
        wanted = True
    return wanted


def _mentions_context(hint: Any) -> bool:
    if isinstance(hint, type) and not typing.get_origin(hint):
        return issubclass(hint, JobContext)
    return any(_mentions_context(arg) for arg in typing.get_args(hint))


# -- checks, each naming the value and the remedy


def check_name(what: str, value: Any, limit: int = NAME_LIMIT) -> None:
    """Raise ConfigurationError unless `value` is a text that both databases take as a name or key."""
    if not isinstance(value, str) or not value or len(value) > limit or "\0" in value or not is_unicode(value):
        shown = value if not isinstance(value, str) or len(value) <= 60 else value[:57] + "..."
        raise ConfigurationError(f"{what}={shown!r}: give a text of 1 to {limit} characters without NUL")


def check_priority(value: Any) -> None:
    """Raise ConfigurationError unless `value` is a priority."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10:
        raise ConfigurationError(f"priority={value!r}: give a whole number from 1 (first) to 10 (last)")


def check_count(what: str, value: Any) -> None:
    """Raise ConfigurationError unless `value` is a whole number of 1 or more that both databases hold."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise ConfigurationError(f"{what}={value!r}: give a whole number of 1 or more")


def check_seconds(what: str, value: Any, *, above: bool = False, none: str = "at once") -> None:
    """Raise ConfigurationError unless `value` is a number of seconds: 0 or more, or above 0."""
    wrong = (
        isinstance(value, bool) or not isinstance(value, (int, float)) or (isinstance(value, float) and not math.isfinite(value))
    )
    if wrong or value < 0 or (above and value == 0) or value > LONGEST:
        least = "over 0" if above else "of 0 or more"
        raise ConfigurationError(f"{what}={value!r}: give a number of seconds {least} (at most {LONGEST:.0e}), or None ({none})")


LONGEST = 1e10
"""The longest duration that is taken, in seconds: three centuries."""


def check_moment(what: str, value: Any) -> None:
    """Raise ConfigurationError unless `value` is an aware datetime, from 1970 on, that every time zone can express."""
    if not isinstance(value, dt.datetime) or value.utcoffset() is None or not 1970 <= value.year < 9999:
        raise ConfigurationError(f"{what}={value!r}: give an aware datetime, such as datetime.now(UTC) + timedelta(hours=1)")


def check_headers(value: Any) -> None:
    """Raise ConfigurationError unless `value` maps texts to texts."""
    if not isinstance(value, Mapping) or not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
        raise ConfigurationError(f"headers={value!r}: give a dict of texts, such as {{'traceparent': '…'}}")
    try:
        encode(dict(value), what="headers")
    except PayloadError as error:
        raise ConfigurationError(str(error)) from error
