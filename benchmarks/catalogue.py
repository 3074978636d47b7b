"""Which systems are measured, on which databases, and what each of them leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
_DRAINS = frozenset({"drain-100", "drain-10"})
_RESTS = frozenset({"pickup", "pickup-other", "pickup-half", "idle"})
_ONE_TYPE = _ENQUEUE | _DRAINS | _RESTS | {"drain-nap", "drain-2", "drain-4"}
_NO_NAPS = _ENQUEUE | {"drain-100"} | _RESTS
_RAW = "no engine: statements in a loop"
_BARE = "no features: only slots, a buffer, deadlines and batches"

OURS = (
    Entry(
        "qengine",
        POSTGRES,
        "benchmarks.peers.qengine",
        {"enqueue-one": 3000, "enqueue-callers": 45_000, "enqueue-bulk": 100_000, "drain": 55_000},
        kind="ours",
    ),
    Entry(
        "qengine",
        SQLITE,
        "benchmarks.peers.qengine",
        {"enqueue-one": 9000, "enqueue-callers": 80_000, "enqueue-bulk": 120_000, "drain": 65_000},
        kind="ours",
    ),
)

CEILINGS = (
    Entry(
        "raw asyncpg",
        POSTGRES,
        "benchmarks.ceilings.raw_postgres",
        {"enqueue-one": 3500, "enqueue-callers": 75_000, "enqueue-bulk": 180_000, "drain": 50_000},
        kind="ceiling",
        leaves_out=_RAW,
        measures=_ENQUEUE
        | {"drain-100", "pickup", "pickup-other", "raw-batch-1", "raw-batch-10", "raw-batch-100", "raw-batch-500"},
    ),
    Entry(
        "bare engine",
        POSTGRES,
        "benchmarks.ceilings.bare",
        {"drain": 95_000},
        kind="ceiling",
        leaves_out=_BARE,
        measures=frozenset({"drain-100", "drain-10"}),
    ),
    Entry(
        "bare NOTIFY",
        POSTGRES,
        "benchmarks.ceilings.bare_notify",
        {"enqueue-one": 3000},
        kind="ceiling",
        leaves_out="no table and no claim: one connection wakes another",
        measures=frozenset({"pickup", "pickup-other"}),
    ),
    Entry(
        "raw sqlite3",
        SQLITE,
        "benchmarks.ceilings.raw_sqlite",
        {"enqueue-one": 30_000, "enqueue-callers": 170_000, "enqueue-bulk": 330_000, "drain": 130_000},
        kind="ceiling",
        leaves_out=_RAW,
        measures=_ENQUEUE | {"drain-100", "pickup", "raw-batch-1", "raw-batch-10", "raw-batch-100", "raw-batch-500"},
    ),
    Entry(
        "bare engine",
        SQLITE,
        "benchmarks.ceilings.bare",
        {"drain": 125_000},
        kind="ceiling",
        leaves_out=_BARE,
        measures=frozenset({"drain-100", "drain-10"}),
    ),
    *(
        Entry(
            "event loop",
            place,
            "benchmarks.ceilings.event_loop",
            {"drain": 500_000},
            kind="ceiling",
            leaves_out="no database: a list in memory, and no timeouts",
            measures=frozenset({"drain-100", "drain-10", "drain-nap"}),
        )
        for place in (POSTGRES, SQLITE)
    ),
)


def _peer(
    name: str, place: str, module: str, leaves_out: str, one: float, callers: float, bulk: float, drain: float, **more: Any
) -> Entry:
    rates = {"enqueue-one": one, "enqueue-callers": callers, "enqueue-bulk": bulk, "drain": drain}
    return Entry(name, place, f"benchmarks.peers.{module}", rates, requirements=name, leaves_out=leaves_out, **more)


PEERS = (
    _peer(
        "pgqueuer",
        POSTGRES,
        "pgqueuer",
        "deletes rows that are done; no result; settling checks no owner",
        *(1660, 2160, 50_000, 13_000),
    ),
    _peer("oban", POSTGRES, "oban", "", *(1190, 2930, 4450, 3500)),
    _peer(
        "chancy",
        POSTGRES,
        "chancy",
        "settles once a second: a crash loses what is in memory",
        *(1180, 2340, 4370, 3000),
        measures=_ONE_TYPE,
    ),
    _peer("saq", POSTGRES, "saq", "settling has no fence; rows are kept for ten minutes", *(1200, 2250, 2280, 830)),
    _peer("procrastinate", POSTGRES, "procrastinate", "settling has no fence", *(910, 1960, 12_900, 740)),
    _peer("absurd", POSTGRES, "absurd", "polls every 50 ms: nothing wakes it", *(1630, 4050, 4270, 1100)),
    _peer("dbos", POSTGRES, "dbos", "polls every 50 ms: nothing wakes it; no limit of concurrency", *(880, 1810, 1720, 760)),
    Entry(
        "graphile-worker",
        POSTGRES,
        "benchmarks/peers/graphile_worker/subject.mjs",
        {"enqueue-one": 1500, "enqueue-callers": 4000, "enqueue-bulk": 30_000, "drain": 30_000},
        requirements="graphile_worker",
        leaves_out="Node.js; deletes rows that are done; no result; no fence",
        node=True,
    ),
    _peer(
        "huey",
        SQLITE,
        "huey",
        "deletes a row before its handler runs: a crash loses the job; no result; threads (but waits for every commit)",
        *(3950, 4000, 4800, 2800),
        measures=_NO_NAPS,
    ),
    _peer(
        "litequeue",
        SQLITE,
        "litequeue",
        "no worker: a loop; old claims come back on request only",
        *(16_600, 10_000, 49_000, 6400),
        measures=_NO_NAPS,
    ),
    _peer(
        "persist-queue",
        SQLITE,
        "persist_queue",
        "no worker: a loop; no owner and no lease (but waits for every commit)",
        *(5000, 4000, 5500, 1900),
        measures=_NO_NAPS,
    ),
    _peer(
        "honker",
        SQLITE,
        "honker",
        "deletes rows that are done; no result; its worker takes one job at a time, so a loop of batches",
        *(5000, 5000, 15_000, 10_000),
    ),
)


def entries(place: str, *, peers: bool) -> list[Entry]:
    """Those on one kind of database, ours first."""
    return [entry for entry in (*OURS, *CEILINGS, *(PEERS if peers else ())) if entry.place == place]
