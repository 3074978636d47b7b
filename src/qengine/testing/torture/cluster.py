"""The processes of a run: started, watched, replaced, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from qengine.testing.torture.history import OWN_HAND
from qengine.testing.torture.ledger import Ledger

MEMORY_LIMIT = 450
"""Megabytes that a worker may have; the cluster kills it beyond, as a container's limit does."""
STOPS_WITHIN = 45.0
"""Seconds within which a process that was asked to stop must have ended: grace, patience, the last writes, and
handlers that do not listen."""


class Member:
    """One process."""

    def __init__(self, role: str, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.role = role
        self.name = name
        self.process = process
        self.log = log
        self.doom: str | None = None
        """Why it is expected to end; None: it is not."""
        self.asked_at: float | None = None
        """When it was asked to stop (monotonic)."""
        self.killed = False
        self.started = time.monotonic()
        self.frozen = False
        self.excused = 0.0
        """Seconds for which it could not stop, because it was frozen."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def signal(self, number: int) -> None:
        """Send it a signal, if it still lives."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Cluster:
    """Keeps so many processes of each role alive."""

    def __init__(self, folder: Path, ledger: Ledger, rng: random.Random) -> None:
        self._folder = folder
        self._ledger = ledger
        self._random = rng
        self._configs: dict[str, Path] = {}
        self._wanted: dict[str, str] = {}
        self._names: dict[str, Callable[[], Path]] = {}
        self._logs = folder / "logs"
        self._logs.mkdir(exist_ok=True)
        self.members: dict[str, Member] = {}
        self.odd_ends: list[str] = []
        """Processes that ended, or did not end, in a way that nothing excuses."""
        self.starts = 0

    def want(self, role: str, name: str, config: Callable[[], Path]) -> None:
        """Have a process of this role and name from now on; `config` is asked at each start."""
        self._wanted[name] = role
        self._names[name] = config

    def unwant(self, role: str) -> None:
        """Have none of this role any more: they are left to end, or killed by `kill`."""
        self._wanted = {name: wanted for name, wanted in self._wanted.items() if wanted != role}

    def alive(self, role: str) -> list[Member]:
        """Those of a role that live, frozen ones included."""
        return [member for member in self.members.values() if member.role == role and member.process.poll() is None]

    def some(self, role: str, *, older_than: float = 0.0) -> Member | None:
        """One of them at random, up for so many seconds; None when there is none. Frozen and doomed ones are left out."""
        now = time.monotonic()
        found = [m for m in self.alive(role) if m.doom is None and not m.frozen and now - m.started >= older_than]
        return self._random.choice(found) if found else None

    async def run(self) -> None:
        """Watch and replace, until cancelled."""
        restarts: dict[str, float] = {}
        while True:
            for name, member in list(self.members.items()):
                self._watch(member)
                if member.process.poll() is not None:
                    self._buried(member)
                    del self.members[name]
                    restarts[name] = time.monotonic() + self._random.uniform(0.1, 0.8)
            for name, role in list(self._wanted.items()):
                if name not in self.members and time.monotonic() >= restarts.get(name, 0):
                    self.start(role, name, self._names[name]())
            await asyncio.sleep(0.05)

    def start(self, role: str, name: str, config: Path, *words: str) -> Member:
        """Start a process."""
        self.starts += 1
        log = self._logs / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - this very program
                [
                    sys.executable,
                    "-m",
                    "qengine.testing.torture.member",
                    role,
                    str(config),
                    *(words or (f"{name}-{self.starts}",)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        member = Member(role, name, process, log)
        self.members[name] = member
        return member

    def kill(self, member: Member, why: str) -> None:
        """SIGKILL."""
        member.doom = why
        member.killed = True
        member.asked_at = None
        member.signal(signal.SIGKILL)

    def ask_to_stop(self, member: Member, why: str) -> None:
        """SIGTERM; it is killed, and remembered, when it does not end in time."""
        member.doom = why
        member.asked_at = time.monotonic()
        member.signal(signal.SIGTERM)

    def freeze(self, member: Member) -> None:
        """SIGSTOP."""
        member.frozen = True
        member.signal(signal.SIGSTOP)

    def thaw(self, member: Member) -> None:
        """SIGCONT."""
        member.frozen = False
        member.signal(signal.SIGCONT)

    def _watch(self, member: Member) -> None:
        if member.role == "worker" and not member.killed and _megabytes(member.pid) > MEMORY_LIMIT:
            self._ledger.write("fault", name="memory limit", victim=member.pid, kill=True)
            self.kill(member, "memory limit")
        if member.asked_at is not None and time.monotonic() - member.asked_at > STOPS_WITHIN + member.excused:
            self.odd_ends.append(
                f"{member.name}[{member.pid}] did not end within {STOPS_WITHIN:g} s of SIGTERM; {_tail(member.log)}"
            )
            self._ledger.write("fault", name="killed for not stopping", victim=member.pid, kill=True)
            self.kill(member, "did not stop")

    def _buried(self, member: Member) -> None:
        status = member.process.returncode
        by_itself = status == -signal.SIGKILL and not member.killed and member.role == "worker"
        if by_itself:
            member.doom = OWN_HAND  # poison, perhaps while it was stopping; the checker asks whether there was any
        took = None if member.asked_at is None else round(time.monotonic() - member.asked_at, 2)
        self._ledger.write("exit", victim=member.pid, name=member.name, status=status, why=member.doom, took=took)
        # One that was asked before it was ready to listen dies of the signal itself.
        asked_and_failed = member.asked_at is not None and status not in (0, -signal.SIGTERM) and not by_itself
        if member.doom is None or asked_and_failed:
            self.odd_ends.append(f"{member.name}[{member.pid}] ended by itself with status {status}; {_tail(member.log)}")

    async def stop(self, role: str, within: float = STOPS_WITHIN + 5) -> None:
        """Ask all of a role to stop, and wait until they have."""
        self.unwant(role)
        for member in self.alive(role):
            if member.asked_at is None:
                self.ask_to_stop(member, "the run ends")
        end = time.monotonic() + within
        while self.alive(role) and time.monotonic() < end:  # noqa: ASYNC110 - processes have no event
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """Kill whatever is left."""
        for member in self.members.values():
            member.signal(signal.SIGKILL)
            member.process.wait()


def _megabytes(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def _tail(log: Path, size: int = 1500) -> str:
    return f"its log ends with:\n{log.read_text(errors='replace')[-size:]}"
