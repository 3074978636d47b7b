"""Events: what workers tell those who asked for it with `engine.on`, and how it reaches them without holding up a job.

Each hook has a queue and, while something is in that, a task of its own: one that is slow, fails or hangs delays nobody
else. A hook that is not `async def` is called in a thread. What a full queue has no room for is dropped and counted.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import anyio
import anyio.to_thread

from qengine.errors import ConfigurationError

log = logging.getLogger("qengine.events")

Kind = Literal[
    "completed",
    "failed",
    "dead",
    "cancelled",
    "snoozed",
    "released",
    "lease_lost",
    "crashed",
    "unhandled_type",
    "new_error_group",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""All kinds of events."""

QUEUE = 10_000
"""Events that may wait for one hook, at the most."""
BATCH = 100
"""Events that a hook in a thread is called with in one go, at the most."""
PATIENCE = 5.0
"""Seconds that hooks have, when the engine is closed, for what is still in their queues."""
COMPLAIN_EVERY = 60.0
"""Seconds between two log records about the same hook, at the least."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as the worker that saw it tells it. The payload is not in it: read the job for that."""

    kind: Kind
    at: dt.datetime
    """When, by the database's clock as this process knows it."""
    type: str
    """The job type."""
    job_id: int | None = None
    """None only for `unhandled_type`."""
    attempt: int | None = None
    """The number of the attempt, 1 for the first."""
    worker: str | None = None
    """The id of the worker that ran the job; of one that `crashed`: that held it."""
    error: str | None = None
    """One line: the exception's type and message."""
    error_group: str | None = None
    """`error` normalised, as in `engine.failures()`."""
    dead_reason: str | None = None
    """With `dead`: a `DeadReason`."""
    delay: float | None = None
    """With `failed` and `snoozed`: seconds until it is due again."""
    crashes: int | None = None
    """With `crashed`: how many crashes in a row there were with this one."""
    waited: float | None = None
    """Seconds for which the job had been due when the run began."""
    seconds: float | None = None
    """Seconds that the run took."""


Hook = Callable[[Event], Any]
"""`def` (called in a thread) or `async def` (called in the engine's event loop)."""
HookT = TypeVar("HookT", bound=Hook)


class Dispatcher:
    """Takes events and hands them to the hooks that want them. Belongs to one event loop at a time."""

    def __init__(self) -> None:
        self._listeners: list[_Listener] = []
        self.wanted: frozenset[Kind] = frozenset()
        """The kinds for which there is a hook; nobody needs to make an event of another."""

    def on(self, kinds: Collection[Kind], hook: Hook) -> None:
        """Call `hook` with each event of these kinds from now on. Raises ConfigurationError for a kind that is none."""
        for kind in kinds:
            if kind not in KINDS:
                raise ConfigurationError(f"on({kind!r}): the kinds of events are {', '.join(KINDS)}")
        if not kinds:
            raise ConfigurationError(f"on(): name one kind of event, or more, of {', '.join(KINDS)}")
        if not callable(hook):
            raise ConfigurationError(f"on(…, {hook!r}): give a function that takes an Event")
        self._listeners.append(_Listener(frozenset(kinds), hook))
        self._count_kinds()

    def off(self, hook: Hook) -> bool:
        """Call `hook` no more, not even with what is in its queue; False when it was not on."""
        gone = [listener for listener in self._listeners if listener.hook == hook]
        self._listeners = [listener for listener in self._listeners if listener.hook != hook]
        self._count_kinds()
        for listener in gone:
            listener.queue.clear()
        return bool(gone)

    def _count_kinds(self) -> None:
        self.wanted = frozenset[Kind]().union(*(listener.kinds for listener in self._listeners))

    @property
    def dropped(self) -> int:
        """How many events hooks have missed because they were too slow."""
        return sum(listener.dropped for listener in self._listeners)

    def tell(self, event: Event) -> None:
        """Hand an event over; never waits and never fails."""
        for listener in self._listeners:
            if event.kind in listener.kinds:
                listener.put(event)

    async def close(self, patience: float | None = None) -> None:
        """Deliver what is queued, for so many seconds (PATIENCE) at the most; what is left is dropped and logged.

        Hooks stay registered.
        """
        # A hook may tell others something new, so that one look is not enough.
        until = time.monotonic() + (PATIENCE if patience is None else patience)
        while busy := [task for task in (listener.task for listener in self._listeners) if task and not task.done()]:
            await asyncio.wait(busy, timeout=max(0.0, until - time.monotonic()))
            if time.monotonic() >= until:
                break
        await asyncio.gather(*(listener.stop() for listener in self._listeners))


class _Listener:
    """One hook with its queue. The task lives while there is something in the queue."""

    def __init__(self, kinds: frozenset[Kind], hook: Hook) -> None:
        self.kinds = kinds
        self.hook = hook
        self.queue: deque[Event] = deque()
        self.task: asyncio.Task[None] | None = None
        self.dropped = 0
        self._name = getattr(hook, "__qualname__", repr(hook))
        self._in_loop = inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(getattr(hook, "__call__", None))  # noqa: B004
        self._too_slow = _Complaint("the hook %s is too slow: %d events were dropped")
        self._failing = _Complaint("the hook %s failed on %d events; the last time")

    def put(self, event: Event) -> None:
        """Queue an event, if there is room."""
        if len(self.queue) >= QUEUE:
            self.dropped += 1
            self._too_slow.add(self._name)
            return
        self.queue.append(event)
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._deliver(), name=f"qengine-hook-{self._name}")

    async def _deliver(self) -> None:
        one_at_a_time = anyio.CapacityLimiter(1)
        while self.queue:
            if self._in_loop:
                await self._guarded(self._tell(self.queue.popleft()))
            else:
                await self._guarded(self._tell_in_thread(one_at_a_time))

    async def _guarded(self, answer: Awaitable[Any]) -> None:
        try:
            await answer
        except asyncio.CancelledError as error:
            if (me := asyncio.current_task()) is not None and me.cancelling():
                raise
            self._failing.add(self._name, error)  # it came out of the hook
        except (Exception, SystemExit) as error:
            self._failing.add(self._name, error)

    async def _tell(self, event: Event) -> None:
        await self.hook(event)

    async def _tell_in_thread(self, limiter: anyio.CapacityLimiter) -> None:
        batch = [self.queue.popleft() for _ in range(min(len(self.queue), BATCH))]
        answers, errors = await anyio.to_thread.run_sync(self._call, batch, abandon_on_cancel=True, limiter=limiter)
        for error in errors:
            self._failing.add(self._name, error)
        for answer in answers:
            await self._guarded(answer)

    def _call(self, batch: list[Event]) -> tuple[list[Awaitable[Any]], list[BaseException]]:
        """Call the hook with each; what it gave to be awaited, as a lambda around an async function does, and its errors."""
        answers: list[Awaitable[Any]] = []
        errors: list[BaseException] = []
        for event in batch:
            try:
                answer = self.hook(event)
            except (Exception, SystemExit) as error:
                errors.append(error)
            else:
                if inspect.isawaitable(answer):
                    answers.append(answer)
        return answers, errors

    async def stop(self) -> None:
        """Let go of what is still queued."""
        left = len(self.queue)
        self.queue.clear()
        self.dropped += left
        if self.task is not None and not self.task.done():
            log.warning("the hook %s has not ended in time; it is cancelled, and misses %d more events", self._name, left)
            self.task.cancel()
            await asyncio.wait([self.task], timeout=1.0)
        self.task = None


class _Complaint:
    """Something that goes wrong again and again, and is logged once in a while."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._count = 0
        self._said_at = -math.inf

    def add(self, name: str, error: BaseException | None = None) -> None:
        """It went wrong once more."""
        self._count += 1
        now = time.monotonic()
        if now - self._said_at >= COMPLAIN_EVERY:
            log.error(self._text, name, self._count, exc_info=error)
            self._said_at, self._count = now, 0
