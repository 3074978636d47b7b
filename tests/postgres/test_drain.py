"""Draining, while another loop of the same worker has in hand what is still to come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qengine import Engine
from qengine.backends.postgres import PostgresBackend
from qengine.backends.protocol import Demand
from qengine.testing import FakeClock

pytestmark = pytest.mark.anyio


async def test_a_job_that_is_just_being_taken_back_is_waited_for(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    engine = Engine(postgres_url, clock=clock, backend_options={"listen": False})

    @engine.task()
    async def step() -> None: ...

    async with engine:
        await step.enqueue()
        await engine.backend.claim(Demand("dead", {"step": 1}, 1, lease=60))
        clock.advance(61)
        backend = engine.backend
        assert isinstance(backend, PostgresBackend)
        fetch = backend._fetch
        late = 0

        async def answered_late(verb: str, /, **values: Any) -> Any:
            nonlocal late
            rows = await fetch(verb, **values)
            if verb == "reclaim" and rows and not late:
                late += 1
                await asyncio.sleep(0.5)  # it has happened, and this process does not know so yet
            return rows

        monkeypatch.setattr(backend, "_fetch", answered_late)
        assert await engine.drain() == 1
        assert late == 1
