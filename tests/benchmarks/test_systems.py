"""The systems that are measured: what runs them, and what is said of one that cannot run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import campaign, environments, page, processes  # noqa: E402
from benchmarks.campaign import Settings  # noqa: E402
from benchmarks.catalogue import CEILINGS, PEERS, Entry  # noqa: E402
from benchmarks.measures import drain_figures, pickup_figures  # noqa: E402
from benchmarks.orders import Order  # noqa: E402

PIP_SAYS = """WARNING: Location 'file:///x' is ignored
ERROR: Could not find a version that satisfies the requirement nothing==1
ERROR: No matching distribution found for nothing==1
hint: See above for details.
"""


def _peer(name: str) -> Entry:
    return next(entry for entry in PEERS if entry.name == name)


def _failing(tmp_path: Path, text: str) -> list[str]:
    script = tmp_path / "installer.py"
    script.write_text(f"import sys; sys.exit({text!r})")
    return [sys.executable, str(script)]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            PIP_SAYS,
            "Could not find a version that satisfies the requirement nothing==1; No matching distribution found for nothing==1",
        ),
        ("npm error code E404\nnpm error 404 Not Found", "code E404; 404 Not Found"),
        ("killed", "killed"),
    ],
)
def test_an_installer_that_fails_says_why(tmp_path: Path, said: str, reason: str) -> None:
    with pytest.raises(processes.SubjectFailed) as failure:
        environments._run(_failing(tmp_path, said), "install")
    assert str(failure.value) == f"install failed: {reason}"


def test_without_node_its_peer_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(processes.SubjectFailed, match=r"Node\.js was not found"):
        environments.python(_peer("graphile-worker"))


def test_a_system_that_cannot_be_installed_is_shown_with_the_reason(tmp_path: Path) -> None:
    asked = []

    def python(entry: Entry) -> str:
        asked.append(entry.name)
        raise processes.SubjectFailed("pip install failed: no such wheel")

    settings = Settings(places=("sqlite",), measures=("enqueue-one", "drain-100"), rounds=1, peers=True, names=("honker",))
    outcome = campaign.carry_out(settings, python)
    assert asked == ["honker"]
    assert outcome.samples == []
    assert outcome.failures == {"sqlite, honker": "pip install failed: no such wheel"}
    assert "- sqlite, honker: pip install failed: no such wheel" in page.write(outcome, tmp_path).read_text()


@pytest.mark.parametrize("handler", ["noop", "nap"])
def test_the_bare_event_loop_runs_each_job_once(handler: str) -> None:
    order = Order("sqlite:///", "drain", jobs=300, handler=handler, concurrency=100)
    results = processes.run(sys.executable, "benchmarks.ceilings.event_loop", [order])
    assert results[0]["ran"] == 300
    assert drain_figures(results)["rate"] > 0


def test_a_bare_notification_goes_round(postgres_url: str) -> None:
    order = Order(postgres_url, "pickup", kind="both", handler="stamp", jobs=5, gap=0.001)
    results = processes.run(sys.executable, "benchmarks.ceilings.bare_notify", [order])
    assert len(results[0]["latencies"]) == 5
    assert 0 < pickup_figures(results)["p50"] < 1000


def test_ceilings_and_peers_are_told_apart_by_name_and_place() -> None:
    systems = [(entry.name, entry.place) for entry in (*CEILINGS, *PEERS)]
    assert len(set(systems)) == len(systems)
    assert all(entry.measures for entry in CEILINGS)
