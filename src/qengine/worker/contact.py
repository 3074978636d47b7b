"""When the worker last failed to reach its database, or was itself away: others' leases are left alone for a while then."""

from __future__ import annotations

import math
import time


class Contact:
    """Shared by a worker's loops. Thread-safe in that it holds one number."""

    def __init__(self) -> None:
        self._broken_at = -math.inf

    def broken(self) -> None:
        """Note that the database could not be reached just now, or that this process was not running."""
        self._broken_at = time.monotonic()

    def whole_for(self, seconds: float) -> bool:
        """Whether nothing broke within the last `seconds`."""
        return time.monotonic() - self._broken_at >= seconds
