"""The tasks and cron schedules of one engine: `engine.task` and `engine.cron` are its methods."""

from __future__ import annotations

import datetime as dt
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, Protocol, TypeVar, overload

from qengine.backends.protocol import Schedule
from qengine.context import JobContext
from qengine.errors import ConfigurationError, DuplicateTask, UnknownTask
from qengine.retry import RetryPolicy, Wait, as_policy
from qengine.schedule import CATCH_UPS, CatchUp, next_fire, validate
from qengine.signatures import function_name, signature
from qengine.task import EXECUTORS, Executor, P, Submitter, Task, TaskOptions, check_name

AnyTask = Task[..., Any, ..., Any]
T = TypeVar("T", bound=AnyTask)
R = TypeVar("R")


class _NotContext:
    """Stands for "anything": a first parameter that takes this takes any object, and is no JobContext."""


class TaskDecorator(Protocol):
    """What `engine.task(…)` gives: it takes the handler and gives the task.

    The task's `enqueue` has the handler's parameters, less a JobContext in the first place. A handler whose first
    parameter takes any object keeps unchecked ones: type checkers cannot tell whether that is meant to be the context.
    """

    @overload
    def __call__(
        self, fn: Callable[Concatenate[_NotContext, P], Coroutine[Any, Any, R]], /
    ) -> Task[..., Coroutine[Any, Any, R], ..., R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[_NotContext, P], R], /) -> Task[..., R, ..., R]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[JobContext, P], Coroutine[Any, Any, R]], /
    ) -> Task[Concatenate[JobContext, P], Coroutine[Any, Any, R], P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[JobContext, P], R], /) -> Task[Concatenate[JobContext, P], R, P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, Coroutine[Any, Any, R], P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R, P, R]: ...


@dataclass(frozen=True, slots=True)
class Cron:
    """A task that is enqueued by the clock."""

    name: str
    """The schedule's name in the database: the task's name and the expression, with the time zone unless that is UTC.

    So it is the same in every process and every release, in whatever order a task's schedules are declared, and one
    that is changed is a new schedule, which begins at its next fire time.
    """
    task: str
    """The name of the task."""
    cron: str
    tz: str
    catch_up: CatchUp

    def schedule(self, now: dt.datetime) -> Schedule:
        """As it is declared to the database, beginning after `now`."""
        return Schedule(self.name, self.task, self.cron, self.tz, self.catch_up, next_fire(self.cron, self.tz, now))


class Registry:
    """The tasks of one engine, by name, and their schedules."""

    def __init__(self, submitter: Submitter) -> None:
        self._submitter = submitter
        self._tasks: dict[str, AnyTask] = {}
        self._crons: dict[str, Cron] = {}

    def task(
        self,
        name: str | None = None,
        *,
        queue: str = "default",
        priority: int = 5,
        timeout: float | None = None,
        max_attempts: int | None = None,
        max_concurrency: int | None = None,
        retry: RetryPolicy | Wait | None = None,
        executor: Executor | None = None,
    ) -> TaskDecorator:
        """Register a handler: `@engine.task()`, or `engine.task(executor="process")(function)`.

        - `name`: the type of its jobs, as the database stores it. Default: the function's name. Give one when the
          function may be renamed, or another service enqueues by it.
        - `queue`: the lane of its jobs. Default: "default". Use another for work that only some workers are to serve.
        - `priority`: 1 (first) to 10 (last). Default: 5. A step is worth the engine's `ageing` seconds in the line.
        - `timeout`: seconds an attempt may take before it has failed. Default: None, the engine's. Set it for whatever
          talks to a network.
        - `max_attempts`: attempts before a job is dead, 1 or more. Default: None, the retry policy's, else the engine's.
        - `max_concurrency`: how many run at once in one worker, 1 or more. Default: None, as many as it has slots. Set
          it to spare what the task calls.
        - `retry`: a tenacity wait, seconds, or a `RetryPolicy`. Default: None, the engine's.
        - `executor`: "async" (the default for `async def`), "thread" (the default for `def`), or "process", in a process
          that a timeout really kills, for a `def` at module level without JobContext. Take "process" for work that
          keeps the CPU busy or may hang in C code.

        Raises ConfigurationError for an option or a handler that can never work, DuplicateTask for a name that is taken.
        """
        if name is not None and not isinstance(name, str):
            raise ConfigurationError(
                f"@engine.task needs its parentheses: write @engine.task() above {getattr(name, '__name__', name)}"
            )
        policy = None if retry is None else as_policy(retry)
        if max_attempts is None and policy is not None:
            max_attempts = policy.max_attempts

        def decorate(fn: Callable[..., Any], /) -> Any:
            if isinstance(fn, Task):
                raise ConfigurationError(f"{fn.name!r} is a task already; pass its function, {fn.name}.fn, to register it again")
            kind = _executor(fn, executor)
            settings = TaskOptions(_name(fn, name), queue, priority, timeout, max_attempts, max_concurrency, policy, kind)
            task: AnyTask = Task(fn, settings, self._submitter)
            if kind == "process" and task.wants_context:
                raise ConfigurationError(
                    f"task {task.name!r}: a JobContext cannot go into another process; take executor='thread', or drop it"
                )
            if task.name in self._tasks:
                places = f"{_place(self._tasks[task.name].fn)} and {_place(fn)}"
                raise DuplicateTask(f"two tasks are named {task.name!r} ({places}); give one another name")
            self._tasks[task.name] = task
            return task

        return decorate

    def cron(self, expr: str, tz: str = "UTC", catch_up: CatchUp = "one") -> Callable[[T], T]:
        """Enqueue a task by the clock, once a fire time in the whole cluster. Stands above `@engine.task()`.

        - `expr`: five fields (minute hour day month weekday), or six with seconds first.
        - `tz`: the time zone that the fields are meant in, such as "Europe/Berlin". Default: "UTC".
        - `catch_up`: of the fire times that passed while no worker ran, "skip" enqueues none, "one" (the default) the
          latest, "all" each of them. Take "skip" for what is worthless late, "all" where every one counts.

        A task may have several. Its handler must be callable without arguments. Raises ConfigurationError, naming the
        value, for an expression, time zone or policy that cannot work.
        """
        validate(expr, tz)
        if catch_up not in CATCH_UPS:
            raise ConfigurationError(f"catch_up={catch_up!r}: give one of {', '.join(map(repr, CATCH_UPS))}")
        expr = " ".join(expr.split())

        def decorate(task: T) -> T:
            if not isinstance(task, Task):
                raise ConfigurationError(
                    f"@engine.cron stands above @engine.task(), for {getattr(task, '__name__', task)!r} is no task yet"
                )
            if self._tasks.get(task.name) is not task:
                raise ConfigurationError(f"task {task.name!r} belongs to another engine; declare its cron there")
            self._check_callable(task)
            name = f"{task.name}:{expr}" if tz == "UTC" else f"{task.name}:{expr} {tz}"
            if name in self._crons:
                raise ConfigurationError(f"task {task.name!r} has cron {expr!r} ({tz}) twice; declare it once")
            self._crons[name] = Cron(name, task.name, expr, tz, catch_up)
            return task

        return decorate

    def _check_callable(self, task: AnyTask) -> None:
        given = (None,) if task.wants_context else ()
        try:
            signature(task.fn).bind(*given)
        except TypeError as error:
            raise ConfigurationError(
                f"task {task.name!r}: cron calls it without arguments ({error}); give its parameters defaults"
            ) from error

    def get(self, name: str) -> AnyTask:
        """The task of this name. Raises UnknownTask."""
        try:
            return self._tasks[name]
        except KeyError:
            known = ", ".join(sorted(self._tasks)) or "none"
            raise UnknownTask(f"no task is named {name!r} (registered: {known})") from None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tasks, in the order of their registration."""
        return tuple(self._tasks)

    @property
    def crons(self) -> tuple[Cron, ...]:
        """The schedules, by name."""
        return tuple(self._crons[name] for name in sorted(self._crons))

    def __iter__(self) -> Iterator[AnyTask]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, name: object) -> bool:
        return name in self._tasks


def _name(fn: Callable[..., Any], name: str | None) -> str:
    found = getattr(fn, "__name__", None) if name is None else name
    if found is None or found == "<lambda>":
        raise ConfigurationError(f"{fn!r} has no name of its own; give one: engine.task('name')")
    check_name("name", found)
    return str(found)


def _executor(fn: Callable[..., Any], executor: Executor | None) -> Executor:
    """Where `fn` runs. Raises ConfigurationError when it cannot run there, or at all."""
    if not callable(fn) or isinstance(fn, type):
        raise ConfigurationError(f"engine.task() takes a function, not {fn!r}")
    shown = function_name(fn)
    layers = list(_layers(fn))
    if any(inspect.isasyncgenfunction(layer) or inspect.isgeneratorfunction(layer) for layer in layers):
        raise ConfigurationError(f"{shown} is a generator (it has a yield); a handler returns its result")
    is_async = any(inspect.iscoroutinefunction(layer) for layer in layers)
    if executor is None:
        return "async" if is_async else "thread"
    if executor not in EXECUTORS:
        raise ConfigurationError(f"executor={executor!r}: give one of {', '.join(map(repr, EXECUTORS))}")
    if executor != "async" and inspect.iscoroutinefunction(layers[0]):
        raise ConfigurationError(
            f"{shown} is async, so that executor={executor!r} cannot run it; write it as a def, or leave executor out"
        )
    if executor == "async" and not is_async:
        raise ConfigurationError(
            f"{shown} is not async and would block the event loop; write it as an async def, or take executor='thread'"
        )
    if executor == "process" and not (inspect.isfunction(fn) and "<" not in fn.__qualname__):
        raise ConfigurationError(f"{shown} cannot be imported by another process; define it as a def at module level")
    return executor


def _layers(fn: Any) -> Iterator[Any]:
    """What is called first, and then what that wraps, down to the function that was written.

    A plain wrapper around an async function gives its coroutine, as a rule, and so counts as async; an async one
    around a plain function is async by itself.
    """
    while fn is not None:
        if not inspect.isroutine(fn) and not isinstance(fn, functools.partial):
            fn = type(fn).__call__
        yield fn
        fn = fn.func if isinstance(fn, functools.partial) else getattr(fn, "__wrapped__", None)


def _place(fn: Any) -> str:
    return f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', fn)}"
