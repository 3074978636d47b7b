"""Pytest fixtures for applications that use qengine. Pytest finds them by itself once qengine is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from qengine.engine import Engine


@pytest.fixture
def qengine_engine(tmp_path: Path) -> Callable[..., Engine]:
    """A maker of engines on a throw-away SQLite file, to run handlers with `drain()`."""

    def make(**options: Any) -> Engine:
        from qengine.engine import Engine

        return Engine(f"sqlite:///{tmp_path / 'qengine.db'}", **options)

    return make
