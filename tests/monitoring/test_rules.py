"""The Grafana dashboard and the alert rules: well formed, and about metrics that a worker really has."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from qengine import Engine
from qengine.metrics import page

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "monitoring"
HERE = Path(__file__).parent
PROMTOOL = shutil.which("promtool")
STORED = re.compile(
    r"qengine_(jobs|unhandled_jobs|failure_groups|oldest_due_seconds|\w+_paused|workers|worker_slots\w*|count_\w+)(?=[{ )\n]|$)"
)
"""Metrics that every worker of a queue tells alike."""


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The names of all samples of a scrape, each with its labels."""

    async def scrape() -> str:
        engine = Engine(f"sqlite:///{tmp_path_factory.mktemp('scraped') / 'queue.db'}")

        @engine.task(max_attempts=1)
        async def fail() -> None:
            raise ValueError

        async with engine:
            answer = page(engine)
            await fail.enqueue()
            await engine.drain()
            await engine.enqueue("nobody", {})
            await engine.pause(type="nobody")
            await engine.pause(queue="mail")
            async with engine.worker():
                while not (engine.counts().at and engine.glance(0.0).workers and engine.totals().loop_lag is not None):
                    await asyncio.sleep(0.01)
                while not engine.glance(0.0).pauses:
                    await asyncio.sleep(0.01)
                return answer("text/plain")[0].decode()

    names: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(asyncio.run(scrape())):
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]


of_each_expression = pytest.mark.parametrize(
    ("where", "expression"), [pytest.param(*found, id=f"{found[0]} {number}") for number, found in enumerate(expressions())]
)


@of_each_expression
def test_an_expression_is_about_metrics_that_are_there(where: str, expression: str, scraped: dict[str, set[str]]) -> None:
    named = set(re.findall(r"\bqengine_\w+", expression))
    assert named, f"{where} asks for nothing of ours"
    assert named <= scraped.keys(), f"{where} asks for {named - scraped.keys()}"


@of_each_expression
def test_an_expression_asks_for_labels_that_are_there(where: str, expression: str, scraped: dict[str, set[str]]) -> None:
    targets = {"job", "instance"}
    for name, selector in re.findall(r"\b(qengine_\w+)\{([^}]*)\}", expression):
        asked = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selector))
        assert asked <= scraped[name] | targets, f"{where}: {name} has no {asked - scraped[name] - targets}"
    labels = {label for found in re.findall(r"by \(([^)]*)\)", expression) for label in re.split(r",\s*", found)}
    there = set().union(*(scraped[name] for name in re.findall(r"\bqengine_\w+", expression)))
    assert labels <= there | targets, f"{where} groups by {labels - there - targets}"


@of_each_expression
def test_what_every_worker_tells_alike_is_not_added_up(where: str, expression: str) -> None:
    for found in STORED.finditer(expression):
        before = expression[: found.start()]
        assert (
            re.search(r"(max|min|absent)\s*(by \([^)]*\) )?\((min_over_time\()?$", before.rstrip()) or "label_values" in before
        ), f"{where}: {found[0]} comes from every worker; join it with max"


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    all_of_them = dashboard()["panels"]
    ids = [panel["id"] for panel in all_of_them]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in all_of_them]
    assert len(set(titles)) == len(titles)
    taken: set[tuple[int, int]] = set()
    for panel in all_of_them:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells


def test_the_dashboard_can_be_imported() -> None:
    found = dashboard()
    assert found["uid"] == "qengine"
    assert found["schemaVersion"] >= 39
    assert "id" not in found, "the id is given by the Grafana that imports it"
    variables = {variable["name"]: variable for variable in found["templating"]["list"]}
    assert set(variables) == {"datasource", "job", "type"}
    assert variables["datasource"]["query"] == "prometheus"
    for panel in panels():
        assert panel["type"] in ("stat", "timeseries")
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{?(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= variables.keys()
            assert target["datasource"]["uid"] == "${datasource}"


def test_each_alert_says_why_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["alert"].startswith("Qengine")
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description", "reason", "remedy"}
        assert all(text.endswith(".") for text in rule["annotations"].values()), rule["alert"]
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))


def test_each_alert_is_documented_and_tested() -> None:
    told = (FOLDER.parent / "monitoring.md").read_text()
    tested = (HERE / "alerts_test.yml").read_text()
    assert [rule["alert"] for rule in rules() if rule["alert"] not in told] == []
    assert [rule["alert"] for rule in rules() if rule["alert"] not in tested] == []


def test_each_metric_is_documented(scraped: dict[str, set[str]]) -> None:
    told = (FOLDER.parent / "monitoring.md").read_text()
    ours = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in scraped if name.startswith("qengine_")}
    assert {name for name in ours if f"`{name}`" not in told} == set()
    listed = set(re.findall(r"^\| `(qengine_\w+)`", told, re.MULTILINE))
    assert listed == ours


def promtool(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (of Prometheus) is not installed")


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    done = promtool("check", "rules", "alerts.yml", folder=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_can_read_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    filled = [re.sub(r"\$(job|type)", ".*", expression).replace("$__rate_interval", "1m") for expression in asked]
    records = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(filled)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    done = promtool("check", "rules", "panels.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(asked)} rules found" in done.stdout


@needs_promtool
def test_the_rules_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    for path in (FOLDER / "alerts.yml", HERE / "alerts_test.yml"):
        shutil.copy(path, tmp_path)
    done = promtool("test", "rules", "alerts_test.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    # A rule that fires too early is found out, so that the tests can fail.
    hasty = (tmp_path / "alerts.yml").read_text().replace("qengine_oldest_due_seconds) > 900", "qengine_oldest_due_seconds) > 1")
    (tmp_path / "alerts.yml").write_text(hasty)
    assert promtool("test", "rules", "alerts_test.yml", folder=tmp_path).returncode != 0


@needs_promtool
def test_promtool_accepts_a_scrape(sqlite_url: str) -> None:
    async def scrape() -> str:
        async with Engine(sqlite_url) as engine:
            answer = page(engine)
            await engine.enqueue("nobody", {})
            while not (engine.counts().at and engine.glance().at):
                await asyncio.sleep(0.01)
            return answer("")[0].decode()

    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=asyncio.run(scrape()), capture_output=True, text=True, check=False
    )
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("qengine_")]
    assert complaints == []
    assert done.returncode in (0, 3), done.stderr  # 3: it has advice about other collectors' metrics
