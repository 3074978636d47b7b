"""Metrics for Prometheus; the extra `metrics` (`pip install 'qengine[metrics]'`).

    qengine.metrics.register(engine)      # beside your own, in prometheus_client's registry
    qengine worker app:engine --metrics 9464    # or in a worker process, with no code

Nothing is counted at a scrape: what workers of this process did is counted as they do it (`Engine.totals`), and what is
stored comes from the last count in the background (`Engine.counts`, `Engine.glance`). `docs/monitoring.md` has them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from itertools import accumulate

from qengine.engine import Engine
from qengine.engine.counts import SHARE, Counts, Glance
from qengine.errors import ConfigurationError
from qengine.job import Status
from qengine.worker.tally import Ended, Histogram, Tally, TypeTally

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.metrics_core import CounterMetricFamily as Counter
    from prometheus_client.metrics_core import GaugeMetricFamily as Gauge
    from prometheus_client.metrics_core import HistogramMetricFamily as Histograms
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector as BaseCollector
except ModuleNotFoundError as missing:
    if missing.name != "prometheus_client":
        raise
    raise ConfigurationError("metrics need prometheus-client: pip install 'qengine[metrics]'") from missing

STEADY: tuple[Ended, ...] = ("completed", "failed", "dead")
"""Outcomes that are told of every type though they never happened: a counter that begins at 1 does not seem to have grown."""


class Collector(BaseCollector):
    """What one engine, and the workers of it in this process, have to tell; for a prometheus-client registry.

    - `database` (True): whether it tells what is stored as well, which is the same from every process of a queue; False:
      only what workers of this process do.
    - `max_age` (10 s): how old what is stored may be before it is counted anew, in the background.

    A scrape may come in any thread and does not touch the database. The more workers there are, the more seldom each
    counts, so that all of them together cost the database a twentieth of a core at the most.
    """

    def __init__(self, engine: Engine, *, database: bool = True, max_age: float = 10.0) -> None:
        if not max_age >= 0:
            raise ConfigurationError(f"max_age={max_age!r}: give a number of seconds, 0 or more")
        self._engine = engine
        self._database = database
        self._max_age = max_age

    def describe(self) -> Iterable[Metric]:
        """The metrics without values; so that a registry notices when an engine is registered twice."""
        return [*_work(Tally(), (), 0), *(_stored(Counts(), Glance(), ()) if self._database else ())]

    def collect(self) -> Iterable[Metric]:
        """The metrics as they stand."""
        yield from _work(self._engine.totals(), self._engine.registry.names, self._engine.events_dropped)
        if self._database:
            try:
                stored = self.look()
            except ConfigurationError:
                return  # the engine is closed: nothing is known of what is stored
            yield from _stored(*stored, self._engine.registry.names)

    def look(self) -> tuple[Counts, Glance]:
        """What is known of what is stored. Begins to find out anew, when it is time to."""
        glance = self._engine.glance(self._max_age)
        known = self._engine.counts(max_age=math.inf)
        return self._engine.counts(max(self._max_age, SHARE * known.cost * max(1, len(glance.workers)))), glance


def register(engine: Engine, registry: CollectorRegistry | None = None, *, database: bool = True) -> Collector:
    """Add an engine's metrics to a registry; None: prometheus-client's own. Returns what to `unregister`.

    Raises ConfigurationError when the registry has an engine's already: give each engine a registry of its own.
    """
    collector = Collector(engine, database=database)
    try:
        (REGISTRY if registry is None else registry).register(collector)
    except ValueError as error:
        raise ConfigurationError(
            f"this registry has qengine's metrics already ({error}); register one engine in each registry"
        ) from error
    return collector


def page(engine: Engine) -> Callable[[str], tuple[bytes, str]]:
    """What an HTTP server needs to serve an engine's metrics, and this process's (memory, garbage collection, files).

    It makes of an Accept header a page and its content type.
    """
    from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

    registry = CollectorRegistry()
    register(engine, registry)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)

    def answer(accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    return answer


def _work(total: Tally, types: Iterable[str], dropped: int) -> Iterator[Metric]:
    """What the workers of this process did and do. The types that it could run are there from the start, with zeros."""
    info = Gauge("qengine_build_info", "The release of qengine; always 1.", labels=["version"])
    info.add_metric([version("qengine")], 1)
    ran = Histograms("qengine_run_seconds", "How long runs of jobs took, by how they ended.", labels=["type", "outcome"])
    waited = Histograms("qengine_wait_seconds", "How long jobs had been due when their run began.", labels=["type"])
    ended = Counter("qengine_runs", "Runs of jobs that have ended, by how.", labels=["type", "outcome"])
    lost = Counter("qengine_leases_lost", "Runs that ended when their lease was no longer theirs.", labels=["type"])
    taken = Counter(
        "qengine_jobs_reclaimed", "Jobs taken back after their lease had ended: each a crash, of any worker.", labels=["type"]
    )
    loops = Counter("qengine_crash_loops", "Jobs that are dead because they crashed too often.", labels=["type"])
    batches = Histograms("qengine_settle_batch_jobs", "How many outcomes were written to the database at once.")
    missed = Counter("qengine_events_dropped", "Events that hooks have missed because they were too slow.", value=dropped)
    lag = Gauge("qengine_event_loop_lag_seconds", "By how much the event loop was late, the worst of the last ten seconds.")

    for kind in sorted({*total.types, *types}):
        did = total.types.get(kind) or TypeTally()
        for outcome in (*STEADY, *sorted(did.ended.keys() - set(STEADY))):
            runs = did.of(outcome)
            ran.add_metric([kind, outcome], _buckets(runs), runs.sum)
            ended.add_metric([kind, outcome], runs.count)
        waited.add_metric([kind], _buckets(did.waits), did.waits.sum)
        lost.add_metric([kind], did.runs("lease_lost"))
        taken.add_metric([kind], did.reclaimed)
        loops.add_metric([kind], did.crash_loops)
    batches.add_metric([], _buckets(total.batches), total.batches.sum)
    if total.loop_lag is not None:
        lag.add_metric([], total.loop_lag)
    yield from (info, ran, waited, ended, lost, taken, loops, batches, missed, lag)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    ends = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
    return list(zip(ends, map(float, accumulate(histogram.bins)), strict=True))


def _stored(counts: Counts, glance: Glance, types: Iterable[str]) -> Iterator[Metric]:
    """What is in the database: the same from every process of a queue, but for its age. `types` are told of with zeros too."""
    jobs = Gauge("qengine_jobs", "Jobs stored.", labels=["type", "status"])
    unhandled = Gauge("qengine_unhandled_jobs", "Jobs that wait and that no live worker has a handler for.", labels=["type"])
    groups = Gauge("qengine_failure_groups", "Groups of dead and failed jobs with the same error (at most 200 are counted).")
    if counts.stats is not None:
        for kind in sorted({*counts.stats.by_type, *types}):
            by_status = counts.stats.by_type.get(kind, {})
            for status in Status:
                jobs.add_metric([kind, status], by_status.get(status, 0))
        for kind, number in sorted(counts.stats.unhandled.items()):
            unhandled.add_metric([kind], number)
        groups.add_metric([], len(counts.failures or ()))
    yield from (jobs, unhandled, groups, *_lines(counts, glance, types), *_counting(counts, glance))


def _lines(counts: Counts, glance: Glance, types: Iterable[str]) -> Iterator[Metric]:
    oldest = Gauge("qengine_oldest_due_seconds", "For how long the first job in line has been due; 0: none is.", labels=["type"])
    paused_type = Gauge("qengine_type_paused", "1 for each type that is paused.", labels=["type"])
    paused_queue = Gauge("qengine_queue_paused", "1 for each queue that is paused.", labels=["queue"])
    workers = Gauge("qengine_workers", "Live workers of the whole queue.")
    slots = Gauge("qengine_worker_slots", "How many jobs they can run at once.")
    running = Gauge("qengine_worker_slots_busy", "How many jobs they run.")
    if glance.at is not None:
        for kind in sorted({*glance.waiting, *(counts.stats.by_type if counts.stats else ()), *types}):
            oldest.add_metric([kind], glance.waiting.get(kind, 0.0))
        for pause in glance.pauses:
            (paused_type if pause.kind == "type" else paused_queue).add_metric([pause.name], 1)
        workers.add_metric([], len(glance.workers))
        slots.add_metric([], sum(worker.concurrency for worker in glance.workers))
        running.add_metric([], sum(worker.running for worker in glance.workers))
    yield from (oldest, paused_type, paused_queue, workers, slots, running)


def _counting(counts: Counts, glance: Glance) -> Iterator[Metric]:
    up = Gauge("qengine_database_up", "Whether the last look at the database succeeded.")
    counted = Gauge("qengine_count_timestamp_seconds", "When the jobs stored were counted, in unix time by the database's clock.")
    took = Gauge("qengine_count_duration_seconds", "How long counting them took.")
    if glance.at is not None or glance.error is not None:
        up.add_metric([], float(glance.error is None))
    if counts.at is not None:
        counted.add_metric([], counts.at.timestamp())
        took.add_metric([], counts.cost)
    yield from (up, counted, took)
