"""Server-sent events: an answer that goes on until its browser has left, or until there is nothing more to tell."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

RETRY = 1.0
"""Seconds after which a browser asks again, when a stream has ended."""


def event(id: str, name: str, data: Any) -> str:
    """One event. `data` is sent as JSON, on one line."""
    return f"id: {id}\nevent: {name}\ndata: {json.dumps(data)}\n\n"


class EventStream(Response):
    """The events of a generator, which is closed when the browser has left, or `lifetime` seconds have gone by.

    A browser comes back by itself, with the id of the last event that it got. That streams end now and then lets a server
    stop in time that waits for its answers to end, and cannot tell them that it does.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None], lifetime: float) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._lifetime = lifetime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        async with contextlib.aclosing(self._events), anyio.create_task_group() as group:
            group.start_soon(self._until_gone, receive, group.cancel_scope)
            with contextlib.suppress(OSError), anyio.move_on_after(self._lifetime):
                # OSError: some servers tell so that the browser has left.
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await self._send_on(send)
            with contextlib.suppress(OSError):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            group.cancel_scope.cancel()

    async def _send_on(self, send: Send) -> None:
        async def body(text: str) -> None:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        await body(f"retry: {RETRY * 1000:.0f}\n\n")
        async for text in self._events:
            await body(text)

    @staticmethod
    async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()
