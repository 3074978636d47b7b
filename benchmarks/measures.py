"""The measures: what each orders, and what it takes from the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.catalogue import Entry
from benchmarks.orders import Order

Results = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Measure:
    """Something that is measured of several systems."""

    name: str
    title: str
    order: Order
    """All but the database and the number of jobs."""
    rate: str = ""
    """The key of `Entry.rates`; empty: the order says how many jobs."""
    processes: int = 1
    full_only: bool = False
    """Left out by `--quick`."""
    ours_only: bool = False
    """Looks inside qengine."""
    once: bool = False
    """One sample holds enough single observations; it is not repeated by `--quick`."""
    figures: Callable[[Results], dict[str, float]] = field(default=lambda results: {})
    """The figures of one sample, by name."""

    def orders(self, entry: Entry, url: str, server: int | None, seconds: float) -> list[Order]:
        """One for each process."""
        order = replace(self.order, url=url, server=server)
        if self.rate:
            order = replace(order, jobs=max(200, int(entry.rates.get(self.rate, 1000) * seconds)))
        if self.order.workload == "pickup" and self.processes == 2:
            return [replace(order, kind="worker"), replace(order, kind="sender", load=False)]
        return [order, *[replace(order, load=False)] * (self.processes - 1)]


def rate_figures(results: Results) -> dict[str, float]:
    """Jobs a second, and CPU seconds a thousand jobs."""
    jobs = results[0]["jobs"]
    seconds = max(result["ended"] for result in results) - min(result["began"] for result in results)
    found = {"rate": jobs / seconds, "worker_cpu": sum(result["worker_cpu"] for result in results) / jobs * 1000}
    if results[0]["server_cpu"] is not None:
        found["server_cpu"] = max(result["server_cpu"] for result in results) / jobs * 1000
    return found


def drain_figures(results: Results) -> dict[str, float]:
    """The same, after a check that each job ran once."""
    ran = sum(result["ran"] for result in results)
    if ran != results[0]["jobs"]:
        raise ValueError(f"{ran} runs of {results[0]['jobs']} jobs")
    return rate_figures(results) | {"memory_mb": max(result["memory_mb"] for result in results)}


def pickup_figures(results: Results) -> dict[str, float]:
    """Milliseconds."""
    latencies = sorted(latency * 1000 for latency in results[0]["latencies"])
    return {name: latencies[min(int(len(latencies) * share), len(latencies) - 1)] for name, share in PERCENTILES.items()}


def growth_figures(results: Results) -> dict[str, float]:
    """Calls a second of each verb; a claim and a settle are of a hundred jobs."""
    return {name: 1 / results[0][name] for name in GROWING}


GROWING = ("enqueue", "claim", "settle", "promote", "stats")
GROWTH_KINDS = ("waiting", "later", "finished", "processing", "unhandled", "suspects")
GROWTH_SIZES = (1_000, 10_000, 100_000, 1_000_000)
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def idle_figures(results: Results) -> dict[str, float]:
    """Percent of one core."""
    [result] = results
    share = 100 / result["seconds"]
    worker, server = result["worker_cpu"] * share, (result["server_cpu"] or 0.0) * share
    return {"idle": worker + server, "idle_worker": worker, "idle_server": server}


def _enqueue(kind: str, title: str) -> Measure:
    order = Order("", "enqueue", kind=kind)
    return Measure(f"enqueue-{kind}", title, order, rate=f"enqueue-{kind}", figures=rate_figures)


def _drain(name: str, title: str, *, processes: int = 1, full_only: bool = True, **order: Any) -> Measure:
    return Measure(
        name,
        title,
        Order("", "drain", **order),
        rate="drain",
        processes=processes,
        full_only=full_only,
        figures=drain_figures,
    )


def _growth(kind: str, size: int) -> Measure:
    order = Order("", "growth", kind=kind, jobs=size, types=2)
    title = f"with {size:,} jobs {kind}"
    return Measure(f"growth-{kind}-{size}", title, order, full_only=True, ours_only=True, figures=growth_figures)


MEASURES = (
    _enqueue("one", "enqueue, one by one"),
    _enqueue("callers", "enqueue, 50 concurrent callers"),
    _enqueue("bulk", "enqueue, in bulk"),
    _drain("drain-100", "drain, concurrency 100", full_only=False),
    _drain("drain-10", "drain, concurrency 10", concurrency=10, full_only=False),
    Measure(
        "pickup",
        "pick-up, idle, one process",
        Order("", "pickup", kind="both", handler="stamp", jobs=100),
        once=True,
        figures=pickup_figures,
    ),
    Measure(
        "pickup-other",
        "pick-up, idle, from another process",
        Order("", "pickup", handler="stamp", jobs=100),
        processes=2,
        once=True,
        figures=pickup_figures,
    ),
    _drain("drain-2", "drain, two processes", processes=2),
    _drain("drain-4", "drain, four processes", processes=4),
    _drain("drain-types-10", "drain, 10 types", types=10),
    _drain("drain-types-100", "drain, 100 types", types=100),
    Measure(
        "drain-nap",
        "drain, handlers of 10 ms, concurrency 100",
        Order("", "drain", handler="nap", jobs=5000),
        full_only=True,
        figures=drain_figures,
    ),
    Measure("idle", "idle worker", Order("", "idle", seconds=10, concurrency=10), once=True, figures=idle_figures),
    *(_growth(kind, size) for kind in GROWTH_KINDS for size in GROWTH_SIZES),
)
