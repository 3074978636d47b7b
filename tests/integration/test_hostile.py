"""Input that nobody sane would give, and rows that somebody has edited: refused, or kept as they are; nobody else is hurt.

Files that are no database, or read-only, or a folder: `tests/sqlite/test_files.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qengine import BackendUnavailable, ConfigurationError, Engine, PayloadError, QEngineError, SchemaError
from qengine.testing.conformance.suite import HOSTILE

pytestmark = pytest.mark.anyio
SEVERAL = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
REFUSED = (ConfigurationError, PayloadError)

TEXTS = st.text(st.characters(codec=None), max_size=30) | st.sampled_from(
    [*HOSTILE, "\0", "a\0b", "\ud800", "x" * 300, "x" * 600, ""]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 1e-9, 1e10, 1e300, 2**31, 2**63, 10**400, True])
ENDS_OF_TIME = [
    dt.datetime.max,
    dt.datetime.min.replace(tzinfo=dt.UTC),
    dt.datetime.max.replace(tzinfo=dt.UTC),
    dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-23))),
]
MOMENTS = st.datetimes(timezones=st.none() | st.timezones()) | st.sampled_from(ENDS_OF_TIME)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec=None), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


async def given_or_refused(engine: Engine, type: Any, payload: Any, **options: Any) -> None:
    """The job is stored as it was asked for, or refused by name with nothing stored; then all upkeep still works."""
    before = (await engine.stats()).by_status
    try:
        job = await engine.enqueue(type, payload, **options)
    except REFUSED as error:
        str(error).encode()
        assert (await engine.stats()).by_status == before
        return
    found = await engine.job(job.id)
    assert found.type == type
    assert found.payload == payload
    assert (found.queue, found.unique_key, found.partition_key) == (
        options.get("queue") or "default",
        options.get("unique_key"),
        options.get("partition_key"),
    )
    assert found.headers == options.get("headers")
    assert found.scheduled_for == job.scheduled_for
    assert job.id in [one.id for one in await engine.jobs(type=type, queue=found.queue, newest_first=True)]
    backend = engine.backend
    await backend.next_deadline()
    await backend.promote_due(100)
    await backend.bury_expired(100)
    assert await engine.delete(job.id) == 1


@SEVERAL
@given(type=TEXTS, queue=TEXTS, unique_key=st.none() | TEXTS, partition_key=st.none() | TEXTS)
@example(type="'; DROP TABLE qengine_jobs; --", queue='a"b', unique_key="\\u0000", partition_key="%s")
async def test_names(url: str, **names: Any) -> None:
    async with Engine(url) as engine:
        await given_or_refused(engine, names.pop("type"), {}, **names)


@SEVERAL
@given(payload=st.dictionaries(st.text(st.characters(codec=None), max_size=5), VALUES, max_size=3), headers=st.none() | VALUES)
@example(payload={"deep": None}, headers={"a": "\0"})
@example(payload={"n": 2**64}, headers=None)
async def test_payloads(url: str, payload: Any, headers: Any) -> None:
    async with Engine(url) as engine:
        await given_or_refused(engine, "a", payload, headers=headers)


@pytest.mark.parametrize("depth", [30, 1_000, 100_000])
async def test_depth(url: str, depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    async with Engine(url) as engine:
        try:
            job = await engine.enqueue("a", {"deep": value})
        except PayloadError:
            assert await engine.jobs() == []
        else:
            assert str((await engine.job(job.id)).payload).count("[") == depth


@pytest.mark.parametrize("size", [1_000_000, 2_000_000])
async def test_size(url: str, size: int) -> None:
    async with Engine(url) as engine:
        await given_or_refused(engine, "a", {"text": "ä" * (size // 2)})
        with pytest.raises(REFUSED):
            await engine.enqueue("a" * size)


@SEVERAL
@given(
    delay=st.none() | NUMBERS,
    at=st.none() | MOMENTS,
    expires=st.none() | NUMBERS | MOMENTS,
    timeout=st.none() | NUMBERS,
    priority=st.none() | NUMBERS,
    max_attempts=st.none() | NUMBERS,
)
@example(delay=None, at=dt.datetime.max.replace(tzinfo=dt.UTC), expires=None, timeout=None, priority=None, max_attempts=None)
@example(delay=1e10, at=None, expires=1e10, timeout=1e10, priority=10, max_attempts=2**31 - 1)
async def test_times_and_numbers(url: str, **options: Any) -> None:
    async with Engine(url) as engine:
        await given_or_refused(engine, "a", {}, **options)


@pytest.mark.parametrize("name", ["delay", "expires", "timeout", "at"])
async def test_a_job_at_the_end_of_time_hurts_nobody(url: str, name: str) -> None:
    engine = Engine(url)

    @engine.task()
    async def step() -> int:
        return 1

    last = dt.datetime(9998, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    async with engine, engine.worker():
        far = await engine.enqueue("step", **{name: last if name == "at" else 1e10})
        other = await step.enqueue()
        assert await other.wait(timeout=10) == 1
        await engine.pause(type="other", until=1e300)
        assert (await engine.job(far.id)).status == ("pending" if name in ("delay", "at") else "completed")
        await engine.stats()


# -- rows that were edited by hand

COMMON: dict[str, list[str]] = {
    "queue": ["''", "'it''s'", "' '"],
    "type": ["'nobody'", "''", "'STEP'"],
    "priority": ["1", "10"],
    "status": ["'processing'", "'completed'", "'failed'", "'dead'", "'cancelled'"],
    "attempts": ["-7", "1000", "2147483647"],
    "max_attempts": ["0", "-1", "2147483647"],
    "crashes": ["-3", "2", "1000", "2147483647"],
    "last_error": ["''", "'x'"],
    "error_group": ["''", "'x'"],
    "dead_reason": ["'because'"],
    "locked_by": ["'nobody'"],
    "lease_token": ["-5", "1000000000000000"],
    "unique_key": ["''", "'k'"],
    "partition_key": ["''"],
    "timeout": ["-1", "0", "1e308"],
    "payload": [
        "'null'",
        "'[]'",
        "'7'",
        """'{"n": 1e400}'""",
        """'{"m": 1}'""",
        r"""'{"n": "\ud800"}'""",
        r"""'{"n": "\u0000"}'""",
    ],
    "result": ["'[]'", r"""'"\ud800"'"""],
    "progress": ["'7'", "'[]'"],
    "checkpoint": ["'7'", r"""'"\ud800"'"""],
    "headers": ["'7'", "'[]'", """'{"a": 1}'"""],
}
JSON = ("payload", "result", "progress", "checkpoint", "headers")
TIMES = ("scheduled_for", "locked_until", "expires_at", "created_at", "updated_at", "started_at", "completed_at")
EDITS: dict[str, dict[str, list[str]]] = {
    "sqlite": {
        **COMMON,
        **{column: [*COMMON[column], "'no json'", "''", "CAST(x'ff00' AS TEXT)"] for column in JSON},
        **{column: ["0", "-1", "-1e300", "1e300", "9e999", "1e12"] for column in TIMES},
        "rank": ["-9e999", "1e300", "9e999", "NULL"],
        "last_error": ["CAST(x'ff00' AS TEXT)"],
        "locked_by": ["CAST(x'ff00' AS TEXT)"],
        **{column: [*COMMON[column], "9223372036854775807"] for column in ("attempts", "max_attempts", "crashes")},
        "timeout": [*COMMON["timeout"], "9e999"],
    },
    "postgresql": {
        **COMMON,
        **{column: ["'infinity'", "'-infinity'", "'294276-12-31 23:59:59+00'", "'4713-01-01 00:00+00 BC'"] for column in TIMES},
        "rank": ["'-infinity'", "'infinity'", "'NaN'", "NULL"],
        "timeout": [*COMMON["timeout"], "'infinity'", "'NaN'"],
    },
}  # fmt: skip
CASES = [(kind, column) for kind, columns in EDITS.items() for column in columns]


@asynccontextmanager
async def database(url: str) -> AsyncIterator[Any]:
    if url.startswith("sqlite"):
        async with aiosqlite.connect(url.removeprefix("sqlite:///"), isolation_level=None) as conn:
            yield conn
    else:
        conn = await asyncpg.connect(url)
        try:
            yield conn
        finally:
            await conn.close()


@pytest.mark.parametrize(("kind", "column"), CASES, ids=["-".join(case) for case in CASES])
async def test_an_edited_row_hurts_nobody_else(
    kind: str, column: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    url: str = request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_url")
    engine = Engine(url, lease=30)

    @engine.task()
    async def step(n: int) -> int:
        return n

    async with engine, database(url) as conn:
        edited = await step.enqueue_many([{"n": -1} for _ in EDITS[kind][column]])
        for job, value in zip(edited, EDITS[kind][column], strict=True):
            with contextlib.suppress(sqlite3.IntegrityError, asyncpg.CheckViolationError, asyncpg.DataError):
                await conn.execute(f"UPDATE qengine_jobs SET {column} = {value} WHERE id = {job.id}")
        await step.options(delay=0.1).enqueue(n=0)
        others = await step.enqueue_many([{"n": n} for n in range(20)])
        with caplog.at_level(logging.WARNING, "qengine"):
            async with engine.worker(concurrency=4):
                for n, job in enumerate(others):
                    assert await job.wait(timeout=15) == n
                await asyncio.sleep(0.3)
        assert "restarted" not in caplog.text
        assert "outside its handler" not in caplog.text
        # What people do at the desk works on them too.
        ids = [job.id for job in edited]
        assert [job.id for job in await engine.jobs(limit=100) if job.id in ids] == ids
        for job_id in ids:
            await engine.job(job_id)
        await engine.stats()
        await engine.failures()
        await engine.requeue(ids)
        await engine.cancel(ids)
        assert await engine.delete(ids) == len(ids)


async def test_counters_at_their_end_do_not_stop_the_taking_over(url: str) -> None:
    async with Engine(url, lease=0.5) as engine, database(url) as conn:
        job = await engine.enqueue("a")
        past = "1" if url.startswith("sqlite") else "'2001-01-01 00:00:00+00'"
        await conn.execute(
            "UPDATE qengine_jobs SET status = 'processing', rank = NULL, crashes = 2147483647, attempts = 2147483647, "
            f"locked_by = 'w', locked_until = {past}"
        )
        await engine.drain()
        found = await engine.job(job.id)
        assert (found.status, found.dead_reason) == ("dead", "crash_loop")


# -- what is no database of ours


@asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[str]:
    """The address of a server that answers every first message with this, or hangs up."""

    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await reader.read(1024)
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
                    while await reader.read(1024):
                        continue
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.create_task(serve(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\nwhat?", b"", None, b"\xff" * 100], ids=["http", "silent", "hangs up", "noise"]
)
async def test_a_server_that_speaks_another_protocol(answer: bytes | None) -> None:
    async with server(answer) as address:
        engine = Engine(f"postgresql://me:s3cret@{address}/db?sslmode=disable&connect_timeout=1")
        with pytest.raises(QEngineError) as refused:
            await engine.open()
        assert "s3cret" not in told(refused.value)
        with pytest.raises(ConfigurationError, match="not open"):
            await engine.stats()


def told(error: BaseException | None) -> str:
    """All that is shown of an error when it is logged."""
    import traceback

    return "" if error is None else "".join(traceback.format_exception(error))


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


@pytest.mark.parametrize("code", ["28P01", "28000", "53300"])
async def test_a_password_is_shown_nowhere(
    code: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = b"SFATAL\0C" + code.encode() + b'\0Mpassword authentication failed for user "me"\0\0'
    asks = message(b"R", (3).to_bytes(4, "big"))
    with caplog.at_level(logging.DEBUG):
        async with server(asks + message(b"E", refusal)) as address:
            engine = Engine(f"postgresql://me:s3cret%40x@{address}/db?sslmode=disable&connect_timeout=2")
            with pytest.raises((ConfigurationError, BackendUnavailable)) as refused:
                await engine.open()
    everything = told(refused.value) + caplog.text + repr(engine) + "".join(capsys.readouterr())
    assert "s3cret" not in everything
    assert "password authentication failed" in str(refused.value)


async def test_a_database_of_a_newer_release_is_refused_and_left_alone(url: str) -> None:
    engine = Engine(url)
    async with engine, database(url) as conn:
        await engine.enqueue("a")
        await conn.execute("UPDATE qengine_meta SET value = '999' WHERE key = 'schema_version'")
    for migrate in (True, False):
        with pytest.raises(SchemaError, match=r"999.*upgrade qengine"):
            await Engine(url, migrate=migrate).open()
    async with database(url) as conn:
        rows = await (conn.fetch if hasattr(conn, "fetch") else conn.execute_fetchall)("SELECT value FROM qengine_meta")
        assert [tuple(row) for row in rows] == [("999",)]
