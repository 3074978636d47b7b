"""What the jobs of the benchmarks do. Every subject runs these same functions."""

from __future__ import annotations

import asyncio
import time

PAD = "x" * 80
"""Brings a payload to about 120 bytes."""
NAP = 0.01
"""Seconds that `nap` takes."""

ran = 0
"""How many handlers have run in this process."""
latencies: list[float] = []
"""What `stamp` measured: seconds from before the enqueue to the handler's start."""


def payload() -> dict[str, object]:
    """The arguments of one job."""
    return {"sent": time.monotonic(), "pad": PAD}


async def noop(sent: float, pad: str) -> None:
    """Do nothing."""
    global ran
    ran += 1


async def nap(sent: float, pad: str) -> None:
    """Wait, as a handler does that talks to a remote service."""
    global ran
    await asyncio.sleep(NAP)
    ran += 1


async def stamp(sent: float, pad: str) -> None:
    """Note how long ago the job was sent. The monotonic clock is one for all processes of a machine."""
    global ran
    latencies.append(time.monotonic() - sent)
    ran += 1


ALL = {"noop": noop, "nap": nap, "stamp": stamp}
