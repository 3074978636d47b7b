"""What is shown while the pipeline runs: a table that keeps itself up to date, or plain lines."""

import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from qengine import Stats

STATUSES = {
    "pending": "cyan",
    "processing": "yellow",
    "failed": "magenta",
    "completed": "green",
    "dead": "red",
    "cancelled": "blue",
}
TYPES = {
    "process_reply": "1",
    "send_email": "2, 4, 6",
    "plan_campaigns": "3",
    "plan_upkeep": "3",
    "enrich_email": "5",
    "enrich_website": "7",
    "sync_crm": "8",
    "cleanup": "10",
}
"""The types in the order in which they go, and their priorities."""


class View:
    """Used as a context manager. `plain` prints only the news: for logs, and where there is no terminal."""

    def __init__(self, console: Console, *, plain: bool) -> None:
        self._console = console
        self._begun = time.monotonic()
        self._news: deque[str] = deque(maxlen=12)
        self._stats: Stats | None = None
        self._live = None if plain else Live(console=console, get_renderable=self._picture, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def tell(self, news: str) -> None:
        """Something has happened."""
        line = f"{time.monotonic() - self._begun:5.1f} s  {news}"
        self._news.append(line)
        if not self._live:
            self._console.print(escape(line), soft_wrap=True)

    def show(self, stats: Stats) -> None:
        """The counts as of now."""
        self._stats = stats

    def _picture(self) -> Group:
        table = Table(title=f"{time.monotonic() - self._begun:.0f} s", title_justify="left")
        table.add_column("type")
        table.add_column("priority", justify="right")
        for status, colour in STATUSES.items():
            table.add_column(status, justify="right", style=colour)
        for type_, priority in TYPES.items():
            counts = self._stats.by_type.get(type_, {}) if self._stats else {}
            table.add_row(type_, priority, *(str(counts.get(status) or "·") for status in STATUSES))
        return Group(table, Text("\n".join(self._news), overflow="fold"))
