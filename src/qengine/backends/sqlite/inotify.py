"""Being told by Linux that a file is written to, so that nothing has to be looked at while nothing happens.

Watching a path opens no descriptor of the file itself, which is what would make a process drop SQLite's locks.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys

_IN_MODIFY = 0x2


class Inotify:
    """Tells of writes to one file. Raises OSError where the system cannot."""

    def __init__(self, path: str) -> None:
        if sys.platform != "linux":
            raise OSError("there is no inotify here")
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._events < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        if libc.inotify_add_watch(self._events, os.fsencode(path), _IN_MODIFY) < 0:
            os.close(self._events)
            raise OSError(ctypes.get_errno(), "inotify_add_watch", path)
        self._bell, self._cord = os.pipe()
        self._poll = select.poll()
        self._poll.register(self._events, select.POLLIN)
        self._poll.register(self._bell, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Wait for a write, those since the last wait included; False when there was none for so long."""
        if not self._poll.poll(seconds * 1000):
            return False
        try:
            os.read(self._events, 65536)
        except BlockingIOError:
            return False
        return True

    def ring(self) -> None:
        """End the wait, from another thread, for good."""
        os.write(self._cord, b"x")

    def close(self) -> None:
        """Let go of the descriptors."""
        for descriptor in (self._events, self._bell, self._cord):
            os.close(descriptor)
