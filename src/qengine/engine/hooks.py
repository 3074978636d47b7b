"""What an engine's workers tell those who watch them: events as they happen, and tallies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, overload

from qengine.backends.protocol import QueueBackend
from qengine.engine.part import Part
from qengine.errors import BackendUnavailable, ConfigurationError
from qengine.events import Dispatcher, Event, Hook, HookT, Kind
from qengine.worker.instrument import Instrument
from qengine.worker.supervisor import Backoff
from qengine.worker.tally import Tally

log = logging.getLogger("qengine.events")

GROUPS = 10_000
"""Error groups that are looked up, at the most; as many new ones are told of."""


class Hooks(Part):
    """The part of an engine that tells what its workers do."""

    _events: Dispatcher
    _instrument: Instrument | None = None
    _new_groups: NewErrorGroups | None = None
    _past: Tally | None = None

    @overload
    def on(self, kind: Kind, /, *kinds: Kind) -> Callable[[HookT], HookT]: ...
    @overload
    def on(self, kind: Kind, hook: HookT, /) -> HookT: ...

    def on(self, *given: Any) -> Any:
        """Call a hook with each `Event` of some kinds: `@engine.on("dead", "lease_lost")`, or `engine.on("dead", hook)`.

        Events come from the workers of this engine object, each when it is durable. A hook is `async def`, or `def`, which
        is called in a thread; it gets one event at a time, in order. It harms no job: it has a queue of its own (10,000
        events; what there is no room for is dropped and logged), and its errors are logged. When the engine is closed,
        hooks have 5 seconds for what is queued. Raises ConfigurationError for a kind that does not exist.
        """
        *kinds, last = given or ("",)
        if isinstance(last, str):
            return lambda hook: self._on(given, hook)
        return self._on(kinds, last)

    def _on(self, kinds: Collection[Kind], hook: Hook) -> Hook:
        self._events.on(kinds, hook)
        if "new_error_group" in kinds and self._new_groups is None:
            self._new_groups = NewErrorGroups(self._events, lambda: self.backend)
            self._events.on(("failed", "dead"), self._new_groups.look)
            if self.running_workers:
                self._new_groups.begin()
        return hook

    def off(self, hook: Hook) -> bool:
        """Call a hook no more; False when it was not on."""
        return self._events.off(hook)

    @property
    def events_dropped(self) -> int:
        """Events that hooks have missed because they were too slow."""
        return self._events.dropped

    def instrument(self, instrument: Instrument | None) -> None:
        """Put an instrument around storing jobs, and around the runs of the workers that start from now on; None: none.

        `qengine.otel.instrument` does so. Raises ConfigurationError when there is another.
        """
        if instrument is not None and self._instrument is not None:
            raise ConfigurationError("the engine has an instrument already; take it away first, with engine.instrument(None)")
        self._instrument = instrument

    def tallies(self) -> list[Tally]:
        """What the workers of this engine object have done in this process: one for each that runs, and one, whose
        `worker` is empty, for the sum of all that have ended. So the sum of them never falls."""
        past = [] if self._past is None else [self._past]
        return past + [worker.tally for worker in self.running_workers]

    def _ready_to_tell(self) -> None:
        """To be called when a worker is about to start."""
        if self._new_groups is not None:
            self._new_groups.begin()

    def _worker_ended(self, tally: Tally) -> None:
        if self._past is None:
            self._past = Tally()
        self._past.merge(tally)

    async def _stop_telling(self) -> None:
        """To be called before the backend is closed."""
        await self._events.close()
        if self._new_groups is not None:
            await self._new_groups.forget()


class NewErrorGroups:
    """Tells of failures unlike any that is known: the hook of all failures that makes `new_error_group` of some.

    Known is what this engine object has met since it was opened, and what dead and failed jobs were in the database when
    its first worker started. That is looked up once; what came up in other processes since then is not known here, so
    that in a cluster each process tells of a group once, at the most.
    """

    def __init__(self, events: Dispatcher, backend: Callable[[], QueueBackend]) -> None:
        self._events = events
        self._backend = backend
        self._known: asyncio.Task[set[tuple[str, str]]] | None = None

    def begin(self) -> None:
        """To be called when a worker is about to start: look up what is known already."""
        if self._known is None:
            self._known = asyncio.create_task(self._groups_before_now(), name="qengine-error-groups")

    async def forget(self) -> None:
        """The engine is closed: what is known is looked up anew when it is open again."""
        if self._known is not None:
            self._known.cancel()
            await asyncio.wait([self._known])
            self._known = None

    async def look(self, event: Event) -> None:
        """Tell of the group of this failure, unless it is known."""
        if event.error_group is None or "new_error_group" not in self._events.wanted:
            return
        self.begin()
        assert self._known is not None
        known = await asyncio.shield(self._known)
        group = event.type, event.error_group
        if group in known:
            return
        if len(known) == 2 * GROUPS:
            log.warning("there are more than %d error groups; further new ones are not told of", len(known))
        known.add(group)
        if len(known) <= 2 * GROUPS:
            self._events.tell(replace(event, kind="new_error_group"))

    async def _groups_before_now(self) -> set[tuple[str, str]]:
        backoff = Backoff()
        began = None
        while True:
            try:
                # The time first, and once: what fails while the groups are counted is new.
                began = began or await self._backend().now()
                groups = await self._backend().failures(GROUPS)
            except BackendUnavailable:
                await asyncio.sleep(backoff.next())
            else:
                return {(group.type, group.error) for group in groups if group.first < began}
