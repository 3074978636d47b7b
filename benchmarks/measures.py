"""The measures: what each orders, who takes part in it, and what it takes from the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.catalogue import Entry
from benchmarks.handlers import NAP
from benchmarks.orders import Order
from benchmarks.processes import PATIENCE

Results = Sequence[Mapping[str, Any]]
EVERYBODY = frozenset({"ours", "ceiling", "peer"})
OURS = frozenset({"ours"})
CEILINGS = frozenset({"ceiling"})
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
GROWTH = {
    **dict.fromkeys(
        ("waiting", "later", "finished", "processing", "unhandled", "suspects"), (1_000, 100_000, 1_000_000, 10_000_000)
    ),
    "types": (1, 10, 100, 500),
    "workers": (1, 2, 4, 8, 16),
}
"""What grows, and in which steps."""
OTHERS = 100_000
"""So many other jobs in the table take so long to make that growth is measured in a single round."""


@dataclass(frozen=True)
class Measure:
    """Something that is measured of several systems."""

    name: str
    title: str
    order: Order
    """All but the database and the number of jobs."""
    group: str
    """The heading under which it is shown."""
    figures: Callable[[Results], dict[str, float]]
    """The figures of one sample, by name."""
    takers: frozenset[str] = EVERYBODY
    """The kinds of systems that take part."""
    rate: str = ""
    """The key of `Entry.rates` from which follows how many jobs there are; empty: the order says how many."""
    at_most: float = math.inf
    """So many jobs for each second of a sample are enough, however fast a system is."""
    processes: int = 1
    full_only: bool = False
    """Left out by `--quick`."""
    rounds: int | None = None
    """At most so many samples: one takes long, or holds many single observations."""
    peer_rounds: int | None = None
    """At most so many samples of peers: no goal compares with them."""
    patience: float = PATIENCE
    """Seconds that a sample may take."""

    def orders(self, entry: Entry, url: str, server: int | None, seconds: float) -> list[Order]:
        """One for each process."""
        order = replace(self.order, url=url, server=server)
        if order.workload == "pickup":
            order = _at_half_load(order, entry, seconds) if self.rate else order
            if self.processes == 1:
                return [replace(order, kind="both")]
            return [replace(order, kind="worker"), replace(order, kind="sender", load=False)]
        if self.rate:
            order = replace(order, jobs=max(200, int(min(entry.rates.get(self.rate, 1000), self.at_most) * seconds)))
        return [order, *[replace(order, load=False)] * (self.processes - 1)]


def _at_half_load(order: Order, entry: Entry, seconds: float) -> Order:
    """Fed one by one, at half of what the system can enqueue so, or drain."""
    load = min(entry.rates.get("enqueue-one", 1000), entry.rates.get("drain", 1000)) / 2
    return replace(order, gap=1 / load, jobs=max(200, int(load * seconds)))


def rate_figures(results: Results) -> dict[str, float]:
    """Jobs a second; CPU seconds a thousand jobs; bytes that the processes wrote a job."""
    jobs = results[0]["jobs"]
    seconds = max(result["ended"] for result in results) - min(result["began"] for result in results)
    worker = sum(result["worker_cpu"] for result in results) / jobs * 1000
    found = {"rate": jobs / seconds, "worker_cpu": worker, "cpu": worker}
    if results[0]["server_cpu"] is not None:
        found["server_cpu"] = max(result["server_cpu"] for result in results) / jobs * 1000
        found["cpu"] += found["server_cpu"]
    return found | {"written": sum(result.get("written", 0) for result in results) / jobs}


def drain_figures(results: Results) -> dict[str, float]:
    """The same, after a check that each job ran once."""
    ran = sum(result["ran"] for result in results)
    if ran != results[0]["jobs"]:
        raise ValueError(f"{ran} runs of {results[0]['jobs']} jobs")
    return rate_figures(results) | {"memory": max(result["memory_mb"] for result in results)}


def pickup_figures(results: Results) -> dict[str, float]:
    """Milliseconds, by nearest rank: the smallest latency within which so many of the jobs were started."""
    latencies = sorted(latency * 1000 for latency in results[0]["latencies"])
    found = {name: latencies[math.ceil(len(latencies) * share) - 1] for name, share in PERCENTILES.items()}
    fed = [result["fed"] for result in results if "fed" in result]
    return found | ({"fed": fed[0]} if fed else {})


def idle_figures(results: Results) -> dict[str, float]:
    """Percent of one core."""
    [result] = results
    share = 100 / result["seconds"]
    worker, server = result["worker_cpu"] * share, (result["server_cpu"] or 0.0) * share
    return {"idle": worker + server, "idle_worker": worker, "idle_server": server}


def growth_figures(results: Results) -> dict[str, float]:
    """Calls a second of each verb."""
    [result] = results
    return {name: 1 / result[name] for name in VERBS if name in result}


VERBS = ("enqueue", "claim", "settle", "promote", "stats", "claim and settle")


def memory_figures(results: Results) -> dict[str, float]:
    """MB of a worker after the first and the last tenth."""
    found = results[0]["resident"]
    return {"memory": found[-1], "memory_first": found[0], "memory_growth": found[-1] - found[0]}


def pinned_figures(results: Results) -> dict[str, float]:
    """Jobs claimed a second, and MB."""
    names = ("before", "soon", "late", "table_mb", "index_mb", "file_mb", "log_mb")
    return {name: results[0][name] for name in names if name in results[0]}


def _enqueue(kind: str, title: str) -> Measure:
    return Measure(f"enqueue-{kind}", title, Order("", "enqueue", kind=kind), "Enqueue", rate_figures, rate=f"enqueue-{kind}")


def _drain(name: str, title: str, *, processes: int = 1, core: bool = False, **order: Any) -> Measure:
    return Measure(
        name,
        title,
        Order("", "drain", **order),
        "Drain",
        drain_figures,
        rate="drain",
        processes=processes,
        full_only=not core,
        peer_rounds=None if name == "drain-100" else 1,
    )


def _pickup(name: str, title: str, **more: Any) -> Measure:
    return Measure(name, title, Order("", "pickup", handler="stamp", jobs=100), "Pick-up", pickup_figures, **more)


def _raw_batch(rows: int) -> Measure:
    order = Order("", "drain", batch=rows)
    title = f"claim and complete, {rows} in a statement"
    group, enough = "The database alone", 3000.0 * rows
    return Measure(
        f"raw-batch-{rows}", title, order, group, drain_figures, CEILINGS, rate="drain", at_most=enough, full_only=True
    )


def _growth(kind: str, size: int) -> Measure:
    if kind == "types":
        order, title = Order("", "growth", kind=kind, jobs=0, types=size), f"claims of {size} types"
    elif kind == "workers":
        order, title = Order("", "growth", kind=kind, jobs=20_000, concurrency=size), f"{size} workers"
    else:
        order, title = Order("", "growth", kind=kind, jobs=size, types=2), f"with {size:,} jobs {kind}"
    return Measure(
        f"growth-{kind}-{size}",
        title,
        order,
        "Growth",
        growth_figures,
        OURS,
        full_only=True,
        rounds=3 if size <= OTHERS else 1,
        patience=PATIENCE * max(1, size / 300_000),
    )


def _million(name: str, group: str, figures: Callable[[Results], dict[str, float]]) -> Measure:
    order = Order("", name, jobs=1_000_000)
    return Measure(name, "a million jobs", order, group, figures, OURS, full_only=True, rounds=1, patience=900)


MEASURES = (
    _enqueue("one", "one by one"),
    _enqueue("callers", "50 concurrent callers"),
    _enqueue("bulk", "in bulk"),
    _drain("drain-100", "concurrency 100", core=True),
    _drain("drain-10", "concurrency 10", concurrency=10, core=True),
    _drain("drain-2", "two processes", processes=2),
    _drain("drain-2-10", "two processes, concurrency 10", processes=2, concurrency=10),
    _drain("drain-4", "four processes", processes=4),
    _drain("drain-4-10", "four processes, concurrency 10", processes=4, concurrency=10),
    _drain("drain-types-10", "10 types", types=10),
    _drain("drain-types-100", "100 types", types=100),
    # Three times the ideal rate: long enough that the start and the end do not count.
    replace(_drain("drain-nap", "handlers of 10 ms, concurrency 100", handler="nap"), at_most=3 * 100 / NAP),
    _pickup("pickup", "idle, one process", peer_rounds=2),
    _pickup("pickup-other", "idle, from another process", processes=2),
    _pickup("pickup-half", "at half load, from another process", processes=2, rate="enqueue-one", full_only=True),
    Measure("idle", "idle worker", Order("", "idle", seconds=10, concurrency=10), "Idle", idle_figures, rounds=3, peer_rounds=1),
    *(_raw_batch(rows) for rows in (1, 10, 100, 500)),
    *(_growth(kind, size) for kind, sizes in GROWTH.items() for size in sizes),
    _million("memory", "Memory", memory_figures),
    _million("pinned", "A pinned transaction", pinned_figures),
)
