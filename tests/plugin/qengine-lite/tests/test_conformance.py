from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from qengine.testing import BackendFactory
from qengine.testing.conformance import *  # noqa: F403


@pytest.fixture
async def backend_factory(tmp_path: Path) -> AsyncIterator[BackendFactory]:
    async with BackendFactory(f"lite:///{tmp_path / 'jobs.db'}") as factory:
        yield factory
