"""Work that may take long: it shows how far it is, and can be interrupted between two steps without harm."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from qengine import Engine
from qengine.cli.errors import complain
from qengine.cli.target import find_engine
from qengine.cli.text import counted

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The work was to stop, and has, between two steps."""


class Work:
    """How far some long work is, and whether it is to go on."""

    def __init__(self, title: str, total: int | None) -> None:
        self.done = 0
        """How many jobs were dealt with."""
        self.stopped_by = 0
        """The signal at which it stopped before it was done; 0 when it came to its end."""
        self.cut = False
        """Whether it was stopped in the middle of a step."""
        self._signal = 0
        self._before = 0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True, markup=False, highlight=False, emoji=False),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._shown = self._bar.add_task(title, total=total)

    def step(self, so_far: int) -> None:
        """Note the number of jobs so far, in the present part. Raises Interrupted when the work is to stop."""
        self.done = self._before + so_far
        self._bar.update(self._shown, completed=self.done)
        self.check()

    def next_part(self) -> None:
        """Let `step` count on from what is done already."""
        self._before = self.done

    def check(self) -> None:
        """Raise Interrupted when the work is to stop."""
        if self._signal:
            raise Interrupted

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Show the work on the terminal, and heed signals: the first stops it after this step, the second at once."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def handle(number: int, frame: FrameType | None) -> None:
            if self._signal:
                loop.call_soon_threadsafe(task.cancel)
            else:
                loop.call_soon_threadsafe(complain, "stopping after this batch; a second signal stops at once")
            self._signal = number

        replaced = {number: signal.signal(number, handle) for number in SIGNALS}
        try:
            with self._bar:
                yield
        except asyncio.CancelledError:
            if not self._signal:
                raise
            task.uncancel()
            self.stopped_by, self.cut = self._signal, True
        except Interrupted:
            self.stopped_by = self._signal
        finally:
            for number, handler in replaced.items():
                signal.signal(number, handler)


def run_long(where: str | None, title: str, total: int | None, operation: Callable[[Engine, Work], Awaitable[None]]) -> Work:
    """Open the engine that `where` names and let `operation` work on it, watched."""
    engine, work = find_engine(where), Work(title, total)

    async def opened() -> None:
        async with engine:
            with work.watched():
                await operation(engine, work)

    asyncio.run(opened())
    return work


def tell_interruption(work: Work) -> int | None:
    """Say that the work was interrupted, if it was; the exit code then."""
    if not work.stopped_by:
        return None
    rest = "the last batch may have been done as well" if work.cut else "the others were left as they were"
    complain(f"interrupted after {counted(work.done, 'job')}; {rest}")
    return 128 + work.stopped_by
