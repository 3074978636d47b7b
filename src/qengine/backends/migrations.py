"""Numbered migrations: which there are, and which a database still lacks. How to run and lock is the backend's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import NamedTuple

from qengine.backends.sqlfile import replaced
from qengine.errors import SchemaError


class Migration(NamedTuple):
    """One step forward: `0003_name.sql` is version 3."""

    version: int
    name: str
    sql: str


def load_migrations(package: str, replace: Mapping[str, str] | None = None) -> list[Migration]:
    """The migrations in the `migrations` folder of `package`, in order; they are numbered 1, 2, 3 … without gaps."""
    found = []
    for file in (files(package) / "migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_\w+\.sql", file.name)
        if match:
            found.append(Migration(int(match[1]), file.name[: -len(".sql")], replaced(file.read_text(encoding="utf-8"), replace)))
    found.sort()
    assert [m.version for m in found] == list(range(1, len(found) + 1)), f"migrations of {package} are not numbered without gaps"
    return found


def pending(migrations: list[Migration], version: int) -> list[Migration]:
    """Those after `version`. Raises SchemaError when the database is ahead of them."""
    latest = migrations[-1].version
    if version > latest:
        raise SchemaError(
            f"the database has qengine schema {version}, this release knows {latest}; "
            "upgrade qengine (pip install -U qengine), or use another database"
        )
    return migrations[version:]


def require_current(migrations: list[Migration], version: int) -> None:
    """Raise SchemaError unless nothing is pending."""
    missing = pending(migrations, version)
    if missing:
        needed = migrations[-1].version
        raise SchemaError(f"the qengine schema is at {version}, this release needs {needed}; run `qengine migrate`")
