"""What a stretch of work cost: wall time, CPU of this process and of the database server, bytes written, memory."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Any

_TICK = os.sysconf("SC_CLK_TCK")


class Meter:
    """Started when it is made; `stop` says what was used since."""

    def __init__(self, server: int | None) -> None:
        self._server = server
        self._server_before = server_cpu(server)
        self._written_before = written()
        self._own_before = own_cpu()
        self._began = time.monotonic()

    def stop(self) -> dict[str, Any]:
        """The figures, as a part of a result."""
        ended = time.monotonic()
        own = own_cpu() - self._own_before
        after = server_cpu(self._server)
        known = after is not None and self._server_before is not None
        return {
            "began": self._began,
            "ended": ended,
            "seconds": ended - self._began,
            "worker_cpu": own,
            "server_cpu": after - self._server_before if known else None,
            "written": written() - self._written_before,
        }


def own_cpu() -> float:
    """CPU seconds of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def written() -> int:
    """Bytes that this process has written to files; 0 where /proc does not tell."""
    try:
        fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    except OSError:
        return 0
    return int(fields["wchar"])


def resident() -> float:
    """MB of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def server_cpu(pid: int | None) -> float | None:
    """CPU seconds of a server and of its processes, those that have ended included; None where /proc does not tell."""
    if pid is None:
        return None
    try:
        total = _ended_children(pid) + _nanoseconds(pid)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            try:
                total += _nanoseconds(int(child))
            except OSError:
                continue  # it has ended since, and is counted the next time
    except OSError:
        return None
    return total


def _nanoseconds(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _ended_children(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / _TICK
