"""The conformance suite on PostgreSQL."""

from __future__ import annotations

import pytest

from qengine.testing import BackendFactory
from qengine.testing.conformance import *  # noqa: F403


@pytest.fixture
def backend_factory(postgres_factory: BackendFactory) -> BackendFactory:
    return postgres_factory
