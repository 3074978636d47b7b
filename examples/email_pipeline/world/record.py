"""What the outside world saw, in a file of its own: the evidence by which the example is judged."""

import sqlite3
import threading
from pathlib import Path
from typing import NamedTuple

SCHEMA = """
CREATE TABLE IF NOT EXISTS received (message_id TEXT, recipient TEXT, subject TEXT, repeat INTEGER);
CREATE TABLE IF NOT EXISTS incidents (kind TEXT, who TEXT, times INTEGER, PRIMARY KEY (kind, who));
"""


class Delivery(NamedTuple):
    """One mail in somebody's mailbox."""

    message_id: str
    recipient: str
    subject: str


class Record:
    """Written by the world, read by the director."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(SCHEMA)
        self._lock = threading.Lock()  # the web server has many threads

    def receive(self, mail: Delivery) -> bool:
        """Keep a mail that was handed over, durably; False when one with this Message-ID had come before."""
        with self._lock:
            [(seen,)] = self._db.execute("SELECT count(*) FROM received WHERE message_id = ?", (mail.message_id,))
            self._db.execute("INSERT INTO received VALUES (?, ?, ?, ?)", (*mail, seen > 0))
            return not seen

    def note(self, kind: str, who: str) -> None:
        """Something happened to somebody."""
        with self._lock:
            self._db.execute("INSERT INTO incidents VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1", (kind, who))

    def first(self, kind: str, who: str) -> bool:
        """Note it and answer True, unless it has happened to them before."""
        with self._lock:
            return self._db.execute("INSERT INTO incidents VALUES (?, ?, 1) ON CONFLICT DO NOTHING", (kind, who)).rowcount == 1

    def mailboxes(self) -> list[Delivery]:
        """Every mail as it lies in a mailbox: repeats are not put there."""
        with self._lock:
            rows = self._db.execute("SELECT message_id, recipient, subject FROM received WHERE NOT repeat")
            return [Delivery(*row) for row in rows]

    def repeats(self) -> list[str]:
        """The Message-ID of each mail that was handed over once more, after it had been accepted."""
        with self._lock:
            return [message_id for (message_id,) in self._db.execute("SELECT message_id FROM received WHERE repeat")]

    def incidents(self) -> dict[str, int]:
        """How often each kind of thing happened."""
        with self._lock:
            return dict(self._db.execute("SELECT kind, sum(times) FROM incidents GROUP BY kind").fetchall())

    def close(self) -> None:
        self._db.close()
