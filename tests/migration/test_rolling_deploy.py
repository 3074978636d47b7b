"""A rolling deploy: workers of this release run on while the next one migrates under them, and then beside it.

The next release is a copy of this one with one more migration, of the kind that CONTRIBUTING.md allows, and with a
statement that uses it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg
import pytest

import qengine
from qengine import Engine, SchemaError
from qengine.backends.migrations import load_migrations

pytestmark = pytest.mark.anyio
APP = Path(__file__).parent.parent / "acceptance" / "app.py"
SOURCE = Path(qengine.__file__).parent
NEXT = {
    "sqlite": """
        ALTER TABLE qengine_jobs ADD COLUMN release TEXT;
        ALTER TABLE qengine_jobs ADD COLUMN weight INTEGER NOT NULL DEFAULT 1 CHECK (weight > 0);
        CREATE INDEX qengine_jobs_release ON qengine_jobs (release) WHERE release IS NOT NULL;
        CREATE TABLE qengine_news (id INTEGER PRIMARY KEY) STRICT;
    """,
    "postgres": """
        ALTER TABLE {schema}.qengine_jobs ADD COLUMN release text;
        ALTER TABLE {schema}.qengine_jobs ADD COLUMN weight integer NOT NULL DEFAULT 1 CHECK (weight > 0);
        CREATE INDEX qengine_jobs_release ON {schema}.qengine_jobs (release) WHERE release IS NOT NULL;
        CREATE TABLE {schema}.qengine_news (id bigint PRIMARY KEY);
    """,
}


@pytest.fixture(scope="module")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the package of the next release."""
    folder = tmp_path_factory.mktemp("next")
    package = folder / "qengine"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, sql in NEXT.items():
        backend = package / "backends" / name
        number = load_migrations(f"qengine.backends.{name}")[-1].version + 1
        (backend / "migrations" / f"{number:04}_next.sql").write_text(sql)
        settling = [file for file in (backend / "sql").glob("settle_*.sql") if "status = 'completed'," in file.read_text()]
        assert settling
        for file in settling:
            file.write_text(file.read_text().replace("status = 'completed',", "status = 'completed', release = 'next',"))
    return folder


class Deploy:
    """Worker processes of both releases on one database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, release: Path | None = None) -> subprocess.Popen[str]:
        """A worker of this release, or of the one in that folder."""
        environment = dict(os.environ)
        if release is not None:
            environment["PYTHONPATH"] = str(release)
            # What a copy runs is not what is measured.
            environment.pop("COVERAGE_PROCESS_CONFIG", None)
        errors = (self.folder / f"errors-{len(self.processes)}").open("w")
        with closing(errors):
            process = subprocess.Popen(
                [sys.executable, str(APP), self.url, str(self.folder / "ledger"), "5"],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", self.errors()
        return process

    def errors(self) -> str:
        return "".join(file.read_text() for file in self.folder.glob("errors-*"))

    def runs(self, kind: str, process: subprocess.Popen[str] | None = None) -> Counter[int]:
        files = self.folder.glob(f"ledger-{process.pid if process else '*'}")
        lines = [line.split() for file in files for line in file.read_text().splitlines()]
        return Counter(int(words[1]) for words in lines if words[0] == kind)


@pytest.fixture
def deploy(url: str, tmp_path: Path) -> Iterator[Deploy]:
    found = Deploy(url, tmp_path)
    yield found
    for process in found.processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@asynccontextmanager
async def database(url: str) -> AsyncIterator[Any]:
    if url.startswith("sqlite"):
        async with aiosqlite.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=20) as conn:
            yield conn
    else:
        conn = await asyncpg.connect(url)
        try:
            yield conn
        finally:
            await conn.close()


async def fetched(conn: Any, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await (conn.fetch if hasattr(conn, "fetch") else conn.execute_fetchall)(sql)]


async def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.05)


async def test_old_and_new_workers_share_the_work(url: str, deploy: Deploy, next_release: Path) -> None:
    engine = Engine(url)
    async with engine, database(url) as conn:
        await conn.execute("CREATE TABLE effects (job bigint)")
        stop = asyncio.Event()
        ordered: Counter[str] = Counter()

        async def keep_ordering() -> None:
            """An application of this release, which never stops for the deploy."""
            while not stop.is_set():
                for kind in ("quick", "counted"):
                    await engine.enqueue(kind)
                    ordered[kind] += 1
                await engine.enqueue("slow", {"seconds": 0.05}, unique_key="one")
                await asyncio.sleep(0.005)

        ordering = asyncio.create_task(keep_ordering())
        old = deploy.start()
        await until(lambda: len(deploy.runs("quick", old)) > 30)
        new = await asyncio.to_thread(deploy.start, next_release)
        began = deploy.runs("quick", old)
        await until(lambda: len(deploy.runs("quick", new)) > 30 and len(deploy.runs("quick", old)) > len(began) + 30)
        stop.set()
        await ordering

        async def live() -> int:
            counts = (await engine.stats()).by_status
            return counts["pending"] + counts["processing"] + counts["failed"]

        end = time.monotonic() + 60
        old.terminate()
        new.terminate()
        assert [await asyncio.to_thread(process.wait, 30) for process in (old, new)] == [0, 0]
        last = await asyncio.to_thread(deploy.start, next_release)
        while await live() > len(await engine.jobs(type="tick", status="pending", limit=10)):
            assert time.monotonic() < end
            await asyncio.sleep(0.1)
        last.terminate()
        assert await asyncio.to_thread(last.wait, 30) == 0

        assert "Traceback" not in deploy.errors(), deploy.errors()
        runs = deploy.runs("quick")
        assert (len(runs), set(runs.values())) == (ordered["quick"], {1})
        effects = Counter(row[0] for row in await fetched(conn, "SELECT job FROM effects"))
        assert (len(effects), set(effects.values())) == (ordered["counted"], {1})
        assert set(deploy.runs("tick").values()) == {1}
        by_release = dict(await fetched(conn, "SELECT release, count(*) FROM qengine_jobs WHERE type = 'quick' GROUP BY release"))
        assert set(by_release) == {None, "next"}
        assert await fetched(conn, "SELECT DISTINCT weight FROM qengine_jobs") == [(1,)]

        # The desk of this release, too; only what is started anew has to be of the new one.
        [dead] = await engine.jobs(type="quick", limit=1)
        assert await engine.requeue(dead.id) == 1
        assert await engine.cancel(dead.id) == 1
        assert await engine.delete(dead.id) == 1
        with pytest.raises(SchemaError, match="upgrade qengine"):
            await Engine(url).open()
