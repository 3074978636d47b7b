"""A task that runs until it is cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

from qengine import Engine
from qengine.task import Task


def long_task(engine: Engine) -> tuple[Task[[], Any], asyncio.Event]:
    """The task `long` of the engine, and what is set when it has begun to run."""
    begun = asyncio.Event()

    @engine.task("long")
    async def long() -> None:
        begun.set()
        await asyncio.sleep(3600)

    return long, begun
