"""Every test runs on both databases: whoever asks for `url` or `backend_factory` is run once on each."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

from factories import PostgresFactory, SQLiteFactory

from qengine.testing import BackendFactory, PostgresServer

pytest_plugins = ["anyio"]
# How long an example takes is no property of the code: other tests run at the same time.
settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")
BACKENDS = ("sqlite", "postgres")


@pytest.fixture
def anyio_backend() -> str:
    """asyncio: the drivers know no other."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real server for the whole run. Where none starts, every test on it is an error that says why."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'queue.db'}"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, of each kind."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
async def sqlite_factory(sqlite_url: str) -> AsyncIterator[BackendFactory]:
    """The maker of backends on an empty SQLite file."""
    async with SQLiteFactory.of(sqlite_url) as factory:
        yield factory


@pytest.fixture
async def postgres_factory(postgres_url: str) -> AsyncIterator[BackendFactory]:
    """The maker of backends on an empty PostgreSQL database."""
    async with PostgresFactory(postgres_url) as factory:
        yield factory


@pytest.fixture
async def backend_factory(url: str) -> AsyncIterator[BackendFactory]:
    """The maker of backends on an empty database, of each kind."""
    async with SQLiteFactory.of(url) if url.startswith("sqlite") else PostgresFactory(url) as factory:
        yield factory
