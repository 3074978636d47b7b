"""What a run can be told, on the command line and as values for the processes it starts."""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """One run."""

    backend: str = "sqlite"
    """`sqlite`, `postgres` (an embedded server is started), or the URL of an empty database."""
    minutes: float = 2.0
    """How long the nemesis is at work; coming to rest and checking take longer."""
    seed: int = 0
    """Which faults strike, and what is enqueued, follows from it; how the processes interleave does not."""
    workers: int = 3
    """Worker processes."""
    concurrency: int = 8
    """Jobs that a worker runs at once."""
    rate: float = 30.0
    """Jobs enqueued a second, about."""
    lease: float = 5.0
    """The engine's lease, seconds."""
    pace: float = 1.5
    """Seconds between faults while the nemesis is at work, on average."""
    faults: tuple[str, ...] = ()
    """Names of faults: these strike, once each and in this order, instead of random ones."""
    rest: float = 240.0
    """Seconds that everything may take to come to rest once the faults have stopped."""
    keep: str | None = None
    """A folder for the evidence; None: a temporary one, which is deleted when nothing was wrong."""


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="qengine torture", description="Break everything around the queue and check that it kept its promises."
    )
    parser.add_argument("--backend", default=default.backend, help="sqlite, postgres, or the URL of an empty database")
    parser.add_argument("--minutes", type=float, default=default.minutes, help="how long faults strike (default: 2)")
    parser.add_argument("--seed", type=int, default=None, help="repeat the faults of an earlier run (default: a fresh one)")
    parser.add_argument("--workers", type=int, default=default.workers, help="worker processes (default: 3)")
    parser.add_argument("--concurrency", type=int, default=default.concurrency, help="jobs at once in each (default: 8)")
    parser.add_argument("--rate", type=float, default=default.rate, help="jobs enqueued a second (default: 30)")
    parser.add_argument("--lease", type=float, default=default.lease, help="the lease, in seconds (default: 5)")
    parser.add_argument("--pace", type=float, default=default.pace, help="seconds between faults (default: 1.5)")
    parser.add_argument("--faults", default="", help="only these, in this order, separated by commas")
    parser.add_argument("--rest", type=float, default=default.rest, help="seconds to come to rest in (default: 240)")
    parser.add_argument("--keep", default=None, help="a new or empty folder for ledgers, logs and the database")
    given = parser.parse_args(arguments)
    if given.workers < 1 or given.minutes <= 0 or given.lease < 1 or given.rate <= 0 or given.pace <= 0:
        parser.error("workers, minutes, rate and pace must be more than 0, and the lease at least 1")
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    faults = tuple(name.strip() for name in given.faults.split(",") if name.strip())
    return Options(**{**vars(given), "seed": seed, "faults": faults})


@dataclass(frozen=True, slots=True)
class Config:
    """What a process of the cluster is told, as a JSON file."""

    url: str
    folder: str
    """Where ledgers go."""
    lease: float
    concurrency: int
    rate: float
    seed: int
    parent: int
    """The process without which it ends."""
    clock: str | None = None
    """The file that moves the engine's clock; None: the backend's own clock."""
    backend_options: dict[str, object] = dataclasses.field(default_factory=dict)
    max_crashes: int = 5
    ageing: float = 0.5
    grace: float = 3.0

    def save(self, path: Path) -> None:
        """Write it to a file."""
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read it from a file."""
        return cls(**json.loads(path.read_text()))
