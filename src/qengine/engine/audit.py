"""The record of who did what: a row before an action begins, and how many jobs it touched when it has ended."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio

from qengine.backends.inspection import AuditEntry
from qengine.backends.protocol import QueueBackend
from qengine.errors import ConfigurationError, QEngineError
from qengine.values import is_unicode

log = logging.getLogger("qengine.audit")


def this_user() -> str:
    """Who acts when nobody says: `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user need not have a name
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    # A name in another encoding than the locale's holds half characters, which no database takes.
    return f"{user}@{socket.gethostname()}".encode("utf-8", "backslashreplace").decode()


class Count:
    """How many jobs an action has touched so far."""

    def __init__(self) -> None:
        self.jobs = 0


@contextlib.asynccontextmanager
async def audited(
    backend: QueueBackend, by: str | None, action: str, detail: Mapping[str, Any], job_id: int | None = None
) -> AsyncIterator[Count]:
    """Record the action of the block: that it begins, and at its end, also by an error, what was counted.

    Nothing is done that is not on record: when the row cannot be written, its error is raised before the block. When the
    end cannot be, the action has happened all the same; that is logged, and the row goes on saying that it began.
    """
    if by is not None and (not isinstance(by, str) or not by.strip() or "\0" in by or not is_unicode(by)):
        raise ConfigurationError(f"by={by!r}: give the name of who acts, or None for the user of this process")
    count = Count()
    entry = await backend.audit(AuditEntry(this_user() if by is None else by, action, detail, job_id))
    try:
        yield count
    finally:
        with anyio.CancelScope(shield=True):
            try:
                await backend.audit_done(entry, count.jobs)
            except QEngineError as error:
                log.warning("the end of %s (audit row %d) was not recorded: %s", action, entry, error)
