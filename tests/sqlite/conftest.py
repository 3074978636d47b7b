"""What the tests of the SQLite backend share."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from qengine.backends import open_backend
from qengine.backends.protocol import BackendSettings
from qengine.backends.sqlite import SQLiteBackend

Open: TypeAlias = Callable[..., Coroutine[Any, Any, SQLiteBackend]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
async def opened(path: Path) -> AsyncIterator[Open]:
    """Opens and migrates backends on one file; the arguments are options."""
    async with AsyncExitStack() as stack:

        async def make(*, migrate: bool = True, settings: BackendSettings | None = None, **options: Any) -> SQLiteBackend:
            backend = open_backend(f"sqlite:///{path}", settings, options)
            assert isinstance(backend, SQLiteBackend)
            stack.push_async_callback(backend.close)
            await backend.open()
            if migrate:
                await backend.migrate()
            return backend

        yield make


@pytest.fixture
async def backend(opened: Open) -> SQLiteBackend:
    """A backend with the default options, on an empty database."""
    return await opened()


@pytest.fixture
def sql(backend: SQLiteBackend, path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of the test's own to the same database."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection
