"""What tests of an application, or of a backend, need: a clock to move, databases to throw away, and the conformance suite.

- `FakeClock`: time that moves when told to.
- `qengine.testing.fixtures`: pytest fixtures, there in every test once qengine is installed.
- `qengine.testing.faults`: a database that fails, hangs or loses its answers where you say.
- `BackendFactory` and `qengine.testing.conformance`: the rules that every backend keeps, as a pytest suite.
- `PostgresServer`: a real PostgreSQL for a test session.

Importing this module opens nothing and starts nothing.
"""

from __future__ import annotations

from qengine.testing.clock import FakeClock
from qengine.testing.factory import BackendFactory
from qengine.testing.postgres import PostgresServer

try:
    import pytest
except ModuleNotFoundError:
    pass
else:
    # Before anyone imports the suite: without it, a failing check would show no values.
    pytest.register_assert_rewrite("qengine.testing.conformance")

__all__ = ["BackendFactory", "FakeClock", "PostgresServer"]
