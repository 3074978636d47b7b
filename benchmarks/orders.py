"""What a subject's process is told to do, as it crosses between processes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Order:
    """One measurement."""

    url: str
    """The database: `sqlite:///…` or `postgresql://…`, fresh for this measurement."""
    workload: str
    """A module of `benchmarks.workloads`."""
    jobs: int = 1000
    """How many jobs to enqueue or to drain."""
    kind: str = ""
    """What sort of it, where a workload has several."""
    concurrency: int = 100
    handler: str = "noop"
    """A function of `benchmarks.handlers`."""
    types: int = 1
    """Over how many job types the jobs are spread."""
    seconds: float = 0.0
    """How long, where the workload goes by time."""
    gap: float = 0.025
    """Seconds between two enqueues when pick-up is measured; each varies by half of it."""
    load: bool = True
    """Whether this process sets up the schema and loads the jobs to drain."""
    batch: int = 100
    """Rows in a statement, of the raw loops."""
    server: int | None = None
    """The process id of the PostgreSQL server, to read the CPU it used."""

    @property
    def type_names(self) -> list[str]:
        """The job types, in order."""
        return [f"job_{number:03}" for number in range(self.types)]

    def as_json(self) -> str:
        """For the command line of the process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Back again."""
        return cls(**json.loads(text))
