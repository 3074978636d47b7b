"""Growth: how fast claim, settle, enqueue, promote and stats are with so many other jobs in the table.

`kind` says what the others are: one of `fill.KINDS`, with a claim of two types. With `types` it says instead that the claim is
of `types` types, a hundred jobs of each waiting; with `workers` that so many connections claim and settle at the same time.
Of qengine only: it works on the backend's verbs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from statistics import median
from typing import Any

from benchmarks.subject import Subject, announce_ready
from benchmarks.workloads.fill import fill
from qengine import Engine
from qengine.backends.protocol import Claim, Demand, QueueBackend, Settlement
from qengine.job import NewJob, Status

BATCH = 100
REPEATS = 25
LEASE = 60.0


async def run(subject: Subject) -> dict[str, Any]:
    """Fill the table, then time what the order says."""
    return await {"types": _types, "workers": _workers}.get(subject.order.kind, _others)(subject)


async def _others(subject: Subject) -> dict[str, Any]:
    order = subject.order
    await fill(order.url, order.kind, order.jobs)
    announce_ready()
    times = await _verbs(_backend(subject), ["job_000", "job_001"], top_up="job_001")
    began = time.perf_counter()
    await _backend(subject).stats()
    return times | {"stats": time.perf_counter() - began}


async def _types(subject: Subject) -> dict[str, Any]:
    order = subject.order
    await fill(order.url, "waiting", BATCH * order.types, order.types)
    announce_ready()
    return await _verbs(_backend(subject), order.type_names, top_up=order.type_names[0])


async def _workers(subject: Subject) -> dict[str, Any]:
    """Seconds in which so many workers, each with connections of its own, claim and settle a batch, all together."""
    order = subject.order
    await fill(order.url, "waiting", order.jobs)
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(Engine(order.url)) for _ in range(order.concurrency)]
        announce_ready()
        began = time.perf_counter()
        await asyncio.gather(*(_empty(engine.backend, f"bench-{n}") for n, engine in enumerate(engines)))
        return {"claim and settle": (time.perf_counter() - began) / order.jobs * BATCH}


async def _empty(backend: QueueBackend, worker: str) -> None:
    while claims := await backend.claim(Demand(worker, {"job_000": BATCH}, BATCH, LEASE)):
        await backend.settle(completed(claims), worker)


async def _verbs(backend: QueueBackend, types: list[str], *, top_up: str) -> dict[str, Any]:
    times: dict[str, list[float]] = {name: [] for name in ("enqueue", "claim", "settle", "promote")}
    demand = Demand("bench", dict.fromkeys(types, BATCH), BATCH, LEASE)
    new = NewJob(type=top_up, payload="{}")
    for _ in range(REPEATS):
        await backend.enqueue([new] * BATCH)
        with _timed(times["enqueue"]):
            await backend.enqueue([new])
        with _timed(times["claim"]):
            claims = await backend.claim(demand)
        with _timed(times["settle"]):
            await backend.settle(completed(claims), "bench")
        with _timed(times["promote"]):
            await backend.promote_due(BATCH)
    return {name: median(values) for name, values in times.items()}


def completed(claims: list[Claim]) -> list[Settlement]:
    """That all of them are done."""
    return [Settlement(claim.id, claim.token, Status.COMPLETED) for claim in claims]


def _backend(subject: Subject) -> QueueBackend:
    backend: QueueBackend = subject.engine.backend  # type: ignore[attr-defined]
    return backend


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    """Adds the seconds of a block to a list."""
    began = time.perf_counter()
    yield
    times.append(time.perf_counter() - began)
