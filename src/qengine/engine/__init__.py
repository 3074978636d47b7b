"""The engine: what an application holds. Split by concern: desk (look and act), enqueue, waiting, engine (wiring, life)."""

from qengine.engine.engine import Engine

__all__ = ["Engine"]
