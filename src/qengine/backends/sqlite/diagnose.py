"""What can be wrong with a SQLite file that holds jobs, and with those who work on it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qengine.backends.inspection import Finding
from qengine.backends.migrations import load_migrations
from qengine.backends.sqlite import rows
from qengine.backends.sqlite.admin import Admin
from qengine.backends.sqlite.statements import PACKAGE
from qengine.errors import SchemaError

LATE = 60.0
"""Seconds after which an ended lease or a due job that no worker has dealt with is a problem."""
LARGE_WAL = 256 << 20
"""Bytes of a write-ahead log that tell of a checkpoint that is held up."""
WASTE = 256 << 20
"""Bytes of free pages that are worth a VACUUM, where they are half of the file or more."""
LOW_DISK, FULL_DISK = 1 << 30, 128 << 20
"""Bytes left on the disk that are a warning, and a problem."""
AHEAD = 5.0
"""Seconds by which a heartbeat may be in the future."""
REMOTE = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "ceph", "glusterfs")
"""File systems over a network, on which SQLite's locks and its shared memory do not hold."""


@dataclass(frozen=True, slots=True)
class _File:
    wal: int
    free: int
    kind: str


class Diagnosis(Admin):
    """The verb `diagnose`."""

    async def diagnose(self) -> list[Finding]:
        """See `Inspection.diagnose`."""
        try:
            await self.check_schema()
        except SchemaError as error:
            return [Finding("schema", "problem", str(error), "bring it up to date: `qengine migrate`")]
        now = self._now()
        file = await asyncio.to_thread(_look_at, Path(self.options.path))
        [figures] = await self._read_at_length("diagnose", {"now": now, "late": LATE})
        journal, page, pages, free_pages, objects, leases, due, heartbeat = figures
        latest = load_migrations(PACKAGE)[-1]
        return [
            Finding("schema", "ok", f"the schema is up to date (version {latest.version}, {latest.name})"),
            _indexes(set(rows.value(objects))),
            _file_system(file),
            _journal(journal, self.options.durability),
            _wal_size(file),
            _file_size(page * pages, page * free_pages),
            _disk(file),
            _clock(now, heartbeat),
            _leases(leases),
            _due(due),
            await self._unhandled(),
        ]

    async def _unhandled(self) -> Finding:
        types = await self.unhandled()
        if not types:
            return Finding("unhandled", "ok", "every type in line is served by a live worker")
        named = ", ".join(types[:10]) + (", …" if len(types) > 10 else "")
        text = f"jobs wait of types that no live worker of their queue serves: {named}"
        return Finding("unhandled", "warning", text, "start a worker that has these tasks, and serves their queues")


def _look_at(path: Path) -> _File:
    wal = Path(f"{path}-wal")
    return _File(wal.stat().st_size if wal.exists() else 0, shutil.disk_usage(path.parent).free, _kind_of(path))


def _kind_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that holds the file; empty where the system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    points = [(re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), fields[1]), fields[2]) for fields in map(str.split, lines)]
    found = os.path.realpath(path)
    holding = [(len(point), n, kind) for n, (point, kind) in enumerate(points) if _is_within(found, point)]
    return max(holding, default=(0, 0, ""))[2]


def _is_within(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def _mib(size: float) -> str:
    return f"{size / (1 << 20):,.0f} MiB"


def _indexes(objects: Iterable[str]) -> Finding:
    scripts = "\n".join(step.sql for step in load_migrations(PACKAGE))
    needed = re.findall(r"^CREATE (?:UNIQUE )?(?:INDEX|TRIGGER) (\w+)", scripts, re.MULTILINE)
    missing = sorted(set(needed) - set(objects))
    if not missing:
        return Finding("indexes", "ok", f"all {len(needed)} indexes and triggers are there")
    remedy = "make them again: `qengine migrate --sql` prints their statements"
    return Finding("indexes", "problem", f"missing: {', '.join(missing)}", remedy)


def _file_system(file: _File) -> Finding:
    if file.kind.startswith(REMOTE):
        text = f"the file is on {file.kind}, on which the locks of SQLite do not hold: the database can be damaged"
        return Finding("file_system", "problem", text, "move it to a local disk; for workers on several hosts use PostgreSQL")
    return Finding("file_system", "ok", f"the file is on a local disk ({file.kind or 'of a kind that the system does not tell'})")


def _journal(mode: str, durability: str) -> Finding:
    if mode != "wal":
        text = f"the journal mode is {mode}: readers and the writer wait for each other"
        return Finding("journal", "problem", text, "let no other program change it; opening the database with qengine sets WAL")
    kept = "the death of a process, not a power cut (durability=full does)" if durability == "normal" else "a power cut"
    return Finding("journal", "ok", f"the journal mode is WAL; a commit survives {kept}")


def _wal_size(file: _File) -> Finding:
    text = f"the write-ahead log takes {_mib(file.wal)}"
    if file.wal < LARGE_WAL:
        return Finding("wal_size", "ok", text)
    remedy = "end the program that keeps a read open, which holds up checkpoints; then `PRAGMA wal_checkpoint(TRUNCATE)`"
    return Finding("wal_size", "warning", f"{text} ({_mib(LARGE_WAL)} or more slow down every read)", remedy)


def _file_size(size: int, free: int) -> Finding:
    text = f"the file takes {_mib(size)}, of which {_mib(free)} are free pages"
    if free < WASTE or free * 2 < size:
        return Finding("file_size", "ok", text)
    return Finding("file_size", "warning", text, "`VACUUM` gives them back; stop the workers first, it locks the file")


def _disk(file: _File) -> Finding:
    text = f"{_mib(file.free)} are left on the disk"
    if file.free >= LOW_DISK:
        return Finding("disk", "ok", text)
    level: Literal["warning", "problem"] = "warning" if file.free >= FULL_DISK else "problem"
    return Finding("disk", level, text, "make room: `qengine prune` deletes ended jobs, `VACUUM` then shrinks the file")


def _clock(now: float, heartbeat: Any) -> Finding:
    ahead = 0.0 if heartbeat is None else heartbeat - now
    if ahead <= AHEAD:
        return Finding("clock", "ok", "no worker was last heard of in the future")
    text = f"a worker was last heard of {ahead:.0f} s in the future: the clock was put back, or a host's differs"
    return Finding("clock", "problem", text, "set the clock by NTP; leases and due times follow it")


def _leases(late: int) -> Finding:
    if not late:
        return Finding("leases", "ok", "leases that end are taken back in time")
    text = f"{_counted(late)} held by a lease that ended more than {LATE:g} s ago"
    return Finding("leases", "problem", text, "start a worker, of whatever types: any takes them back")


def _due(late: int) -> Finding:
    if not late:
        return Finding("due", "ok", "jobs that come due are put in line in time")
    text = f"{_counted(late)} not in line yet, though due for more than {LATE:g} s"
    return Finding("due", "problem", text, "start a worker, of whatever types: any puts due jobs in line")


def _counted(number: int) -> str:
    """The counts go up to 1,000."""
    if number == 1:
        return "1 job is"
    return f"{number:,} jobs are" if number < 1_000 else "1,000 jobs or more are"
