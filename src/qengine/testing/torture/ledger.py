"""What a process of the run writes down: one line an event, on the disk before the process goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qengine.testing.torture.clock import real_time


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a ledger."""

    t: float
    """Monotonic seconds: the same clock in all processes of a machine."""
    at: float
    """Unix seconds by the machine's clock."""
    pid: int
    role: str
    kind: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        facts = " ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.role}[{self.pid}] {self.kind} {facts}"


class Ledger:
    """A file that only this process appends to. Safe to use from any thread."""

    def __init__(self, folder: Path, role: str) -> None:
        self._role = role
        self._pid = os.getpid()
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC
        self._file = os.open(folder / f"ledger-{role}-{self._pid}-{time.monotonic_ns()}.jsonl", flags, 0o644)

    def write(self, kind: str, **facts: Any) -> None:
        """Append an event; it is on the disk when this returns."""
        line = [time.monotonic(), real_time(), self._pid, self._role, kind, facts]
        os.write(self._file, json.dumps(line).encode() + b"\n")
        os.fdatasync(self._file)


def read(folder: Path) -> list[Event]:
    """All events of all ledgers in a folder, in the order of time."""
    events = [event for path in sorted(folder.glob("ledger-*.jsonl")) for event in _read_one(path)]
    events.sort(key=lambda event: event.t)
    return events


def _read_one(path: Path) -> Iterator[Event]:
    with path.open() as file:
        for line in file:
            # The last line of a killed process may be torn.
            if line.endswith("\n"):
                yield Event(*json.loads(line))
