"""Actions on many jobs: they go on behind the request that began them, can be watched, and can be stopped."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from qengine.errors import QEngineError

log = logging.getLogger("qengine.web")

KEPT = 100
"""How many that have ended are remembered."""


class Stopped(Exception):
    """Raised between two batches of a work that is to stop."""


@dataclass(slots=True)
class Work:
    """One action on many jobs."""

    id: str
    action: str
    """requeue, cancel or delete."""
    what: str
    """Which jobs, in words."""
    back: str
    """The path of the page from which it was begun."""
    jobs: int = 0
    """How many it has dealt with so far."""
    state: str = "running"
    """running, done, stopped or failed."""
    error: str | None = None
    """Why it failed."""
    stopping: bool = False
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """For how long it has been, or was, at work."""
        return (time.monotonic() if self.ended is None else self.ended) - self.began

    def stop(self) -> None:
        """Let it end after the batch that is under way."""
        self.stopping = True

    def progress(self, jobs: int) -> None:
        """Told after each batch how many jobs there were so far."""
        self.jobs = jobs
        if self.stopping:
            raise Stopped


class Works:
    """The actions of one dashboard, in this process."""

    def __init__(self) -> None:
        self._all: dict[str, Work] = {}

    def get(self, id: str) -> Work | None:
        """The work with this id, unless it is forgotten."""
        return self._all.get(id)

    async def begin(
        self, action: str, what: str, back: str, act: Callable[[Callable[[int], None]], Awaitable[int]], wait: float
    ) -> Work:
        """Begin `act(progress)` and wait for its end, but no longer than `wait` seconds."""
        self._forget()
        work = Work(secrets.token_urlsafe(12), action, what, back)
        self._all[work.id] = work
        work.task = asyncio.create_task(self._run(work, act), name=f"qengine-web-{action}")
        await asyncio.wait([work.task], timeout=wait)
        return work

    async def _run(self, work: Work, act: Callable[[Callable[[int], None]], Awaitable[int]]) -> None:
        try:
            work.jobs = await act(work.progress)
            work.state = "done"
        except Stopped:
            work.state = "stopped"
        except asyncio.CancelledError:
            work.state = "stopped"
            raise
        except QEngineError as error:
            work.state, work.error = "failed", str(error)
        except Exception as error:
            log.exception("%s failed", work.action)
            work.state, work.error = "failed", f"{type(error).__name__}; the log of the dashboard tells more"
        finally:
            work.ended = time.monotonic()

    def _forget(self) -> None:
        ended = [work for work in self._all.values() if work.ended is not None]
        for work in ended[: max(0, len(ended) - KEPT)]:
            del self._all[work.id]

    async def close(self) -> None:
        """Let all end after the batches that are under way."""
        running = [work for work in self._all.values() if work.task is not None and not work.task.done()]
        for work in running:
            work.stop()
        await asyncio.gather(*(work.task for work in running if work.task is not None), return_exceptions=True)
