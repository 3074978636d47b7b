"""The harness itself, on tiny sizes: what it measures is right, whatever the time it takes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

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
    assert (found.median, found.low, found.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize("module", ["peers.qengine", "ceilings.raw_sqlite", "ceilings.bare"])
def test_a_drain_runs_each_job_once(module: str) -> None:
    with SQLITE.database() as url:
        results = processes.run(sys.executable, f"benchmarks.{module}", [Order(url, "drain", jobs=30)])
    assert results[0]["ran"] == 30
    assert measures.drain_figures(results)["rate"] > 0


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
    assert "| enqueue, one by one | raw sqlite3 |" in text
    assert "not measured" in text
    for picture in (tmp_path / "performance").iterdir():
        ElementTree.fromstring(picture.read_text())


def test_growth_is_drawn_and_judged_from_figures() -> None:
    samples = [
        Sample("sqlite", "drain-100", name, 0, {"rate": rate}) for name, rate in (("qengine", 60.0), ("bare engine", 100.0))
    ]
    for size, rate in ((1_000, 500.0), (100_000, 400.0)):
        samples.append(Sample("sqlite", f"growth-later-{size}", "qengine", 0, {"claim": rate}))
    outcome = Outcome(Settings(), places.machine(), {"sqlite": {}}, samples)
    assert {"sqlite-drain-100.svg", "sqlite-growth-claim.svg"} <= plots.plots(outcome).keys()
    verdict = next(v for v in goals.judge(outcome) if v.goal.against == "bare engine")
    assert (verdict.value, verdict.met) == (0.6, True)


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
