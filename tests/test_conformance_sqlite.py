"""The conformance suite on SQLite."""

from __future__ import annotations

import pytest

from qengine.testing import BackendFactory
from qengine.testing.conformance import *  # noqa: F403


@pytest.fixture
def backend_factory(sqlite_factory: BackendFactory) -> BackendFactory:
    return sqlite_factory
