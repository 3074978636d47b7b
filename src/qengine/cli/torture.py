"""`qengine torture`: the torture test of `qengine.testing.torture`, which reads its own options."""

from __future__ import annotations

import importlib

import typer

from qengine.cli.errors import CommandError

PROGRAM = "qengine.testing.torture.__main__"
"""Loaded by name, when it is asked for: no other command waits for it, and the command line depends on no test kit."""


def torture(context: typer.Context) -> int:
    """Kill workers, cut connections, fill the disk, and check that no promise is broken. Exit code 1 if one is."""
    try:
        code: int = importlib.import_module(PROGRAM).main(context.args)
    except ModuleNotFoundError as missing:
        name = (missing.name or "").partition(".")[0]
        if name in ("", "qengine"):
            raise
        raise CommandError(f"the torture test needs the module {name}; pip install {name.replace('_', '-')}") from missing
    return code
