"""Pytest fixtures for applications that use qengine. Pytest finds them by itself once qengine is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from qengine.engine import Engine


class EngineMaker(Protocol):
    """What the fixture `qengine_engine` gives."""

    def __call__(self, app: Engine | None = None, **options: Any) -> Engine:
        """An engine on a new SQLite file; see `qengine_engine`."""
        ...


@pytest.fixture
def qengine_engine(tmp_path: Path) -> Iterator[EngineMaker]:
    """A maker of engines on throw-away SQLite files, to run handlers with `drain()`.

    Called with the engine of an application it gives that engine itself, which for the length of the test points to a new
    file: its tasks enqueue there, and its handlers run from there. The engine must not be open at that moment.

        async def test_welcome(qengine_engine):
            async with qengine_engine(app.engine) as engine:
                job = await app.send_email.enqueue(to="a@example.com")
                await engine.drain()
                assert (await engine.job(job.id)).status == "completed"

    Called without one it gives a new engine with these `options` (`clock=FakeClock()`, for one), still without tasks.
    """
    from qengine.engine import Engine

    made = 0
    with ExitStack() as stack:

        def make(app: Engine | None = None, **options: Any) -> Engine:
            nonlocal made
            made += 1
            url = f"sqlite:///{tmp_path / f'qengine-{made}.db'}"
            return Engine(url, **options) if app is None else stack.enter_context(app.rebound(url, **options))

        yield make
