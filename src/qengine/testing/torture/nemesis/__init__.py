"""The nemesis: it picks faults at random from a seed, lets them strike, and undoes what they did when it stops.

`FAULTS` is every fault there is, by name; each is one small class.
"""

from __future__ import annotations

from qengine.testing.torture.nemesis import postgres, processes, sqlite
from qengine.testing.torture.nemesis.fault import Fault, World
from qengine.testing.torture.nemesis.storm import Nemesis

FAULTS: dict[str, type[Fault]] = {fault.name: fault for fault in (*processes.FAULTS, *sqlite.FAULTS, *postgres.FAULTS)}

__all__ = ["FAULTS", "Fault", "Nemesis", "World"]
