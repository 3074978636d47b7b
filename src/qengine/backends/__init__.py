"""Finding a backend by the scheme of its URL. The built-in ones are found in the same way as plug-ins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from qengine.backends.protocol import CONTRACT_VERSION, BackendSettings, QueueBackend
from qengine.errors import ConfigurationError

GROUP = "qengine.backends"
"""The entry-point group. An entry's name is a URL scheme, its value a class that is a `QueueBackend`."""

_EXTRAS = {"postgres": "qengine[postgres]", "postgresql": "qengine[postgres]"}


def open_backend(url: str, settings: BackendSettings | None = None, options: Mapping[str, Any] | None = None) -> QueueBackend:
    """The backend for `url`, not opened yet.

    Raises ConfigurationError when the URL has no scheme, no installed backend serves it, or it speaks another contract.
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url) if isinstance(url, str) else None
    if match is None:
        raise ConfigurationError("the database URL has no scheme; write sqlite:///path/to/file.db or postgresql://user@host/db")
    scheme = match[1].lower()
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if scheme not in found:
        known = ", ".join(sorted(found)) or "none; is qengine installed?"
        raise ConfigurationError(f"no backend serves {scheme}:// URLs (installed: {known})")
    try:
        backend = found[scheme].load()
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get(scheme)
        remedy = f"; pip install '{extra}'" if extra else ""
        raise ConfigurationError(f"the backend for {scheme}:// needs the module {missing.name}{remedy}") from missing
    if getattr(backend, "contract", None) != CONTRACT_VERSION:
        spoken = getattr(backend, "contract", None)
        raise ConfigurationError(
            f"the backend for {scheme}:// speaks contract {spoken!r}, this qengine {CONTRACT_VERSION}; install a matching release"
        )
    opened: QueueBackend = backend.from_url(url, settings or BackendSettings(), options or {})
    return opened
