"""The engine's clock of a run: this machine's, moved by an offset that all processes of the run share."""

from __future__ import annotations

import datetime as dt
import mmap
import struct
import time
from pathlib import Path

real_time = time.time
"""The machine's clock, kept here because `install` moves `time.time`."""
_LAYOUT = struct.Struct("=d")


class SharedClock:
    """A `qengine.clock.Clock` whose offset is in a file mapped into every process."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_LAYOUT.pack(0.0))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _LAYOUT.size)

    @property
    def offset(self) -> float:
        """Seconds that it is ahead of the machine's."""
        offset: float = _LAYOUT.unpack(self._map[: _LAYOUT.size])[0]
        return offset

    def set(self, offset: float) -> None:
        """Let it be `offset` seconds ahead of the machine's from now on, in every process."""
        self._map[: _LAYOUT.size] = _LAYOUT.pack(offset)

    def time(self) -> float:
        """Unix seconds."""
        return real_time() + self.offset

    def now(self) -> dt.datetime:
        """See `qengine.clock.Clock`."""
        return dt.datetime.fromtimestamp(self.time(), dt.UTC)

    def install(self) -> None:
        """Move `time.time` of this process with it, as the machine's own clock would move."""
        time.time = self.time
