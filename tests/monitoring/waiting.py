"""Waiting for what happens in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], T], seconds: float = 20.0) -> T:
    """What `look` returns, once that is true."""
    async with asyncio.timeout(seconds):
        while not (found := look()):
            await asyncio.sleep(0.005)
        return found
