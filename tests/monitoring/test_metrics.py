"""Metrics, scraped as Prometheus does it: from the page of a worker's own process, and from a registry."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import Cli
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families
from serving import address, get, stop
from waiting import until

from qengine import ConfigurationError, Discard, Engine, Snooze
from qengine.backends.inspection import WAIT_BOUNDS
from qengine.backends.protocol import Demand
from qengine.metrics import Collector, page, register
from qengine.probes import Address, Probes
from qengine.testing import faults

anyio = pytest.mark.anyio
UNITS = ("_seconds", "_total", "_jobs", "_info", "_groups", "_paused", "_workers", "_slots", "_busy", "_up")


class Scrape:
    """What a page of metrics holds."""

    def __init__(self, text: str, parse: Callable[[str], Iterable[Any]] = text_string_to_metric_families) -> None:
        self.families = {family.name: family for family in parse(text)}
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]

    def has(self, name: str, **labels: str) -> bool:
        return (name, frozenset(labels.items())) in self.samples

    def labelled(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for found, labels in self.samples if found == name]


def app(url: str, **options: Any) -> Engine:
    engine = Engine(url, **options)

    @engine.task(max_attempts=1)
    async def fail(number: int) -> None:
        raise ValueError(f"no such user: {number}")

    @engine.task()
    async def add(a: int, b: int = 0) -> int:
        return a + b

    @engine.task()
    async def retry() -> None:
        raise OSError("again")

    @engine.task()
    async def snooze() -> None:
        raise Snooze(3600)

    @engine.task()
    async def discard() -> None:
        raise Discard("hopeless")

    return engine


def scrape(registry: CollectorRegistry) -> Scrape:
    return Scrape(generate_latest(registry).decode())


async def counted(engine: Engine, registry: CollectorRegistry) -> Scrape:
    """A scrape after what is stored was counted anew."""
    stale = engine.counts(math.inf).at, engine.glance(math.inf).at

    def both() -> bool:
        return engine.counts(0.0).at not in (None, stale[0]) and engine.glance(0.0).at not in (None, stale[1])

    await until(both)
    return scrape(registry)


@anyio
async def test_what_workers_did(url: str) -> None:
    registry = CollectorRegistry()
    async with app(url) as engine:
        register(engine, registry)
        await engine.registry.get("add").enqueue_many([{"a": number} for number in range(7)])
        for name in ("retry", "snooze", "discard"):
            await engine.enqueue(name, {})
        await engine.enqueue("fail", {"number": 1})
        await engine.drain()
        seen = scrape(registry)
    assert seen("qengine_runs_total", type="add", outcome="completed") == 7
    ends = {"fail": "dead", "retry": "failed", "snooze": "snoozed", "discard": "dead"}
    assert {name: seen("qengine_runs_total", type=name, outcome=end) for name, end in ends.items()} == dict.fromkeys(ends, 1)
    assert sum(seen("qengine_runs_total", **labels) for labels in seen.labelled("qengine_runs_total")) == 11
    assert seen("qengine_runs_total", type="add", outcome="dead") == 0, "what has not happened yet begins at 0"
    assert not seen.has("qengine_runs_total", type="add", outcome="snoozed")
    assert seen("qengine_run_seconds_count", type="add", outcome="completed") == 7
    assert 0 < seen("qengine_run_seconds_sum", type="add", outcome="completed") < 60
    assert seen("qengine_wait_seconds_count", type="add") == 7
    assert seen("qengine_wait_seconds_bucket", type="add", le="+Inf") == 7
    assert seen("qengine_settle_batch_jobs_sum") == 11
    assert 1 <= seen("qengine_settle_batch_jobs_count") <= 11
    assert seen("qengine_leases_lost_total", type="add") == 0
    assert seen("qengine_jobs_reclaimed_total", type="add") == 0
    assert seen("qengine_build_info", version=seen.labelled("qengine_build_info")[0]["version"]) == 1


@anyio
async def test_buckets_grow(url: str) -> None:
    registry = CollectorRegistry()
    async with app(url) as engine:
        register(engine, registry)
        await engine.registry.get("add").enqueue_many([{"a": number} for number in range(30)])
        await engine.drain()
        seen = scrape(registry)
    buckets = [
        (float(labels["le"]), seen("qengine_run_seconds_bucket", **labels))
        for labels in seen.labelled("qengine_run_seconds_bucket")
        if (labels["type"], labels["outcome"]) == ("add", "completed")
    ]
    assert [end for end, _ in sorted(buckets)] == [*WAIT_BOUNDS, math.inf]
    heights = [height for _, height in sorted(buckets)]
    assert heights == sorted(heights)
    assert heights[-1] == 30


@anyio
async def test_crashes_and_lost_leases(url: str) -> None:
    registry = CollectorRegistry()
    engine = Engine(url, lease=0.5, max_crashes=1)

    @engine.task()
    async def linger() -> None:
        await asyncio.sleep(3600)

    async with engine:
        register(engine, registry)
        job = await linger.enqueue()
        async with engine.worker():
            while (await engine.job(job.id)).status != "processing":
                await asyncio.sleep(0.005)
            await engine.delete(job.id)
            await until(lambda: scrape(registry).has("qengine_leases_lost_total", type="linger"))
        assert scrape(registry)("qengine_leases_lost_total", type="linger") == 1
        assert scrape(registry)("qengine_runs_total", type="linger", outcome="lease_lost") == 1
        # One that a worker held which is no more:
        left = await linger.enqueue()
        (claim,) = await engine.backend.claim(Demand("gone", {"linger": 1}, 1, 0.01))
        assert claim.id == left.id
        async with engine.worker(types=["linger"]):
            await until(lambda: scrape(registry)("qengine_jobs_reclaimed_total", type="linger"))
        assert scrape(registry)("qengine_jobs_reclaimed_total", type="linger") == 1
        assert scrape(registry)("qengine_crash_loops_total", type="linger") == 1


@anyio
async def test_what_is_stored(url: str) -> None:
    registry = CollectorRegistry()
    async with app(url) as engine:
        register(engine, registry)
        first = scrape(registry)
        assert not first.has("qengine_database_up")
        assert first.labelled("qengine_jobs") == []
        await engine.registry.get("fail").enqueue_many([{"number": number} for number in range(3)])
        await engine.drain()
        await engine.enqueue("add", {"a": 1})
        await engine.enqueue("nobody", {})
        await engine.pause(type="add")
        await engine.pause(queue="mail")
        async with engine.worker(concurrency=7):
            while not await engine.workers():
                await asyncio.sleep(0.005)
            seen = await counted(engine, registry)
    assert seen("qengine_jobs", type="fail", status="dead") == 3
    assert seen("qengine_jobs", type="fail", status="pending") == 0
    assert seen("qengine_jobs", type="add", status="pending") == 1
    assert seen("qengine_unhandled_jobs", type="nobody") == 1
    assert not seen.has("qengine_unhandled_jobs", type="add")
    assert seen("qengine_failure_groups") == 1
    assert seen("qengine_type_paused", type="add") == 1
    assert seen("qengine_queue_paused", queue="mail") == 1
    assert (seen("qengine_workers"), seen("qengine_worker_slots"), seen("qengine_worker_slots_busy")) == (1, 7, 0)
    assert seen("qengine_database_up") == 1
    assert seen("qengine_oldest_due_seconds", type="nobody") >= 0
    assert seen("qengine_oldest_due_seconds", type="fail") == 0, "none is due, which is told too"
    assert seen("qengine_jobs", type="retry", status="dead") == 0, "none was ever stored, which is told too"
    assert not seen.has("qengine_jobs", type="unheard-of", status="dead")
    assert seen("qengine_count_duration_seconds") > 0
    assert abs(seen("qengine_count_timestamp_seconds") - time.time()) < 300


@anyio
async def test_a_scrape_asks_the_database_nothing(url: str) -> None:
    engine = app(url)
    with faults.injected(engine) as plan:
        async with engine:
            registry = CollectorRegistry()
            registry.register(Collector(engine, max_age=3600))
            await counted(engine, registry)
            before = dict(plan.calls)
            for _ in range(50):
                scrape(registry)
            for _ in range(10):
                await asyncio.sleep(0)
            assert dict(plan.calls) == before


@anyio
async def test_the_more_workers_the_more_seldom_each_counts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with app(url) as engine, engine.worker():
        collector = Collector(engine, max_age=3.0)
        await until(lambda: engine.glance().workers)
        await until(lambda: engine.counts().at)
        (worker,), known = engine.glance(math.inf).workers, engine.counts(math.inf)
        glance = replace(engine.glance(math.inf), workers=[worker] * 5)
        asked: list[float] = []

        def counts(max_age: float) -> Any:
            asked.append(max_age)
            return replace(known, cost=0.5)

        monkeypatch.setattr(engine, "counts", counts)
        monkeypatch.setattr(engine, "glance", lambda max_age: glance)
        collector.look()
        assert asked == [math.inf, 20 * 0.5 * 5]
        glance = replace(glance, workers=())
        collector.look()
        assert asked[-1] == 10.0


@anyio
async def test_a_database_that_is_away(url: str) -> None:
    engine, registry = app(url), CollectorRegistry()
    with faults.injected(engine, faults.fail("now", times=1000)):
        async with engine:
            register(engine, registry)
            await until(lambda: engine.glance().error and engine.counts().error)
            seen = scrape(registry)
    assert seen("qengine_database_up") == 0
    assert not seen.has("qengine_workers")
    assert not seen.has("qengine_count_timestamp_seconds")


@anyio
async def test_a_closed_engine_tells_what_was_done(url: str) -> None:
    registry = CollectorRegistry()
    engine = app(url)
    register(engine, registry)
    assert scrape(registry)("qengine_runs_total", type="add", outcome="completed") == 0
    async with engine:
        await engine.enqueue("add", {"a": 1})
        await engine.drain()
    seen = scrape(registry)
    assert seen("qengine_runs_total", type="add", outcome="completed") == 1
    assert "qengine_jobs" not in seen.families


@anyio
async def test_only_this_process(url: str) -> None:
    registry = CollectorRegistry()
    async with app(url) as engine:
        register(engine, registry, database=False)
        await until(lambda: engine.counts().at)
        names = set(scrape(registry).families)
    assert "qengine_runs" in names
    assert not names & {"qengine_jobs", "qengine_workers", "qengine_database_up"}


@anyio
async def test_several_workers_are_one_process(url: str) -> None:
    registry = CollectorRegistry()
    async with app(url) as engine:
        register(engine, registry)
        for number in range(2):
            async with engine.worker(), engine.worker():
                job = await engine.enqueue("add", {"a": number})
                await job.wait(timeout=20)
        assert scrape(registry)("qengine_runs_total", type="add", outcome="completed") == 2


def test_one_engine_in_a_registry(url: str) -> None:
    registry = CollectorRegistry()
    first = register(Engine(url), registry)
    with pytest.raises(ConfigurationError, match=r"has qengine's metrics already .*; register one engine in each registry"):
        register(Engine(url), registry)
    registry.unregister(first)
    register(Engine(url), registry)


def test_the_registry_of_all(sqlite_url: str) -> None:
    collector = register(Engine(sqlite_url))
    try:
        assert b"qengine_build_info" in generate_latest(REGISTRY)
    finally:
        REGISTRY.unregister(collector)


@pytest.mark.parametrize("age", [-1.0, math.nan])
def test_an_age_that_is_none(sqlite_url: str, age: float) -> None:
    with pytest.raises(ConfigurationError, match="max_age="):
        Collector(Engine(sqlite_url), max_age=age)


@anyio
async def test_names_have_units_and_help(url: str) -> None:
    async with app(url) as engine:
        answer = page(engine)
        await counted(engine, CollectorRegistry())
        text, content_type = answer("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    seen = Scrape(text.decode(), parse_open_metrics)
    ours = {name: family for name, family in seen.families.items() if name.startswith("qengine_")}
    assert len(ours) > 15
    for name, family in ours.items():
        full = name + ("_total" if family.type == "counter" else "")
        assert full.endswith(UNITS) or full == "qengine_jobs", full
        assert re.fullmatch(r"[A-Za-z0-9].*\.", family.documentation), f"{name}: {family.documentation}"
    assert "process_resident_memory_bytes" in seen.families


@anyio
async def test_odd_types_are_escaped(url: str) -> None:
    odd = 'a "type"\\ with\nlines \u00fc <script>'
    registry = CollectorRegistry()
    engine = app(url)

    @engine.task(name=odd)
    async def named() -> None: ...

    async with engine:
        register(engine, registry)
        await engine.enqueue(odd, {})
        await engine.drain()
        seen = await counted(engine, registry)
    assert seen("qengine_runs_total", type=odd, outcome="completed") == 1
    assert seen("qengine_jobs", type=odd, status="completed") == 1


@anyio
async def test_a_scrape_while_a_handler_blocks_the_loop(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qengine.engine.health.TOTALS_WITHIN", 0.05)
    async with app(url) as engine:
        await engine.enqueue("add", {"a": 1})
        await engine.drain()
        async with Probes(engine, Address("127.0.0.1", 0), metrics=page(engine)) as probes:
            # Another process asks, and the loop waits for it without turning.
            script = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1]).read().decode())"
            done = subprocess.run(  # noqa: ASYNC221 - blocking is what is tested
                [sys.executable, "-c", script, f"http://{probes.address}/metrics"],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
    assert Scrape(done.stdout)("qengine_runs_total", type="add", outcome="completed") == 1


@anyio
async def test_a_scrape_from_another_thread(url: str) -> None:
    registry = CollectorRegistry()
    async with app(url) as engine:
        register(engine, registry)
        await engine.enqueue("add", {"a": 1})
        await engine.drain()
        text = await asyncio.to_thread(generate_latest, registry)
    assert Scrape(text.decode())("qengine_runs_total", type="add", outcome="completed") == 1


def test_a_scrape_after_the_loop_has_ended(url: str) -> None:
    engine, registry = app(url), CollectorRegistry()
    register(engine, registry)

    async def left_open() -> None:
        await engine.open()
        await engine.enqueue("add", {"a": 1})
        await engine.drain()

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(left_open())
        loop.run_until_complete(engine.backend.close())
    finally:
        loop.close()
    assert scrape(registry)("qengine_runs_total", type="add", outcome="completed") == 1


# -- the command


def scraped(where: str, done: Callable[[Scrape], bool]) -> Scrape:
    """A scrape of a worker, once it is as it should be."""
    until = time.monotonic() + 30
    while True:
        answer = get(
            where, "/metrics", accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        )
        assert answer.status == 200
        seen = Scrape(answer.text, parse_open_metrics)
        if done(seen):
            return seen
        assert time.monotonic() < until, answer.text
        time.sleep(0.05)


def test_a_worker_is_scraped_and_probed(cli: Cli) -> None:
    for number in range(5):
        cli.enqueue("add", {"a": number})
    cli.enqueue("tell", {"secret": "a-payload"})
    cli.enqueue("fail", {"message": "a-secret-message"})
    process = cli.start("worker", "app:engine", "--metrics", "127.0.0.1:0")
    where = address(process, "metrics and health")
    seen = scraped(
        where,
        lambda seen: (
            seen.has("qengine_runs_total", type="fail", outcome="failed")
            and seen("qengine_runs_total", type="add", outcome="completed") == 5
            and seen.has("qengine_jobs", type="add", status="completed")
            and seen("qengine_jobs", type="add", status="completed") == 5
        ),
    )
    assert seen("qengine_database_up") == 1
    assert get(where, "/healthz").status == 200
    ready = get(where, "/readyz")
    assert (ready.status, json.loads(ready.body)["ready"]) == (200, True)
    page = get(where, "/metrics").text
    assert "a-payload" not in page
    assert "a-secret-message" not in page
    stop(process)


def test_health_alone_and_both(cli: Cli) -> None:
    process = cli.start("worker", "app:engine", "--health", "0", "--metrics", "0")
    both, alone = address(process, "metrics and health"), address(process, ": health")
    assert both != alone
    assert get(alone, "/readyz").status in (200, 503)
    assert get(alone, "/metrics").status == 404
    assert get(both, "/metrics").status == 200
    stop(process)


def test_a_worker_whose_queue_is_late_is_not_ready(cli: Cli) -> None:
    cli.enqueue("linger", {"seconds": 60})
    cli.enqueue("linger", {"seconds": 60})
    process = cli.start("worker", "app:engine", "--health", "0", "--max-due", "0.001", "--concurrency", "1", "--grace", "0")
    where = address(process, "health")
    cli.wait_for("started")
    ready = get(where, "/readyz")
    while not (problems := json.loads(ready.body)["problems"]) or "has been due for" not in problems[0]:
        ready = get(where, "/readyz")
    assert ready.status == 503
    assert get(where, "/healthz").status == 200
    stop(process)


def test_a_stopping_worker_says_so(cli: Cli) -> None:
    cli.enqueue("linger", {"seconds": 2})
    process = cli.start("worker", "app:engine", "--health", "0")
    where = address(process, "health")
    cli.wait_for("started")
    process.send_signal(signal.SIGTERM)
    while "is stopping" not in "".join(json.loads(get(where, "/readyz").body)["problems"]):
        time.sleep(0.01)
    assert get(where, "/healthz").status == 200
    _, logged = process.communicate(timeout=40)
    assert process.returncode == 0, logged


@pytest.mark.parametrize("option", ["--metrics", "--health"])
def test_a_wrong_address(cli: Cli, option: str) -> None:
    assert "'host:web' is no address to listen on" in cli.fails("worker", "app:engine", option, "host:web", code=2)


def test_an_address_that_is_taken(cli: Cli) -> None:
    process = cli.start("worker", "app:engine", "--health", "0")
    taken = address(process, "health")
    last = cli("worker", "app:engine", "--health", taken, code=2).stderr.splitlines()[-1]
    assert last.startswith(f"qengine: nothing can listen on {taken}: ")
    stop(process)


@pytest.fixture
def without_the_extra(tmp_path: Path) -> dict[str, str]:
    """An environment in which prometheus-client is not there."""
    folder = tmp_path / "missing"
    folder.mkdir()
    (folder / "prometheus_client.py").write_text("raise ModuleNotFoundError(f'No module named {__name__!r}', name=__name__)")
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_without_the_extra(cli: Cli, without_the_extra: dict[str, str]) -> None:
    last = cli("worker", "app:engine", "--metrics", "0", code=2, env=without_the_extra).stderr.splitlines()[-1]
    assert last == "qengine: metrics need prometheus-client: pip install 'qengine[metrics]'"
    cli("worker", "app:engine", "--once", "--health", "0", env=without_the_extra)


def test_a_broken_dependency_is_not_taken_for_a_missing_one(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "prometheus_client.py").write_text("import surely_not_there")
    done = cli("worker", "app:engine", "--metrics", "0", code=70, env={"PYTHONPATH": str(folder)})
    assert "surely_not_there" in done.stderr
