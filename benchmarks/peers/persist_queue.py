"""persist-queue: its acknowledging SQLite queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from persistqueue import SQLiteAckQueue
from persistqueue.exceptions import Empty

from benchmarks.subject import ThreadedSubject

POLL = 0.005


class PersistQueueSubject(ThreadedSubject):
    """Rows are kept. It has no worker of its own, and no owner of a job."""

    async def open(self) -> None:
        self.folder = str(Path(self.order.url.removeprefix("sqlite:///")).parent / "persist")
        self.queue = SQLiteAckQueue(self.folder, multithreading=True, auto_commit=True)

    async def close(self) -> None:
        self.queue.close()

    def enqueue_now(self, payload: dict[str, Any]) -> None:
        self.queue.put(payload)

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        for payload in payloads:
            self.queue.put(payload)

    def _run_all(self) -> None:
        while True:
            try:
                item = self.queue.get(block=False, raw=True)
            except Empty:
                return
            self.run_handler(item["data"])
            self.queue.ack(id=item["pqid"])

    async def drain(self) -> None:
        self._run_all()

    async def serve(self) -> None:
        stop = threading.Event()

        def loop() -> None:
            while not stop.wait(POLL):
                self._run_all()

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            stop.set()
            thread.join()


SUBJECT = PersistQueueSubject
