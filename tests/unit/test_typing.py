"""What a type checker makes of tasks: mypy --strict accepts the right calls, and rejects each wrong one where it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TASKS = """
import datetime as dt
from typing import Any, assert_type
from collections.abc import Coroutine

from tenacity import wait_exponential_jitter, wait_fixed

from qengine import Engine, JobContext, RetryPolicy
from qengine.job import Job

engine = Engine("sqlite:///app.db")


@engine.task("send_email", priority=4, timeout=30, max_attempts=3, max_concurrency=4, retry=wait_exponential_jitter(max=3600))
async def send_email(to: str, subject: str = "hi") -> str:
    return to


@engine.task()
async def enrich(ctx: JobContext, company_id: int) -> dict[str, int]:
    return {}


@engine.task(retry=wait_fixed(1))
def in_a_thread(n: int) -> int:
    return n


@engine.task(retry=RetryPolicy(wait=5))
def with_context(ctx: JobContext, n: int = 1) -> None: ...


@engine.task()
async def anything(value: Any) -> None: ...


@engine.task()
async def any_object(value: object, n: int = 1) -> None: ...


@engine.cron("*/5 8-18 * * 1-6", tz="Europe/Berlin", catch_up="skip")
@engine.cron("0 3 * * *")
@engine.task()
async def nightly() -> None: ...


def double(n: int) -> int:
    return n * 2


in_a_process = engine.task(executor="process")(double)
"""

GOOD = """
async def good(ctx: JobContext, tx: object) -> None:
    job = await send_email.enqueue(to="x", subject="y")
    assert_type(job, Job[str])
    assert_type(await job.wait(timeout=1), str)
    await send_email.enqueue("x", "y")
    await send_email.enqueue(to="x")
    soon = dt.datetime.now(dt.UTC)
    later = send_email.options(priority=1, delay=60, unique_key="k", timeout=9, max_attempts=5, queue="q", expires=60, conn=tx)
    assert_type(await later.enqueue(to="x"), Job[str])
    await send_email.options(at=soon, expires=soon, partition_key="p", headers={"traceparent": "x"}).enqueue(to="x")
    assert_type(await send_email.enqueue_many([{"to": "x"}, {"to": "y"}]), list[Job[str]])

    assert_type(await (await enrich.enqueue(company_id=3)).wait(), dict[str, int])
    await enrich.enqueue(3)
    await enrich.options(priority=1).enqueue(company_id=3)
    assert_type(await in_a_thread.enqueue(n=1), Job[int])
    assert_type(await in_a_process.enqueue(n=1), Job[int])
    await with_context.enqueue()
    await with_context.enqueue(n=3)
    await anything.enqueue(value=3)
    await anything.enqueue(3)
    await any_object.enqueue(value=3, n=2)
    await nightly.enqueue()

    assert_type(await send_email("x"), str)
    assert_type(await enrich(ctx, 3), dict[str, int])
    assert_type(in_a_thread(1), int)
    assert_type(in_a_process(1), int)
    with_context(ctx, n=1)
"""

BAD = """
async def bad(ctx: JobContext) -> None:
    await send_email.enqueue(too="x")
    await send_email.enqueue()
    await send_email.enqueue(to=3)
    await send_email.enqueue("x", "y", "z")
    await send_email.enqueue(to=None)
    await send_email.options().enqueue(too="x")
    await send_email.options(prio=1)
    await send_email.options(priority="high").enqueue(to="x")
    await send_email.options(at="tomorrow").enqueue(to="x")
    await enrich.enqueue()
    await enrich.enqueue(company_id="3")
    await enrich.enqueue(ctx, 3)
    await enrich.options().enqueue(company="3")
    await enrich(3)
    await in_a_thread.enqueue(n="1")
    await in_a_process.enqueue(m=1)
    in_a_thread("1")
    await send_email(3)
    await nightly.enqueue(1)
    await send_email.enqueue_many([1])
    engine.cron("* * * * *")(double)
    engine.cron("* * * * *", catch_up="some")
    engine.task(double)
    engine.task(retry="soon")
    engine.task(executor="fork")
    x: int = await (await send_email.enqueue(to="x")).wait()
"""


def errors(folder: Path, text: str) -> dict[int, str]:
    """What mypy --strict finds wrong: line and message."""
    (folder / "app.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", "app.py"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    found = {}
    for line in ran.stdout.splitlines():
        place = re.fullmatch(r"(\S+\.py):(\d+): error: (.*)", line)
        if place:
            assert place[1] == "app.py", line
            found.setdefault(int(place[2]), place[3])
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all, so that mypy reads qengine once."""
    return tmp_path_factory.mktemp("typed")


def test_right_calls_are_accepted(folder: Path) -> None:
    assert errors(folder, TASKS + GOOD) == {}


def test_each_wrong_call_is_rejected(folder: Path) -> None:
    text = TASKS + BAD
    lines = text.splitlines()
    first = lines.index("async def bad(ctx: JobContext) -> None:") + 2
    wrong = set(range(first, len(lines) + 1))
    found = errors(folder, text)
    assert {lines[n - 1] for n in wrong - found.keys()} == set()
    assert found.keys() == wrong
    assert 'Unexpected keyword argument "too"' in found[first]
