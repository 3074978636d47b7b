"""A backend beside which others work: subclasses override verbs, and do what others do at that moment."""

from __future__ import annotations

from typing import Any

from qengine.backends.protocol import QueueBackend


class Beside:
    """Passes on whatever it does not override; for `Engine.wrapped`."""

    def __init__(self, backend: QueueBackend) -> None:
        self.real = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)
