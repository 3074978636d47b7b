"""The floor breaks when a verb becomes slow, and then tells which."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import floor
from qengine.backends import open_backend
from qengine.testing import PostgresServer

SOME = {("enqueue", 100): 0.0, ("claim", 100): 0.2, ("settle", 100): 0.0, ("enqueue", 1): 0.0}
"""Only the claim is judged: what else runs on this machine must not decide."""


def sleepy(url: str) -> Any:
    """A backend whose claim has become slow."""
    backend: Any = open_backend(url)
    claim = backend.claim

    async def claim_later(demand: Any) -> Any:
        await asyncio.sleep(0.05)
        return await claim(demand)

    backend.claim = claim_later
    return backend


def test_a_verb_that_became_slow_breaks_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(floor, "FLOORS", {"sqlite": SOME})
    monkeypatch.setattr(floor, "WARM_UP", 2)
    monkeypatch.setattr(floor, "open_backend", sleepy)
    with pytest.raises(typer.Exit) as end:
        floor.floor(["sqlite"], rounds=10)
    assert end.value.exit_code == 1
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines() if "too slow" in line] == ["claim"]


def test_one_that_is_fast_enough_does_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(floor, "FLOORS", {"sqlite": dict.fromkeys(SOME, 0.0)})
    with pytest.raises(typer.Exit) as end:
        floor.floor(["sqlite"], rounds=1)
    assert end.value.exit_code == 0
    assert "too slow" not in capsys.readouterr().out


@pytest.mark.anyio
async def test_both_sides_do_the_same_work(postgres_server: PostgresServer, postgres_url: str) -> None:
    """A claim that came back short, or a settlement that did not hold, would be no measure: it is an error."""
    their_url = postgres_server.create_database()
    try:
        speeds = await floor.measure("postgres", postgres_url, their_url, rounds=2)
    finally:
        postgres_server.drop_database(their_url)
    assert [(speed.verb, speed.count) for speed in speeds] == list(floor.FLOORS["postgres"])
    assert all(speed.ours > 0 and speed.theirs > 0 for speed in speeds)
