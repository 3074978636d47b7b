"""The life of an engine: which database it is on, opening and closing it, and bringing its schema up to date."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import anyio

from qengine.backends import open_backend
from qengine.backends.protocol import BackendSettings, QueueBackend
from qengine.engine.part import NOT_OPEN
from qengine.errors import ConfigurationError


class Opening(abc.ABC):
    """The part of an engine that holds its backend."""

    def __init__(self, url: str, settings: BackendSettings, options: Mapping[str, Any], *, migrate: bool) -> None:
        self._url = url
        self._settings = settings
        self._backend_options = dict(options)
        self._migrate = migrate
        self._made: QueueBackend | None = open_backend(url, settings, self._backend_options)
        self._wraps: list[Callable[[QueueBackend], QueueBackend]] = []
        self._open: QueueBackend | None = None

    @abc.abstractmethod
    def _opened(self, backend: QueueBackend) -> None:
        """Told that the backend is open now."""

    @abc.abstractmethod
    async def _closing(self) -> None:
        """Let go of the backend, which is closed next."""

    @property
    def backend(self) -> QueueBackend:
        """The open backend. Raises ConfigurationError while the engine is not open."""
        if self._open is None:
            raise ConfigurationError(NOT_OPEN)
        return self._open

    async def open(self) -> None:
        """Connect and bring the schema up to date (or check it, with `migrate=False`)."""
        if self._open is not None:
            raise ConfigurationError("the engine is open already")
        backend, self._made = self._made or self._new_backend(), None
        for wrap in self._wraps:
            backend = wrap(backend)
        try:
            await backend.open()
            await (backend.migrate() if self._migrate else backend.check_schema())
        except BaseException:
            with anyio.CancelScope(shield=True):
                await backend.close()
            raise
        self._open = backend
        self._opened(backend)

    async def close(self) -> None:
        """Write what was handed over, and disconnect. May be called twice."""
        if self._open is None:
            return
        with anyio.CancelScope(shield=True):
            await self._closing()
            backend, self._open = self._open, None
            await backend.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # -- the schema

    async def migrate(self) -> list[str]:
        """Bring the schema up to this release, over a connection of its own, whether the engine is open or not.

        The names of what was applied; nothing when all was there. Raises SchemaError when the database is newer than this
        release, changing nothing.
        """
        backend = self._new_backend()
        try:
            await backend.open()
            return await backend.migrate()
        finally:
            with anyio.CancelScope(shield=True):
                await backend.close()

    def migration_sql(self) -> str:
        """The text of all migrations, in order, as a database administrator would run them by hand. Connects to nothing."""
        return self._new_backend().migration_sql()

    def _new_backend(self) -> QueueBackend:
        return open_backend(self._url, self._settings, self._backend_options)

    # -- for tests

    @contextlib.contextmanager
    def rebound(self, url: str, **backend_options: Any) -> Iterator[Self]:
        """Point the engine at another database, while it is closed, for the length of the block: for tests.

        The tasks that are registered enqueue there too.
        """
        if self._open is not None:
            raise ConfigurationError("the engine is open; rebind it before it is opened")
        before = self._url, self._backend_options, self._made
        self._url, self._backend_options = url, backend_options
        self._made = self._new_backend()
        try:
            yield self
        finally:
            self._url, self._backend_options, self._made = before

    @contextlib.contextmanager
    def wrapped(self, wrap: Callable[[QueueBackend], QueueBackend]) -> Iterator[Self]:
        """Work through `wrap(backend)` instead of the backend itself, when opened within the block: for tests.

        `qengine.testing.faults` uses it. The engine must be closed.
        """
        if self._open is not None:
            raise ConfigurationError("the engine is open; wrap its backend before it is opened")
        self._wraps.append(wrap)
        try:
            yield self
        finally:
            self._wraps.remove(wrap)
