"""From every older version of the schema, with rows in it, to this one; and what workers of then go on writing."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import aiosqlite
import asyncpg
import pytest

from qengine import Engine, Schedule, WorkerInfo
from qengine.backends.migrations import load_migrations
from qengine.testing import FakeClock

pytestmark = pytest.mark.anyio

LATEST = load_migrations("qengine.backends.sqlite")[-1].version
AT = dt.datetime(2040, 1, 2, 12, 0, tzinfo=dt.UTC)
STATUSES = ("pending", "processing", "completed", "failed", "dead", "cancelled")
EACH_STATUS = " UNION ALL SELECT ".join(f"'{status}' AS status" for status in STATUSES)


class Older:
    """A database of an older version, and the rows that its release writes, which name no column of later ones."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lite = url.startswith("sqlite")
        self.at = f"{AT.timestamp()}" if self.lite else f"'{AT.isoformat()}'::timestamptz"

    async def migrate(self, version: int) -> None:
        """Up to that version, on an empty database."""
        package = f"qengine.backends.{'sqlite' if self.lite else 'postgres'}"
        steps = load_migrations(package, {"{schema}": "public"})[:version]
        note = f"INSERT INTO qengine_meta (key, value) VALUES ('schema_version', '{version}')"
        await self.execute(*[step.sql for step in steps], note)

    async def write(self, number: int) -> None:
        """Jobs in every status, and a row in every other table."""
        ended, held = f"CASE WHEN status IN ('completed', 'dead', 'cancelled') THEN {self.at} END", "status = 'processing'"
        names = f"'[\"a\"]', NULL, 4, {number}" if self.lite else f"ARRAY['a'], NULL, 4, {number}"
        await self.execute(
            "INSERT INTO qengine_jobs (queue, type, priority, payload, max_attempts, status, last_error, scheduled_for, rank,"
            " locked_until, locked_by, lease_token, created_at, updated_at, completed_at)"
            f" SELECT 'default', 'a', 4, '{{\"n\": {number}}}', 3, status, 'ValueError: x', {self.at},"
            f" CASE WHEN status = 'pending' THEN 1 END, CASE WHEN {held} THEN {self.at} END,"
            f" CASE WHEN {held} THEN 'w' END, 7, {self.at}, {self.at}, {ended}"
            f" FROM (SELECT {EACH_STATUS}) AS them",
            f"INSERT INTO qengine_errors (job_id, attempt, worker, started_at, ended_at, error, traceback)"
            f" SELECT id, 1, 'w', {self.at}, {self.at}, 'ValueError: x', NULL FROM qengine_jobs WHERE status = 'dead'",
            "INSERT INTO qengine_workers (id, host, pid, version, types, queues, concurrency, running, started_at, heartbeat)"
            f" VALUES ('w{number}', 'h', 1, '0', {names}, {self.at}, {self.at})",
            "INSERT INTO qengine_schedules (name, type, cron, tz, catch_up, next_fire, last_fire)"
            f" VALUES ('s{number}', 'a', '0 6 * * *', 'UTC', 'one', {self.at}, NULL)",
            f"INSERT INTO qengine_pauses (kind, name, until) VALUES ('type', 't{number}', NULL)",
        )

    async def execute(self, *scripts: str) -> None:
        if self.lite:
            async with aiosqlite.connect(self.url.removeprefix("sqlite:///")) as conn:
                for script in scripts:
                    await conn.executescript(script)
            return
        conn = await asyncpg.connect(self.url)
        try:
            for script in scripts:
                await conn.execute(script)
        finally:
            await conn.close()


@pytest.mark.parametrize("version", range(1, LATEST))
async def test_rows_of_an_older_version(url: str, version: int) -> None:
    older = Older(url)
    await older.migrate(version)
    await older.write(1)
    engine = Engine(url, clock=FakeClock(AT), migrate=False)
    assert len(await engine.migrate()) == LATEST - version
    async with engine:
        jobs = await engine.jobs()
        assert [(job.status, job.payload, job.lease_token) for job in jobs] == [(status, {"n": 1}, 7) for status in STATUSES]
        assert [[error.error for error in await engine.errors(job.id)] for job in jobs] == [[], [], [], [], ["ValueError: x"], []]
        [worker] = await engine.workers()
        assert replace(worker, types=list(worker.types)) == WorkerInfo("w1", "h", 1, "0", ["a"], None, 4, 1, AT, AT, None)
        assert await engine.schedules() == [Schedule("s1", "a", "0 6 * * *", "UTC", "one", AT, None, paused=False)]
        assert [pause.name for pause in await engine.pauses()] == ["t1"]
        assert [finding for finding in await engine.diagnose() if finding.check == "schema" and finding.level != "ok"] == []

        # A worker of the release before, which runs on, writes as it did.
        await older.write(2)
        assert len((await engine.search(text='": 2')).jobs) == len(STATUSES)
        await engine.pause_schedule("s2")
        assert [one.paused for one in await engine.schedules()] == [False, True]
        assert len(await engine.audit_trail()) == 1
