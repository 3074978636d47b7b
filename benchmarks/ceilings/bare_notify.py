"""A NOTIFY that one connection sends and another one hears: the least that waking by PostgreSQL takes. No table."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg

from benchmarks.subject import Subject

CHANNEL = "bare"


class BareNotify(Subject):
    """The job is the notification itself."""

    async def open(self) -> None:
        self.sender = await asyncpg.connect(self.order.url)

    async def close(self) -> None:
        await self.sender.close()

    async def enqueue(self, payload: dict[str, Any]) -> None:
        await self.sender.execute("SELECT pg_notify($1, $2)", CHANNEL, json.dumps(payload))

    async def serve(self) -> None:
        came: asyncio.Queue[str] = asyncio.Queue()
        listening = await asyncpg.connect(self.order.url)
        await listening.add_listener(CHANNEL, lambda connection, pid, channel, payload: came.put_nowait(payload))
        try:
            while True:
                await self.handler(**json.loads(await came.get()))
        finally:
            await listening.close()


SUBJECT = BareNotify
