"""The screen of `qengine top`. It needs textual, the extra `tui`."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static

from qengine import BackendUnavailable, Engine, QEngineError, Status
from qengine.cli.errors import without_passwords
from qengine.cli.text import counted, one_line
from qengine.cli.view import TypeRow, View, job_cells, look, place, type_cells, worker_cells

LONGEST_PAUSE = 10.0
"""Seconds between tries while the database is away, at the most."""


class Confirm(ModalScreen[bool]):
    """Asks whether something is to be done."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
    ]
    CSS = """
    Confirm { align: center middle; }
    Confirm Static { width: auto; max-width: 80%; padding: 1 3; border: round $accent; background: $surface; }
    """

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        """Show the question."""
        yield Static(Text(f"{self.question}\n\ny: yes    n: no"))

    def action_answer(self, answer: bool) -> None:
        """Close with the answer."""
        self.dismiss(answer)


class Rows(DataTable[Text]):
    """A table whose rows are replaced as a whole, while the cursor stays on its row."""

    def __init__(self, name: str, columns: Sequence[str], right: Sequence[str] = ()) -> None:
        super().__init__(id=name, cursor_type="row", zebra_stripes=True)
        self.border_title = name
        self.titles = columns
        self.right = {place for place, title in enumerate(columns) if title in right}
        self.keys: list[str] = []

    def on_mount(self) -> None:
        """Make the columns."""
        for title in self.titles:
            self.add_column(title)

    @property
    def chosen(self) -> str | None:
        """The key of the row at the cursor."""
        return self.keys[self.cursor_row] if 0 <= self.cursor_row < len(self.keys) else None

    def show(self, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Replace what is shown by these rows, each with its key."""
        cells = [[self._cell(place, text) for place, text in enumerate(row)] for _, row in rows]
        keys = [key for key, _ in rows]
        if keys == self.keys:
            for number, row in enumerate(cells):
                for column, cell in enumerate(row):
                    if self.get_cell_at((number, column)) != cell:  # type: ignore[arg-type]
                        self.update_cell_at((number, column), cell, update_width=True)  # type: ignore[arg-type]
            return
        chosen, top = self.chosen, self.scroll_y
        self.clear()
        self.keys = keys
        self.add_rows(cells)
        if chosen in keys:
            self.move_cursor(row=keys.index(chosen), scroll=False)
        self.scroll_to(y=top, animate=False)

    def _cell(self, place: int, text: str) -> Text:
        return Text(text, justify="right" if place in self.right else "left")


class Top(App[None]):
    """Types, running jobs and workers, looked at every so many seconds."""

    TITLE = "qengine top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause/resume type"),
        Binding("r", "requeue", "Requeue dead of type"),
        Binding("c", "cancel", "Cancel job, or waiting of type"),
        Binding("tab", "app.focus_next", "Next table"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]
    CSS = """
    #summary { height: auto; padding: 0 1; text-style: bold; }
    #message { height: auto; padding: 0 1; color: $warning; }
    DataTable { border: round $primary; height: 1fr; }
    DataTable:focus { border: round $accent; }
    #workers { height: auto; max-height: 25%; }
    """

    def __init__(self, engine: Engine, every: float = 1.0) -> None:
        super().__init__()
        self.engine = engine
        self.every = every
        self.seen: View | None = None
        self.failure: Exception | None = None
        """Why it ended, when it was not told to."""
        self.summary = Static("looking …", id="summary", markup=False)
        self.message = Static("", id="message", markup=False)
        self.away = False
        """Whether the database did not answer last."""
        self._now = asyncio.Event()
        numbers = ["pending", "running", "failed", "dead", "done/min", "failed/min", "due for"]
        self.types = Rows("types", ["type", *numbers, ""], numbers)
        self.running = Rows("running", ["id", "type", "attempt", "for", "progress", "worker"], ["id", "for"])
        self.workers_shown = Rows("workers", ["worker", "release", "running", "lag", "heard of"], ["running", "lag", "heard of"])

    def compose(self) -> ComposeResult:
        """Lay the tables out."""
        yield self.summary
        with Vertical():
            yield self.types
            yield self.running
            yield self.workers_shown
        yield self.message
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self.types.focus()
        self.run_worker(self._watch(), name="watch")

    async def _watch(self) -> None:
        pause = 0.0
        while True:
            self._now.clear()
            try:
                self._show(await look(self.engine))
            except BackendUnavailable as error:
                self.away = True
                pause = min(LONGEST_PAUSE, 2 * pause or self.every)
                self._say(f"the database is away, and is tried again; what is shown is old. {error}")
            except Exception as error:
                self.failure = error
                self.exit()
                return
            else:
                if self.away:
                    self._say("the database is back")
                self.away, pause = False, 0.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.5, 1.0) or self.every):  # noqa: S311 - jitter
                    await self._now.wait()

    def _show(self, view: View) -> None:
        self.seen = view
        self.summary.update(Text(view.summary))
        hosts = {worker.id: place(worker) for worker in view.workers}
        self.types.show([(row.type, type_cells(row)) for row in view.types])
        self.running.show([(str(job.id), job_cells(job, view.at, hosts)) for job in view.running])
        self.workers_shown.show([(worker.id, worker_cells(worker, view.at)) for worker in view.workers])

    def _say(self, text: str) -> None:
        self.message.update(Text(one_line(without_passwords(text))))

    def _type(self) -> TypeRow | None:
        """The type at the cursor."""
        rows = () if self.seen is None else self.seen.types
        return next((row for row in rows if row.type == self.types.chosen), None)

    # -- what keys do

    def action_pause(self) -> None:
        """Pause the type at the cursor, or resume it."""
        row = self._type()
        if row is None:
            return
        name = row.type
        if row.paused:
            self._ask(f"resume the type {name}?", lambda: self._resumed(name))
        else:
            self._ask(f"pause the type {name}, until it is resumed?", lambda: self._paused(name))

    async def _paused(self, name: str) -> str:
        await self.engine.pause(type=name)
        return f"the type {name} is paused"

    async def _resumed(self, name: str) -> str:
        ended = await self.engine.resume(type=name)
        return f"the type {name} is resumed" if ended else f"the type {name} was not paused any more"

    def action_requeue(self) -> None:
        """Put the dead jobs of the type at the cursor back in line."""
        row = self._type()
        if row is not None:
            name, known = row.type, row.counts.get(Status.DEAD)
            number = "all" if known is None else f"the {known}"
            self._ask(f"requeue {number} dead jobs of type {name}?", lambda: self._requeued(name))

    async def _requeued(self, name: str) -> str:
        number = await self.engine.requeue(status=Status.DEAD, type=name, progress=lambda n: self._say(f"{n} requeued"))
        return f"{counted(number, 'job')} of type {name} requeued"

    def action_cancel(self) -> None:
        """Cancel the running job at the cursor; in the table of types, all that waits of the type."""
        if self.running.has_focus:
            chosen = self.running.chosen
            if chosen is not None:
                self._ask(f"cancel job {chosen}, which runs?", lambda: self._cancelled(int(chosen)))
            return
        row = self._type()
        if row is not None and self.types.has_focus:
            name = row.type
            self._ask(f"cancel all jobs of type {name} that wait?", lambda: self._cancelled_waiting(name))

    async def _cancelled(self, id: int) -> str:
        return f"job {id} is cancelled" if await self.engine.cancel([id]) else f"job {id} had ended already"

    async def _cancelled_waiting(self, name: str) -> str:
        waiting = (Status.PENDING, Status.FAILED)
        number = await self.engine.cancel(status=waiting, type=name, progress=lambda n: self._say(f"{n} cancelled"))
        return f"{counted(number, 'job')} of type {name} cancelled"

    def _ask(self, question: str, act: Callable[[], Awaitable[str]]) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._act(act), name="act")

        self.push_screen(Confirm(one_line(question)), answered)

    async def _act(self, act: Callable[[], Awaitable[str]]) -> None:
        try:
            self._say(await act())
        except QEngineError as error:
            self._say(str(error))
        self._now.set()
