"""A small disk that can be made full, for a SQLite file: a tmpfs in a mount namespace of this run alone."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MS_REMOUNT, _MS_REC, _MS_PRIVATE = 32, 0x4000, 1 << 18
_ROOMY = "4g"
_LEFT = 32 * 1024
"""Bytes that are left on a full disk."""


class SmallDisk:
    """A tmpfs that only this process and its children see; it is gone when the last of them is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._libc = ctypes.CDLL(None, use_errno=True)

    def mount(self) -> str | None:
        """Mount it, if this process may. Call before any thread is started. Returns why it could not be done."""
        if sys.platform != "linux":
            return "not on Linux"
        if os.geteuid() != 0:
            return "not root"
        self._folder.mkdir(parents=True)
        if self._libc.unshare(_CLONE_NEWNS) or self._libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None):
            return f"no mount namespace: {os.strerror(ctypes.get_errno())}"
        if self._libc.mount(b"tmpfs", bytes(self._folder), b"tmpfs", 0, f"size={_ROOMY}".encode()):
            return f"no tmpfs: {os.strerror(ctypes.get_errno())}"
        return None

    def fill(self) -> None:
        """Leave no room but a few pages."""
        disk = os.statvfs(self._folder)
        self._resize(str((disk.f_blocks - disk.f_bfree) * disk.f_frsize + _LEFT))

    def clear(self) -> None:
        """Make it roomy again."""
        self._resize(_ROOMY)

    def _resize(self, size: str) -> None:
        if self._libc.mount(b"tmpfs", bytes(self._folder), b"tmpfs", _MS_REMOUNT, f"size={size}".encode()):
            raise OSError(ctypes.get_errno(), f"the tmpfs cannot be resized to {size}")


def limit_files(pid: int, size: int | None) -> None:
    """Let a process write no file past `size` bytes; None: as far as it may at most."""
    if sys.platform == "linux":
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))
