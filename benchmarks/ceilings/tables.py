"""qengine's own tables, made by its own migrations."""

from __future__ import annotations

from qengine.backends import open_backend
from qengine.backends.protocol import BackendSettings


async def make(url: str) -> None:
    """Make them in an empty database."""
    backend = open_backend(url, BackendSettings(), {})
    try:
        await backend.open()
        await backend.migrate()
    finally:
        await backend.close()
