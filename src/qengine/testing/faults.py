"""Faults on purpose: a database that fails, hangs, answers late, or loses its answer, at a chosen call.

    from qengine.testing import faults

    async def test_the_import_survives_a_lost_answer(qengine_engine):
        engine = qengine_engine(app.engine)
        with faults.injected(engine, faults.lose_reply("settle"), faults.fail("commit", at=2)) as plan:
            async with engine:
                job = await app.import_page.enqueue(page=1)
                await engine.drain()
                assert (await engine.job(job.id)).status == "completed"
        assert plan.struck

A fault names a verb of `qengine.backends.protocol.QueueBackend` and the call at which it strikes, counted over all that
the engine does, the lease keeper in its own thread included. `VERBS` lists them.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import inspect
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from qengine.backends.protocol import Lease, QueueBackend
from qengine.errors import BackendUnavailable, ConfigurationError

if TYPE_CHECKING:
    from qengine.engine import Engine

T = TypeVar("T")

_CALLS = frozenset(name for name, _ in inspect.getmembers(QueueBackend, inspect.iscoroutinefunction)) - {"close"}

VERBS = (*sorted(_CALLS), "transaction", "commit")
"""Where a fault can strike: every verb that speaks to the database, but for `close`, which never fails. `transaction` is
the beginning of one, `commit` its end."""


class Kind(enum.StrEnum):
    """What goes wrong."""

    FAIL = "fail"
    """BackendUnavailable, and nothing has happened. At `commit`: all is rolled back."""
    HANG = "hang"
    """Nothing for so many seconds, then BackendUnavailable, as from a driver's timeout; nothing has happened."""
    LATE = "late"
    """Nothing for so many seconds, then the call goes through."""
    LOSE_REPLY = "lose_reply"
    """It has happened, and is durable, and then BackendUnavailable: the connection died before the answer came."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong; made by `fail`, `hang`, `late` and `lose_reply`."""

    kind: Kind
    verb: str
    """One of `VERBS`."""
    at: int = 1
    """The first call of the verb that it strikes, counted from 1."""
    times: int = 1
    """How many calls in a row it strikes."""
    seconds: float = 0.0
    """How long it takes (HANG, LATE)."""

    def __post_init__(self) -> None:
        if self.verb not in VERBS:
            raise ConfigurationError(f"a fault in {self.verb!r}: the verbs are {', '.join(VERBS)}")
        if self.at < 1 or self.times < 1 or self.seconds < 0:
            raise ConfigurationError(f"{self!r}: calls are counted from 1, `times` is 1 or more, `seconds` 0 or more")


def fail(verb: str, at: int = 1, times: int = 1) -> Fault:
    """The call raises BackendUnavailable before anything has happened."""
    return Fault(Kind.FAIL, verb, at, times)


def hang(verb: str, at: int = 1, times: int = 1, *, seconds: float) -> Fault:
    """The call does not answer for `seconds`, then raises BackendUnavailable; nothing has happened."""
    return Fault(Kind.HANG, verb, at, times, seconds)


def late(verb: str, at: int = 1, times: int = 1, *, seconds: float) -> Fault:
    """The call takes `seconds` longer, and then goes through."""
    return Fault(Kind.LATE, verb, at, times, seconds)


def lose_reply(verb: str, at: int = 1, times: int = 1) -> Fault:
    """The call happens, and its caller is told BackendUnavailable."""
    return Fault(Kind.LOSE_REPLY, verb, at, times)


class Plan:
    """The faults that are to strike, and what has come of them. Thread-safe."""

    def __init__(self, *faults: Fault) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        """How often each verb has been called."""
        self.struck: list[Fault] = []
        """The faults that have struck, one entry a call."""

    def _arrive(self, verb: str) -> Fault | None:
        with self._lock:
            self.calls[verb] += 1
            number = self.calls[verb]
            for fault in self._faults:
                if fault.verb == verb and fault.at <= number < fault.at + fault.times:
                    self.struck.append(fault)
                    return fault
        return None

    async def call(self, verb: str, go: Callable[[], Awaitable[T]]) -> T:
        """`await go()`, counted as a call of `verb` and with what the plan has for it."""
        fault = self._arrive(verb)
        if fault is None:
            return await go()
        if fault.seconds:
            await asyncio.sleep(fault.seconds)
        if fault.kind is Kind.LATE:
            return await go()
        if fault.kind is Kind.LOSE_REPLY:
            await go()
        raise BackendUnavailable(f"injected fault: {fault.kind} at {verb}")


class _FaultyBackend:
    """A backend inside another's clothes: whatever the protocol or a plug-in adds is passed on."""

    def __init__(self, backend: QueueBackend, plan: Plan) -> None:
        self._backend = backend
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend, name)
        if name not in _CALLS:
            return found

        @functools.wraps(found)
        async def counted(*args: Any, **options: Any) -> Any:
            return await self._plan.call(name, lambda: found(*args, **options))

        return counted

    def sibling(self) -> QueueBackend:
        return wrapped(self._backend.sibling(), self._plan)

    @asynccontextmanager
    async def transaction(self, lease: Lease) -> AsyncIterator[Any]:
        # What raises before the stack is closed rolls the transaction back.
        async with AsyncExitStack() as inside:
            begin = self._backend.transaction(lease)
            yield await self._plan.call("transaction", lambda: inside.enter_async_context(begin))
            await self._plan.call("commit", inside.aclose)


def wrapped(backend: QueueBackend, plan: Plan) -> QueueBackend:
    """`backend` with the faults of `plan`; its siblings have them too, and share the count."""
    return cast("QueueBackend", _FaultyBackend(backend, plan))


@contextmanager
def injected(engine: Engine, *planned: Fault, plan: Plan | None = None) -> Iterator[Plan]:
    """Let faults strike what `engine` does when it is opened within the block.

    Several engines can share one `plan`, in place of the faults. The engine must be closed when the block begins.
    """
    shared = Plan(*planned) if plan is None else plan
    with engine.wrapped(lambda backend: wrapped(backend, shared)):
        yield shared
