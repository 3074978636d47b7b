"""Waiting for a job to end: at once when a worker of this engine ends it, by looking again when another process does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from qengine.errors import JobFailed, JobNotFound
from qengine.job import LIVE, Job, Status

FIRST_LOOK, LAST_LOOK = 0.02, 1.0
"""Seconds between looks at a job that another process runs: at first, and at the most."""


class Waiting:
    """Those who wait for jobs of one engine."""

    def __init__(self, get: Callable[[int], Awaitable[Job[Any] | None]]) -> None:
        self._get = get
        self._waiters: dict[int, set[asyncio.Event]] = {}

    def settled(self, job_ids: Iterable[int]) -> None:
        """Told which jobs a worker of this engine has just settled."""
        if self._waiters:
            for job_id in job_ids:
                for event in self._waiters.get(job_id, ()):
                    event.set()

    async def until_ended(self, job_id: int, timeout: float | None) -> Job[Any]:
        """The job once it is completed. Raises JobFailed, JobNotFound or TimeoutError otherwise."""
        event = asyncio.Event()
        self._waiters.setdefault(job_id, set()).add(event)
        try:
            async with asyncio.timeout(timeout):
                return await self._watch(job_id, event)
        except TimeoutError:
            raise TimeoutError(f"job {job_id} has not ended within {timeout:g} s") from None
        finally:
            self._waiters[job_id].discard(event)
            if not self._waiters[job_id]:
                del self._waiters[job_id]

    async def _watch(self, job_id: int, event: asyncio.Event) -> Job[Any]:
        pause, known = FIRST_LOOK, time.monotonic()
        while True:
            job = await self._get(job_id)
            if job is None:
                raise JobNotFound(f"job {job_id} does not exist, or was deleted while it was waited for")
            if job.status not in LIVE:
                return _completed(job)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await event.wait()
            event.clear()
            pause = min(LAST_LOOK, max(FIRST_LOOK, (time.monotonic() - known) / 5))


def _completed(job: Job[Any]) -> Job[Any]:
    if job.status is Status.COMPLETED:
        return job
    reason = f" ({job.dead_reason})" if job.dead_reason else ""
    why = f": {job.last_error}" if job.last_error else ""
    raise JobFailed(f"job {job.id} ({job.type}) is {job.status}{reason}{why}", job=job)
