"""The floor: enqueue, claim and settle beside the raw drivers, in seconds; fails where one has become much slower.

    python -m benchmarks.floor [--on sqlite] [--rounds 200]        or: ./dev floor

Both sides do the same work on qengine's tables, each in a database of its own, a batch of ours before a batch of theirs.
What is judged is a ratio, as machines differ, and of the fast tenth of the batches, as what else runs on a machine makes
the others slow. The server does not wait for the disk: it would hide the rest.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Annotated, Any

import anyio
import msgspec
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import handlers
from benchmarks.catalogue import POSTGRES, SQLITE
from benchmarks.ceilings.raw_postgres import RawPostgres
from benchmarks.ceilings.raw_sqlite import RawSQLite
from benchmarks.orders import Order
from benchmarks.places import PostgresPlace, SQLitePlace
from qengine.backends import open_backend
from qengine.backends.protocol import Demand, QueueBackend, Settlement
from qengine.job import NewJob, Status

FLOORS = {
    SQLITE: {("enqueue", 100): 0.35, ("claim", 100): 0.3, ("settle", 100): 0.35, ("enqueue", 1): 0.15},
    POSTGRES: {("enqueue", 100): 0.4, ("claim", 100): 0.4, ("settle", 100): 0.45, ("enqueue", 1): 0.3},
}
"""For each verb, with so many jobs: our speed ÷ the driver's, at least. A little more than half of what was measured: room
for other machines, versions and neighbours."""

BACKLOG = 10_000
"""Jobs that wait meanwhile: a claim that walks along the line, or sorts it, shows."""
WARM_UP = 10
"""Rounds that do not count: by then every statement is prepared and planned."""


@dataclass(frozen=True)
class Speed:
    """How long a verb takes, and how long it may."""

    verb: str
    count: int
    ours: float
    """Seconds."""
    theirs: float
    floor: float

    @property
    def ratio(self) -> float:
        """Our speed ÷ theirs."""
        return self.theirs / self.ours

    @property
    def holds(self) -> bool:
        """Whether it is fast enough."""
        return self.ratio >= self.floor


class Ours:
    """The verbs of the backend."""

    def __init__(self, backend: QueueBackend, type_name: str) -> None:
        self._backend = backend
        self._type = type_name
        self._claims: list[Any] = []

    async def enqueue(self, count: int) -> None:
        await self._backend.enqueue([NewJob(self._type, msgspec.json.encode(handlers.payload()).decode()) for _ in range(count)])

    async def claim(self, count: int) -> None:
        self._claims = await self._backend.claim(Demand("floor", {self._type: count}, count, 60.0))
        assert len(self._claims) == count

    async def settle(self, count: int) -> None:
        done = [Settlement(claim.id, claim.token, Status.COMPLETED) for claim in self._claims]
        assert await self._backend.settle(done, "floor") == []


class Theirs:
    """The same by the driver and nothing else."""

    def __init__(self, raw: RawPostgres | RawSQLite) -> None:
        self._raw = raw
        self._claims: list[Any] = []

    async def enqueue(self, count: int) -> None:
        if count == 1:
            await self._raw.enqueue(handlers.payload())
        else:
            await self._raw.insert([handlers.payload() for _ in range(count)], self._raw.type)

    async def claim(self, count: int) -> None:
        self._claims = await self._raw.claim(count)
        assert len(self._claims) == count

    async def settle(self, count: int) -> None:
        await self._raw.settle(self._claims)


async def measure(place: str, our_url: str, their_url: str, rounds: int) -> list[Speed]:
    """Every verb that has a floor, on two empty databases."""
    raw = (RawSQLite if place == SQLITE else RawPostgres)(Order(their_url, "floor"))
    backend = open_backend(our_url)
    await raw.setup()
    async with AsyncExitStack() as stack:
        await raw.open()
        stack.push_async_callback(raw.close)
        stack.push_async_callback(backend.close)
        await backend.open()
        await backend.migrate()
        sides: tuple[Ours | Theirs, ...] = Ours(backend, raw.type), Theirs(raw)
        for side in sides:
            await side.enqueue(BACKLOG)
        taken: dict[tuple[str, int], tuple[list[float], list[float]]] = {act: ([], []) for act in FLOORS[place]}
        for _ in range(WARM_UP + rounds):
            for (verb, count), times in taken.items():
                for side, seconds in zip(sides, times, strict=True):
                    began = time.perf_counter()
                    await getattr(side, verb)(count)
                    seconds.append(time.perf_counter() - began)
    return [Speed(*act, _fast(ours), _fast(theirs), FLOORS[place][act]) for act, (ours, theirs) in taken.items()]


def _fast(seconds: Sequence[float]) -> float:
    """What the fastest tenth stays below."""
    counted = sorted(seconds[WARM_UP:])
    return counted[len(counted) // 10]


def floor(
    place: Annotated[list[str] | None, typer.Option("--on", help="sqlite or postgres; both by default.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Batches of each; 200 take five seconds.")] = 200,
) -> None:
    """Enqueue, claim and settle beside the raw drivers; 1 is returned when one is slower than it may be."""
    table = Table("", "verb", "jobs", "qengine, µs", "raw, µs", "ratio", "floor", "")
    slow = False
    for name in place or FLOORS:
        with ExitStack() as stack:
            where = SQLitePlace() if name == SQLITE else stack.enter_context(PostgresPlace(durable=False))
            ours, theirs = (stack.enter_context(where.database()) for _ in range(2))
            for speed in anyio.run(measure, name, ours, theirs, rounds):
                slow = slow or not speed.holds
                figures = f"{speed.ours * 1e6:,.0f}", f"{speed.theirs * 1e6:,.0f}", f"{speed.ratio:.2f}", f"{speed.floor:.2f}"
                table.add_row(name, speed.verb, str(speed.count), *figures, "" if speed.holds else "[red]too slow[/]")
    Console().print(table)
    raise typer.Exit(int(slow))


if __name__ == "__main__":
    typer.run(floor)
