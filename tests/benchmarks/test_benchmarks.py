"""The harness itself, on tiny sizes: what it measures is right, whatever the time it takes."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import anyio
import pytest

from qengine import Engine

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import campaign, goals, inspection, measures, page, places, plots, processes  # noqa: E402
from benchmarks.campaign import Outcome, Sample, Settings  # noqa: E402
from benchmarks.catalogue import CEILINGS, OURS, PEERS  # noqa: E402
from benchmarks.figures import figure, ratio  # noqa: E402
from benchmarks.orders import Order  # noqa: E402

SQLITE = places.SQLitePlace()
pytestmark = pytest.mark.anyio


def test_orders_survive_the_way_to_another_process() -> None:
    order = Order("sqlite:///x", "drain", jobs=7, types=3)
    assert Order.from_json(order.as_json()) == order
    assert order.type_names == ["job_000", "job_001", "job_002"]


def test_figures() -> None:
    assert figure([3.0, 1.0, 2.0]).median == 2.0
    found = ratio([10.0, 10.0], [5.0, 5.0])
    assert found is not None
    assert (found.median, found.low, found.high) == (2.0, 2.0, 2.0)
    assert ratio([1.0], [0.0]) is None
    assert ratio([1.0], []) is None


def test_percentiles_are_of_the_nearest_rank() -> None:
    found = measures.pickup_figures([{"latencies": [n / 1000 for n in range(1, 101)]}, {"fed": 40.0}])
    assert found == pytest.approx({"p50": 50, "p99": 99, "p99.9": 100, "fed": 40})


def measure(name: str) -> measures.Measure:
    return next(one for one in measures.MEASURES if one.name == name)


def test_half_load_is_half_of_the_slower_of_enqueueing_and_draining() -> None:
    entry = replace(OURS[0], rates={"enqueue-one": 2000, "drain": 800})
    worker, sender = measure("pickup-half").orders(entry, "x", None, 2.0)
    assert (worker.kind, sender.kind, sender.load) == ("worker", "sender", False)
    assert (sender.gap, sender.jobs) == (1 / 400, 800)
    [both] = measure("pickup").orders(entry, "x", None, 2.0)
    assert (both.kind, both.jobs) == ("both", 100)


def steps(measure: str, **settings: Any) -> Counter[str]:
    asked = Settings(places=("sqlite",), measures=(measure,), peers=True, **settings)
    return Counter(step.entry.name for step in campaign._steps(asked, SQLITE))


def test_who_takes_part_how_often() -> None:
    assert steps("drain-100")["huey"] == steps("drain-100")["qengine"] == 5
    assert (steps("pickup")["huey"], steps("pickup")["qengine"]) == (5 + 5 + 2, 5 + 5 + 5)
    assert set(steps("raw-batch")) == {"raw sqlite3"}
    assert steps("memory") == {"qengine": 1}
    assert steps("growth-later", largest=1_000) == {"qengine": 3}


def test_systems_and_measures_take_turns() -> None:
    asked = Settings(places=("sqlite",), measures=("drain-100", "drain-10"), names=("qengine", "bare engine"), rounds=2)
    one_round = [(measure, system) for measure in ("drain-100", "drain-10") for system in ("qengine", "bare engine")]
    assert [(step.measure.name, step.entry.name) for step in campaign._steps(asked, SQLITE)] == one_round * 2


@pytest.mark.parametrize("module", ["peers.qengine", "ceilings.raw_sqlite", "ceilings.bare"])
def test_a_drain_runs_each_job_once(module: str) -> None:
    with SQLITE.database() as url:
        results = processes.run(sys.executable, f"benchmarks.{module}", [Order(url, "drain", jobs=30)])
    assert results[0]["ran"] == 30
    assert measures.drain_figures(results)["rate"] > 0


async def qengine_does(order: Order) -> dict[str, Any]:
    # Where there is a loop, it must go on: the conversations with a database are in it.
    [result] = await anyio.to_thread.run_sync(processes.run, sys.executable, "benchmarks.peers.qengine", [order])
    return result


async def test_memory_is_told_after_each_portion(url: str) -> None:
    result = await qengine_does(Order(url, "memory", jobs=50))
    assert (result["ran"], len(result["resident"])) == (50, 10)
    assert 10 < measures.memory_figures([result])["memory"] < 1000


async def test_claims_beside_a_pinned_transaction(url: str) -> None:
    found = measures.pinned_figures([await qengine_does(Order(url, "pinned", jobs=200))])
    assert min(found.values()) > 0
    assert len(found) == 5


@pytest.mark.parametrize("name", ["growth-suspects-1000", "growth-types-10", "growth-workers-2"])
async def test_growth_is_measured(url: str, name: str) -> None:
    order = replace(measure(name).order, url=url)
    found = measures.growth_figures([await qengine_does(replace(order, jobs=min(order.jobs, 200)))])
    assert min(found.values()) > 0


def test_what_is_written_for_a_job_is_counted() -> None:
    settings = Settings(places=("sqlite",), measures=("raw-batch-100",), rounds=1, seconds=0.001)
    [found] = campaign.carry_out(settings).values("sqlite", "raw-batch-100", "raw sqlite3", "written")
    assert 120 < found < 20_000


def test_two_processes_share_a_drain() -> None:
    order = Order("", "drain", jobs=40, types=2)
    with SQLITE.database() as url:
        orders = [replace(order, url=url), replace(order, url=url, load=False)]
        results = processes.run(sys.executable, "benchmarks.peers.qengine", orders)
    assert sum(result["ran"] for result in results) == 40


def test_a_job_that_runs_twice_is_no_figure() -> None:
    with pytest.raises(ValueError, match="31 runs of 30 jobs"):
        measures.drain_figures([{"ran": 31, "jobs": 30}])


def test_a_subject_that_fails_says_why() -> None:
    with SQLITE.database() as url, pytest.raises(processes.SubjectFailed, match="No module named"):
        processes.run(sys.executable, "benchmarks.peers.nobody", [Order(url, "drain")])


def test_a_campaign_and_its_page(tmp_path: Path) -> None:
    settings = Settings(places=("sqlite",), measures=("enqueue-one", "pickup-other"), rounds=1, seconds=0.001, quick=True)
    outcome = campaign.carry_out(settings)
    assert outcome.failures == {}
    assert campaign.from_mapping(campaign.as_mapping(outcome)).samples == outcome.samples  # type: ignore[arg-type]
    assert outcome.values("sqlite", "pickup-other", "qengine", "p50")[0] > 0
    text = page.write(outcome, tmp_path).read_text()
    assert "| one by one | raw sqlite3 |" in text
    assert "not measured" in text
    for picture in (tmp_path / "performance").iterdir():
        ElementTree.fromstring(picture.read_text())


def test_growth_is_drawn_and_judged_from_figures() -> None:
    samples = [
        Sample("sqlite", "drain-100", name, 0, {"rate": rate}) for name, rate in (("qengine", 60.0), ("bare engine", 100.0))
    ]
    for size, rate in ((1_000, 500.0), (100_000, 400.0)):
        samples.append(Sample("sqlite", f"growth-later-{size}", "qengine", 0, {"claim": rate}))
    for size, rate in ((1_000, 500.0), (100_000, 200.0)):
        samples.append(Sample("sqlite", f"growth-suspects-{size}", "qengine", 0, {"claim": rate}))
    outcome = Outcome(Settings(), places.machine(), {"sqlite": {}}, samples)
    assert {"sqlite-drain-100.svg", "sqlite-growth-other-claim.svg"} <= plots.plots(outcome).keys()
    verdicts = {verdict.goal.title: verdict for verdict in goals.judge(outcome)}
    bare = verdicts["drain ÷ bare engine"]
    assert bare.found is not None
    assert (bare.found.median, bare.met) == (0.6, True)
    claim = verdicts["claim, time beside the most other jobs ÷ beside a thousand"]
    assert claim.found is not None
    assert (claim.found.median, claim.note, claim.met) == (2.5, "100,000 suspects", False)


def found(**figures: dict[str, dict[str, float]]) -> dict[str, goals.Verdict]:
    """The verdicts on samples given as measure, system and figures."""
    samples = [
        Sample("sqlite", measure.replace("_", "-"), entry, 0, found)
        for measure, systems in figures.items()
        for entry, found in systems.items()
    ]
    outcome = Outcome(Settings(), places.machine(), {"sqlite": {}}, samples)
    return {verdict.goal.title: verdict for verdict in goals.judge(outcome)}


def test_the_best_peer_is_the_one_to_beat() -> None:
    pickup = {name: {"p50": p50} for name, p50 in (("qengine", 2.0), ("huey", 3.0), ("litequeue", 1.0))}
    drain = {name: {"rate": rate} for name, rate in (("qengine", 60.0), ("huey", 10.0), ("litequeue", 20.0))}
    verdicts = found(pickup=pickup, drain_100=drain)
    beaten, drained = verdicts["pick-up in process, p50 ÷ the best peer"], verdicts["drain ÷ the fastest peer"]
    assert (beaten.met, beaten.note) == (False, "litequeue")
    assert (drained.met, drained.note, drained.found and drained.found.median) == (False, "litequeue", 3.0)


@pytest.mark.parametrize(("no_op", "note"), [(5_000.0, "no-op rate"), (50_000.0, "ideal")])
def test_handlers_that_wait_are_beside_the_lower_of_ideal_and_no_op(no_op: float, note: str) -> None:
    verdicts = found(drain_100={"qengine": {"rate": no_op}}, drain_nap={"qengine": {"rate": min(no_op, 10_000.0)}})
    verdict = verdicts["drain of handlers of 10 ms ÷ what is possible"]
    assert (verdict.note, verdict.found and verdict.found.median, verdict.met) == (note, 1.0, True)


def test_never_is_judged_by_the_worse_end_of_the_interval() -> None:
    goal = goals.Goal("x", 1.0, lambda outcome, place: None, surely=True)
    assert goals.Verdict(goal, "sqlite", figure([0.9, 1.5, 2.0])).met is False
    assert goals.Verdict(goal, "sqlite", figure([1.1, 1.5, 2.0])).met is True


def test_of_what_was_measured_twice_the_later_counts() -> None:
    def run(name: str, *samples: tuple[str, float], failures: tuple[str, ...] = ()) -> Outcome:
        outcome = Outcome(Settings(), {"load_before": 0.0}, {name: {}}, failures=dict.fromkeys(failures, "why"))
        outcome.samples = [Sample("sqlite", measure, "huey", 0, {"rate": rate}) for measure, rate in samples]
        return outcome

    first = run("sqlite", ("idle", 1.0), ("drain-100", 1.0), failures=("sqlite, huey, pickup", "sqlite, huey, drain-2"))
    both = first.merged(run("postgres", ("drain-100", 2.0), ("pickup", 2.0)))
    assert both.values("sqlite", "drain-100", "huey", "rate") == [2.0]
    assert both.values("sqlite", "idle", "huey", "rate") == [1.0]
    assert both.failures == {"sqlite, huey, drain-2": "why"}
    assert set(both.places) == {"sqlite", "postgres"}


async def test_looks_are_measured_beside_a_full_table(url: str) -> None:
    times = await inspection.measure(url, 2_000, lambda url: None, repeats=1)
    assert all(len(taken) == 1 for taken in times.values())
    async with Engine(url) as engine:
        counts = (await engine.stats()).by_status
        assert counts == {
            "pending": 700,
            "processing": 2,
            "completed": 1_200,
            "failed": 20,
            "dead": 60,
            "cancelled": 18,
        }
        # What is measured finds something: an empty answer costs nothing.
        empty = {name for name, look in inspection.looks(engine, 2_000).items() if not await look()}
        assert empty == set()
    judged = inspection.judged({"job": [0.2, 0.001, 0.002], "running": [0.2, 0.3], "stats": [9.0]})
    assert judged == {"job": True, "running": False, "stats": None}


def test_every_system_has_a_module_and_pins() -> None:
    for entry in (*OURS, *CEILINGS, *PEERS):
        if entry.node:
            assert (ROOT / entry.module).is_file()
            assert (ROOT / entry.module).with_name("package-lock.json").is_file()
            continue
        assert (ROOT / f"{entry.module.replace('.', '/')}.py").is_file()
        pins = (ROOT / "benchmarks/requirements" / f"{entry.requirements}.txt").read_text()
        assert all("==" in line or line.startswith("#") for line in pins.splitlines())
