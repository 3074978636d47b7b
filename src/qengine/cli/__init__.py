"""The `qengine` command. It uses the engine's public API only."""

from qengine.cli.app import main

__all__ = ["main"]
