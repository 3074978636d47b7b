"""Asking before something is done to many jobs."""

from __future__ import annotations

import sys

from qengine.cli.errors import CommandError, ExitCode
from qengine.cli.text import one_line


def at_terminal() -> bool:
    """Whether somebody is there who can be asked and can read the answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def must_confirm(what: str, command: str) -> None:
    """Ask on the terminal whether `what` is to be done. Raises CommandError unless it is, and where nobody can be asked."""
    if not at_terminal():
        raise CommandError(f"{command} acts on every job that meets the filter; add --yes to say that this is meant")
    print(f"{one_line(what)}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was done", ExitCode.FAILED)
