"""What the tests of the PostgreSQL backend share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import asyncpg
import pytest

from qengine.backends import open_backend
from qengine.backends.postgres import PostgresBackend
from qengine.backends.protocol import BackendSettings

Open: TypeAlias = Callable[..., Coroutine[Any, Any, PostgresBackend]]


@pytest.fixture
async def opened(postgres_url: str) -> AsyncIterator[Open]:
    """Opens and migrates backends on one empty database; the arguments are options."""
    async with AsyncExitStack() as stack:

        async def make(*, migrate: bool = True, settings: BackendSettings | None = None, **options: Any) -> PostgresBackend:
            backend = open_backend(postgres_url, settings, options)
            assert isinstance(backend, PostgresBackend)
            stack.push_async_callback(backend.close)
            await backend.open()
            if migrate:
                await backend.migrate()
            return backend

        yield make


@pytest.fixture
async def backend(opened: Open) -> PostgresBackend:
    """A backend with the default options, on an empty database."""
    return await opened()


@pytest.fixture
async def sql(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own to the same database."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()
