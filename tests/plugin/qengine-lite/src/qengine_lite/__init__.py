"""A backend as a third party would distribute it: `lite://` is `sqlite://` under another name."""

from collections.abc import Mapping
from typing import Any, Self

from qengine.backends.protocol import BackendSettings
from qengine.backends.sqlite import SQLiteBackend


class LiteBackend(SQLiteBackend):
    """Jobs in an SQLite file: `lite:///path/to/file.db`."""

    @classmethod
    def from_url(cls, url: str, settings: BackendSettings, options: Mapping[str, Any]) -> Self:
        """See `QueueBackend.from_url`."""
        _, _, rest = url.partition("://")
        return super().from_url(f"sqlite://{rest}", settings, options)


class OutdatedBackend(LiteBackend):
    """The same, as if written for a contract that no release of qengine speaks any more."""

    contract = 0
