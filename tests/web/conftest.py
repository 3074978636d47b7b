"""An engine, its dashboard, and a visitor who fills in forms as a browser without scripts does."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from queue_on_show import declare
from visitor import TOKEN, Visitor

from qengine import Engine
from qengine.web import dashboard


@pytest.fixture
async def queue(url: str) -> AsyncIterator[Engine]:
    """An open engine with the tasks of `queue_on_show`."""
    engine = Engine(url)
    declare(engine)
    async with engine:
        yield engine


@pytest.fixture
async def visitor(queue: Engine) -> AsyncIterator[Visitor]:
    """Somebody who has opened the link of the queue's dashboard."""
    async with Visitor(dashboard(queue, token=TOKEN, actor=lambda request: "Ada")) as visitor:
        await visitor.visit(f"/?token={TOKEN}")
        yield visitor
