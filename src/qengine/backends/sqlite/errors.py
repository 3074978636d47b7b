"""Turning the errors of SQLite into those of `qengine.errors`, in one place."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from qengine.errors import BackendUnavailable, ConfigurationError, QEngineError, SchemaError

_PRIMARY = 0xFF
"""An extended result code holds the primary one in its lowest byte."""

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_FOREIGN = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_PASSING = {
    sqlite3.SQLITE_FULL: "has no room left: the disk, or the file's size limit, is full",
    sqlite3.SQLITE_IOERR: "could not be read or written by the operating system",
    sqlite3.SQLITE_CANTOPEN: "could not be opened; look at the permissions of the file and of its folder",
    sqlite3.SQLITE_PROTOCOL: "could not be locked; is it on a network file system?",
    sqlite3.SQLITE_NOMEM: "could not be used: out of memory",
    sqlite3.SQLITE_INTERRUPT: "was closed in the middle of a statement",
}


def code_of(error: BaseException) -> int | None:
    """The primary result code of an error of SQLite's own; None for those that the driver makes up."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & _PRIMARY


def is_busy(error: BaseException) -> bool:
    """Whether somebody else holds a lock, so that the same statement may succeed in a moment."""
    return code_of(error) in _BUSY


def is_undecodable(error: BaseException) -> bool:
    """Whether a text in the database is none: bytes that are not UTF-8, which only an edit by hand or damage leaves."""
    return isinstance(error, sqlite3.OperationalError) and str(error).startswith("Could not decode to UTF-8")


def lenient(raw: bytes) -> str:
    """A `text_factory` for such a database: slower than the usual one, but it reads everything."""
    return raw.decode(errors="replace")


def translate(error: BaseException, path: str) -> BaseException:
    """The error to raise in place of `error`; itself when it is none of the driver's."""
    if isinstance(error, sqlite3.Error):
        translated = _translation(error, f"the SQLite database {path}")
    elif isinstance(error, (UnicodeEncodeError, OverflowError)):
        translated = ConfigurationError(f"a value cannot be stored in SQLite: {error}")
    else:
        return error
    translated.__cause__ = error
    return translated


def _translation(error: sqlite3.Error, database: str) -> QEngineError:
    code, text = code_of(error), str(error)
    if code in _BUSY:
        return BackendUnavailable(f"{database} stayed locked by another connection for longer than busy_timeout allows")
    if code in _FOREIGN:
        return SchemaError(f"{database} is no SQLite database, or a damaged one ({text}); name another file, or restore a backup")
    if code == sqlite3.SQLITE_READONLY:
        return ConfigurationError(f"{database} is read-only; make the file and its folder writable for this user")
    if code in _PASSING:
        return BackendUnavailable(f"{database} {_PASSING[code]} ({text})")
    if text.startswith(("no such table: ", "no such column: ", "table qengine_")):
        return SchemaError(f"{database} has no qengine schema of this release ({text}); run `qengine migrate`")
    if isinstance(error, sqlite3.IntegrityError):
        return ConfigurationError(f"{database} refused a value: {text}")
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in text:
        return BackendUnavailable(f"the connection to {database} is closed")
    return QEngineError(f"{database} answered: {text}")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise the errors of the driver within the block as qengine's."""
    try:
        yield
    except (sqlite3.Error, UnicodeEncodeError, OverflowError) as error:
        raise translate(error, path) from error
    except ValueError as error:
        if type(error) is ValueError and str(error) in ("Connection closed", "no active connection"):  # aiosqlite's own
            raise BackendUnavailable(f"the connection to the SQLite database {path} is closed") from error
        raise
