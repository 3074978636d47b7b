"""What keeps the line moving: due jobs, lost leases, retention; schedules and workers."""

from __future__ import annotations

from qengine.backends.sqlite.core import Core


class Upkeep(Core):
    """The verbs of upkeep, schedules and workers."""
