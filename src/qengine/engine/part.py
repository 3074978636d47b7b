"""What the parts of an engine know of the whole."""

from __future__ import annotations

import abc
from collections.abc import Collection

from qengine.backends.protocol import QueueBackend
from qengine.worker import Worker

NOT_OPEN = "the engine is not open; use `async with engine:`, or `await engine.open()` first"


class Part(abc.ABC):
    """The base of the parts."""

    @property
    @abc.abstractmethod
    def backend(self) -> QueueBackend:
        """The open backend. Raises ConfigurationError while the engine is not open."""

    @property
    @abc.abstractmethod
    def running_workers(self) -> Collection[Worker]:
        """The workers of this engine that run in this process."""
