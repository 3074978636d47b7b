"""A real browser, a real server, a real worker, on each database.

All of them live in the event loop of one thread, and so do the tests of this folder: a test is a coroutine that is run
there, and may use the engine beside the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from chromium import Chromium, find_chromium, why_not
from playwright.async_api import Browser
from stage import Stage, Visitor, playing

from qengine.testing import PostgresServer

TIMEOUT = 60.0
"""Seconds that a test may take."""


class Thread:
    """A thread with an event loop for the whole run."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="browser-tests", daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def __enter__(self) -> Thread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, Any], timeout: float = TIMEOUT) -> Any:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout), self.loop).result()

    @contextlib.contextmanager
    def within(self, context: contextlib.AbstractAsyncContextManager[Any]) -> Iterator[Any]:
        """Be within a context of that loop. One task enters and leaves it, as cancel scopes require."""
        entered: asyncio.Future[Any] = self.run(self._future())
        leave: asyncio.Event = self.run(self._event())

        async def stay() -> None:
            async with context as value:
                entered.set_result(value)
                await leave.wait()

        async def value() -> Any:
            await asyncio.wait([entered, task], return_when=asyncio.FIRST_COMPLETED)
            if not entered.done():
                await task
            return entered.result()

        async def start() -> asyncio.Task[None]:
            return asyncio.create_task(stay())

        task = self.run(start())
        try:
            yield self.run(value())
        finally:
            self.loop.call_soon_threadsafe(leave.set)
            self.run(self._ended(task))

    @staticmethod
    async def _future() -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    @staticmethod
    async def _event() -> asyncio.Event:
        return asyncio.Event()

    @staticmethod
    async def _ended(task: asyncio.Task[None]) -> None:
        await task


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the coroutine tests of this folder in the thread."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or "thread" not in pyfuncitem.funcargs:
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    pyfuncitem.funcargs["thread"].run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def thread() -> Iterator[Thread]:
    with Thread() as thread:
        yield thread


@pytest.fixture(scope="session")
def browser(thread: Thread) -> Iterator[Browser]:
    """One Chromium for the whole run."""
    path = find_chromium()
    if path is None:
        why_not()
    with thread.within(Chromium(path)) as browser:
        yield browser


@pytest.fixture(scope="session")
def sqlite_stage_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('browser') / 'queue.db'}"


@pytest.fixture(scope="session")
def postgres_stage_url(postgres_server: PostgresServer) -> Iterator[str]:
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def sqlite_stage(thread: Thread, browser: Browser, sqlite_stage_url: str) -> Iterator[Stage]:
    with thread.within(playing(sqlite_stage_url, browser)) as stage:
        yield stage


@pytest.fixture(scope="session")
def postgres_stage(thread: Thread, browser: Browser, postgres_stage_url: str) -> Iterator[Stage]:
    with thread.within(playing(postgres_stage_url, browser)) as stage:
        yield stage


@pytest.fixture(params=("sqlite", "postgres"))
def stage(request: pytest.FixtureRequest, thread: Thread) -> Stage:
    """A dashboard with its engine and worker, on each database; emptied of what an earlier test left."""
    found: Stage = request.getfixturevalue(f"{request.param}_stage")
    thread.run(found.clear())
    return found


@pytest.fixture
def visitor(thread: Thread, stage: Stage) -> Iterator[Visitor]:
    """Somebody who has opened the link, at a desk. What their browser complains of fails the test."""
    with thread.within(stage.visitor()) as visitor:
        yield visitor
