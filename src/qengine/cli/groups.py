"""Short names for groups of failures, so that one can be typed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from qengine import FailureGroup
from qengine.cli.errors import CommandError, ExitCode

ALL_GROUPS = 10_000
"""Groups that are looked through, at the most."""


def short_name(group: FailureGroup) -> str:
    """Eight hexadecimal digits that follow from the group's type and error, and so stay the same."""
    return hashlib.blake2b(f"{group.type}\0{group.error}".encode(), digest_size=4).hexdigest()


def find_group(groups: Sequence[FailureGroup], name: str) -> FailureGroup:
    """The group with this short name, or the beginning of one. Raises CommandError unless it is exactly one."""
    found = [group for group in groups if name and short_name(group).startswith(name.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        raise CommandError(f"{name} is the beginning of {len(found)} groups; give more of it")
    raise CommandError(f"there is no group {name}; `qengine dead` lists them", ExitCode.FAILED)
