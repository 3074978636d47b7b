"""Group commit: enqueues that happen at the same time in a process share one statement and one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from qengine.backends.protocol import Enqueued, QueueBackend
from qengine.job import NewJob

BATCH = 1_000
"""Jobs in one group, at the most."""


class GroupCommit:
    """Collects single enqueues while one is being written, and writes them together next.

    Each caller waits for its own durability. Being cancelled while waiting takes back nothing: the job may be stored.
    """

    def __init__(self, backend: QueueBackend) -> None:
        self._backend = backend
        self._pending: list[tuple[NewJob, asyncio.Future[Enqueued]]] = []
        self._busy = False
        self._writer: asyncio.Task[None] | None = None

    async def enqueue(self, job: NewJob) -> Enqueued:
        """Store one job: at once while nobody else is storing, else together with the others that wait."""
        if self._busy:
            answer: asyncio.Future[Enqueued] = asyncio.get_running_loop().create_future()
            self._pending.append((job, answer))
            return await answer
        self._busy = True
        try:
            return (await self._backend.enqueue([job]))[0]
        finally:
            if self._pending:
                self._writer = asyncio.create_task(self._write(), name="qengine-enqueue")
            else:
                self._busy = False

    async def _write(self) -> None:
        try:
            while self._pending:
                group, self._pending = self._pending[:BATCH], self._pending[BATCH:]
                await self._write_group(group)
                await asyncio.sleep(0)  # those who got their answer may have the next job ready: let them join
        finally:
            self._busy = False

    async def _write_group(self, group: Sequence[tuple[NewJob, asyncio.Future[Enqueued]]]) -> None:
        try:
            answers = await self._backend.enqueue([job for job, _ in group])
        except BaseException as error:
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, answer), stored in zip(group, answers, strict=True):
            if not answer.done():
                answer.set_result(stored)

    async def close(self) -> None:
        """Wait until what was handed over is written."""
        while self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer])
