"""The SQLite backend."""

from qengine.backends.sqlite.backend import SQLiteBackend

__all__ = ["SQLiteBackend"]
