"""What a backend remembers of the lines (a line: one queue and type) to claim faster. All of it is a hint."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Line: TypeAlias = tuple[str, str]
"""A queue and a type."""

KEPT = 1.0
"""Seconds after which every hint is dropped: what other processes do unannounced is seen by then."""


class Hints:
    """Which lines there are, and the rank up to which each was emptied (the low-water mark).

    Claimed entries stay in the claim index until they are vacuumed; while an old transaction keeps them alive, a claim
    that starts at the mark does not walk over them. A job that comes in line below the mark drops it.
    """

    def __init__(self) -> None:
        self._marks: dict[Line, float] = {}
        self._marked_at = 0.0
        self._known: set[Line] | None = None
        self._known_at = 0.0

    def forget(self) -> None:
        """Know nothing: jobs came in line that nobody can name."""
        self._marks.clear()
        self._known = None

    def unmark(self) -> None:
        """Drop the marks: there may be jobs below them."""
        self._marks.clear()

    def came(self, lines: Iterable[Line], rank: float) -> None:
        """Jobs came in these lines, none below `rank`."""
        for line in lines:
            if self._marks.get(line, rank) > rank:
                del self._marks[line]
            if self._known is not None:
                self._known.add(line)

    def marks(self, lines: Sequence[Line]) -> list[float] | None:
        """The mark of each line; None when none of them has one."""
        if self._marks and time.monotonic() - self._marked_at > KEPT:
            self._marks.clear()
        if not any(line in self._marks for line in lines):
            return None
        return [self._marks.get(line, float("-inf")) for line in lines]

    def taken(self, line: Line, rank: float) -> None:
        """Everything in this line up to `rank` is taken, or being taken by others."""
        if not self._marks:
            self._marked_at = time.monotonic()
        self._marks[line] = rank

    @property
    def known(self) -> set[Line] | None:
        """The lines in which anybody waits; None when they must be looked up."""
        if self._known is not None and time.monotonic() - self._known_at > KEPT:
            self._known = None
        return self._known

    def learn(self, lines: Iterable[Line]) -> None:
        """These are all the lines there are."""
        self._known = set(lines)
        self._known_at = time.monotonic()
