"""litequeue: a loop of pop, run and done, as its documentation shows."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from typing import Any

from litequeue import LiteQueue

from benchmarks.subject import ThreadedSubject

POLL = 0.005


class LiteQueueSubject(ThreadedSubject):
    """Rows are kept. It has no worker of its own."""

    async def open(self) -> None:
        self.queue = LiteQueue(self.order.url.removeprefix("sqlite:///"))

    async def close(self) -> None:
        self.queue.close()

    def enqueue_now(self, payload: dict[str, Any]) -> None:
        self.queue.put(json.dumps(payload))

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        with self.queue.transaction(mode="IMMEDIATE"):
            for payload in payloads:
                self.queue.put(json.dumps(payload))

    def _run_all(self) -> None:
        while (message := self.queue.pop()) is not None:
            self.run_handler(json.loads(message.data))
            self.queue.done(message.message_id, claim_id=message.claim_id)

    async def drain(self) -> None:
        self._run_all()

    async def serve(self) -> None:
        stop = threading.Event()

        def loop() -> None:
            while not stop.is_set():
                self._run_all()
                time.sleep(POLL)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            stop.set()
            thread.join()


SUBJECT = LiteQueueSubject
