"""What the conformance suite is called with: a maker of backends on one empty database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, ClassVar, Self

from qengine.backends import open_backend
from qengine.backends.protocol import BackendSettings, QueueBackend


class BackendFactory:
    """Opens backends on one database, empty at first, and closes them all when the test is over.

    `url` names the database, `options` are the backend's own. Used as an async context manager. An author of a backend
    overrides the methods below `unopened`: they tell the suite what it cannot know about a database. Where one is
    missing, the checks that need it are skipped, and the report names it.
    """

    serial_writes: ClassVar[bool] = False
    """Whether the database lets one writer in at a time: then whoever writes during `backend.transaction` has to wait."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self.options = dict(options or {})
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._opened.aclose()

    async def __call__(self, settings: BackendSettings | None = None, *, migrate: bool = True) -> QueueBackend:
        """One more backend on the same database: opened and, unless told otherwise, migrated."""
        backend = self.unopened(settings)
        self._opened.push_async_callback(backend.close)
        await backend.open()
        if migrate:
            await backend.migrate()
        return backend

    def unopened(self, settings: BackendSettings | None = None) -> QueueBackend:
        """One that is connected to nothing yet; the caller closes it."""
        return open_backend(self.url, settings, self.options)

    # -- what only the author of a backend knows

    def caller(self) -> AbstractAsyncContextManager[Any]:
        """A connection of the application's own, for `enqueue(conn=…)`, in a transaction that was just begun.

        It is committed when the block ends, and rolled back when the block raises. For backends with the capability
        `caller_connection`.
        """
        raise NotImplementedError

    async def insert(self, conn: Any, value: str) -> None:
        """Store `value` in a table of the application's, which is there already.

        `conn` is a connection that came from `caller` or from `backend.transaction`.
        """
        raise NotImplementedError

    async def inserted(self) -> list[str]:
        """What `insert` has stored and is committed, in order."""
        raise NotImplementedError

    def recording(self, backend: QueueBackend) -> AbstractAsyncContextManager[list[Any]]:
        """The statements that `backend` sends while the block runs, one entry each, transaction control left out."""
        raise NotImplementedError

    async def full_scans(self, statements: Sequence[Any]) -> list[str]:
        """Those statements of `recording` that read the table of jobs from end to end, as text for the report."""
        raise NotImplementedError

    async def outgrow(self) -> None:
        """Mark the database as having a schema one version newer than this release knows."""
        raise NotImplementedError
