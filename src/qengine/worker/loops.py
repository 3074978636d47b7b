"""The loops of a worker: started together, watched while they run, ended together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from qengine.worker.contact import Contact
from qengine.worker.supervisor import supervise

MAY_END = ("fetching", "schedules", "retention")
"""Loops that may end before the worker: when it is to claim no more, and those that have no crons or rules to follow."""


class Loops:
    """Supervised loops by name, from `start` to `end`."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def start(self, loops: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        """Start them."""
        self._tasks = {
            name: asyncio.create_task(supervise(name, loop, self._contact), name=f"qengine-{name}")
            for name, loop in loops.items()
        }

    def alive(self, *, stopping: bool) -> dict[str, bool]:
        """Whether each is alive. One that had nothing to do and ended counts as alive, and each while the worker stops."""
        return {name: not task.done() or _may_be_over(name, task, stopping) for name, task in self._tasks.items()}

    async def until_an_end(self, *ends: Awaitable[Any]) -> None:
        """Return when one of `ends` comes about, or a loop that is to last is over."""
        others: set[asyncio.Task[Any]] = {asyncio.ensure_future(_of(end)) for end in ends}
        waiting = others | set(self._tasks.values())
        lasting = {task for name, task in self._tasks.items() if name not in MAY_END}
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if any(task in others or task in lasting or _error(task) is not None for task in done):
                    return
        finally:
            for task in others:
                task.cancel()

    async def end(self, *names: str, within: float = 0.0) -> None:
        """End some before the others; they have so many seconds to do so by themselves."""
        tasks = [self._tasks[name] for name in names]
        if within:
            await asyncio.wait(tasks, timeout=within)
        for task in tasks:
            task.cancel()

    async def end_all(self) -> BaseException | None:
        """End them all; the error of one that could not recover."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self._tasks = {}
        return next((error for error in map(_error, tasks) if error is not None), None)


async def _of(end: Awaitable[Any]) -> Any:
    return await end


def _error(task: asyncio.Task[Any]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


def _may_be_over(name: str, task: asyncio.Task[None], stopping: bool) -> bool:
    if name not in MAY_END or task.cancelled():
        return stopping
    return task.exception() is None
