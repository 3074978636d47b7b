"""Which systems are measured, on which databases, and what each of them leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

POSTGRES, SQLITE = "postgres", "sqlite"


@dataclass(frozen=True)
class Entry:
    """One system on one database."""

    name: str
    place: str
    module: str
    rates: Mapping[str, float]
    """Roughly what it reaches, in jobs a second, by measure: so many jobs are run that a sample takes as long as wanted."""
    requirements: str = "qengine"
    """The file in `requirements/` that its environment is made from."""
    kind: str = "peer"
    """`ours`, `ceiling` or `peer`."""
    leaves_out: str = ""
    """The work that qengine does and this one does not."""
    measures: frozenset[str] = field(default=frozenset())
    """The measures that it takes part in; none: all."""
    node: bool = False
    """Whether it needs Node.js."""


_ENQUEUE = frozenset({"enqueue-one", "enqueue-callers", "enqueue-bulk"})
_RAW = "no engine: statements in a loop"
_BARE = "no features: only slots, a buffer, deadlines and batches"

OURS = (
    Entry(
        "qengine",
        POSTGRES,
        "benchmarks.peers.qengine",
        {"enqueue-one": 1500, "enqueue-callers": 15_000, "enqueue-bulk": 45_000, "drain": 30_000},
        kind="ours",
    ),
    Entry(
        "qengine",
        SQLITE,
        "benchmarks.peers.qengine",
        {"enqueue-one": 10_000, "enqueue-callers": 40_000, "enqueue-bulk": 90_000, "drain": 30_000},
        kind="ours",
    ),
)

CEILINGS = (
    Entry(
        "raw asyncpg",
        POSTGRES,
        "benchmarks.ceilings.raw_postgres",
        {"enqueue-one": 3000, "enqueue-callers": 60_000, "enqueue-bulk": 150_000, "drain": 50_000},
        kind="ceiling",
        leaves_out=_RAW,
        measures=_ENQUEUE | {"drain-100", "pickup", "pickup-other"},
    ),
    Entry(
        "bare engine",
        POSTGRES,
        "benchmarks.ceilings.bare",
        {"drain": 60_000},
        kind="ceiling",
        leaves_out=_BARE,
        measures=frozenset({"drain-100", "drain-10"}),
    ),
    Entry(
        "raw sqlite3",
        SQLITE,
        "benchmarks.ceilings.raw_sqlite",
        {"enqueue-one": 30_000, "enqueue-callers": 100_000, "enqueue-bulk": 300_000, "drain": 110_000},
        kind="ceiling",
        leaves_out=_RAW,
        measures=_ENQUEUE | {"drain-100", "pickup"},
    ),
    Entry(
        "bare engine",
        SQLITE,
        "benchmarks.ceilings.bare",
        {"drain": 100_000},
        kind="ceiling",
        leaves_out=_BARE,
        measures=frozenset({"drain-100", "drain-10"}),
    ),
)

PEERS: tuple[Entry, ...] = ()


def entries(place: str, *, peers: bool) -> list[Entry]:
    """Those on one kind of database, ours first."""
    return [entry for entry in (*OURS, *CEILINGS, *(PEERS if peers else ())) if entry.place == place]
