"""A broken promise, and what finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qengine.testing.torture.history import History


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise."""

    rule: str
    text: str
    job: int | None = None


Check = Callable[[History], Iterator[Violation]]
"""A generator of violations."""
