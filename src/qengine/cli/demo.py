"""`qengine demo`: a short pipeline on an SQLite file of its own, with priorities, retries and a dead letter to be seen."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from tenacity import wait_fixed

from qengine import Engine, Status
from qengine.cli.errors import CommandError, ExitCode
from qengine.cli.output import console, table
from qengine.cli.text import duration, one_line

ENRICHMENTS, MAILS, REPLIES = 24, 8, 6
CONCURRENCY = 3
ENRICHMENT_TAKES = 0.3
DEFERRALS = 2
"""How often the mail server defers each mail before it takes it."""
RETRY_AFTER = 0.5
WRONG = "nobody@example.com"
LOOK_EVERY = 0.2
GIVE_UP_AFTER = 90.0

INTRODUCTION = f"""\
{ENRICHMENTS} slow enrichments (priority 7) and {MAILS} mails (priority 4) wait; {CONCURRENCY} jobs run at a time.
The mail server defers each mail {DEFERRALS} times, and one address does not exist. {REPLIES} replies (priority 1) come last.
"""


@dataclass
class World:
    """What the handlers act upon, in place of a mail server and of web sites."""

    done: list[str] = field(default_factory=list)
    """The type of each job that was done, in order."""
    tries: Counter[str] = field(default_factory=Counter)
    repaired: bool = False

    def finished(self, type: str) -> None:
        """Note that a job of this type was done."""
        self.done.append(type)


def declare(engine: Engine, world: World) -> None:
    """Register the demo's three tasks."""

    @engine.task("process_reply", priority=1)
    async def process_reply(sender: str) -> None:
        world.finished("process_reply")

    @engine.task("send_email", priority=4, max_attempts=DEFERRALS + 1, retry=wait_fixed(RETRY_AFTER))
    async def send_email(to: str) -> str:
        world.tries[to] += 1
        if to == WRONG and not world.repaired:
            raise ValueError("550 no such user here")
        if world.tries[to] <= DEFERRALS:
            raise ConnectionError("451 busy, try again later")
        world.finished("send_email")
        return f"250 accepted for {to}"

    @engine.task("enrich_website", priority=7)
    async def enrich_website(site: str) -> None:
        await asyncio.sleep(ENRICHMENT_TAKES)
        world.finished("enrich_website")


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the database file, to look at it with the other commands.")] = False,
) -> int:
    """Watch a small pipeline run for some seconds: priorities, retries, a dead letter. Needs nothing and leaves nothing."""
    logging.getLogger("qengine").setLevel(logging.CRITICAL)  # the failures are meant, and told below
    folder = Path(tempfile.mkdtemp(prefix="qengine-demo-"))
    url = f"sqlite:///{folder / 'demo.db'}"
    out = console()
    try:
        complete = asyncio.run(_run(url, out))
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if keep:
        out.print(f"The database is kept; look at it with: qengine jobs {url}", soft_wrap=True)
    return ExitCode.OK if complete else ExitCode.FAILED


async def _run(url: str, out: Console) -> bool:
    world = World()
    engine = Engine(url)
    declare(engine, world)
    async with engine:
        out.print(INTRODUCTION)
        for n in range(ENRICHMENTS):
            await engine.enqueue("enrich_website", {"site": f"site-{n}.example.com"})
        for n in range(MAILS - 1):
            await engine.enqueue("send_email", {"to": f"person-{n}@example.com"})
        wrong = await engine.enqueue("send_email", {"to": WRONG})
        async with engine.worker(concurrency=CONCURRENCY, prefetch=0):
            await asyncio.sleep(ENRICHMENT_TAKES)
            for n in range(REPLIES):
                await engine.enqueue("process_reply", {"sender": f"person-{n}@example.com"})
            await _watch(engine, out)
            _tell_order(world, out)
            await _mend(engine, world, wrong.id, out)
        counts = (await engine.stats()).by_status
    complete = counts[Status.COMPLETED] == sum(counts.values()) == len(world.done) == ENRICHMENTS + MAILS + REPLIES
    out.print("All jobs are completed, each once." if complete else f"Not all went as it should: {dict(counts)}")
    return complete


async def _watch(engine: Engine, out: Console) -> None:
    """Show the counts until nothing waits or runs any more."""
    try:
        async with asyncio.timeout(GIVE_UP_AFTER):
            with _live(out) as show:
                while True:
                    stats = await engine.stats()
                    show(stats.by_type)
                    if not any(stats.by_status[s] for s in (Status.PENDING, Status.PROCESSING, Status.FAILED)):
                        return
                    await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        raise CommandError(
            f"the demo did not end within {duration(GIVE_UP_AFTER)}; run it on a machine that is less busy", ExitCode.FAILED
        ) from None


@contextmanager
def _live(out: Console) -> Iterator[Callable[[Mapping[str, Mapping[str, int]]], None]]:
    """On a terminal, a table that changes in place; else a line whenever the counts have changed."""
    if out.is_terminal:
        with Live(console=out, auto_refresh=False) as live:
            yield lambda by_type: live.update(_counts(by_type), refresh=True)
        return
    last = ""

    def line(by_type: Mapping[str, Mapping[str, int]]) -> None:
        nonlocal last
        text = "; ".join(f"{name}: {_in_words(counts)}" for name, counts in sorted(by_type.items()))
        if text != last:
            out.print(text)
        last = text

    yield line


def _counts(by_type: Mapping[str, Mapping[str, int]]) -> Table:
    statuses = [str(status) for status in Status]
    return table(
        ["type", *statuses], [[name, *(counts[s] for s in statuses)] for name, counts in sorted(by_type.items())], right=statuses
    )


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


def _tell_order(world: World, out: Console) -> None:
    last_reply = max(place for place, name in enumerate(world.done) if name == "process_reply")
    waiting = world.done[last_reply:].count("enrich_website")
    out.print(f"\nThe replies were enqueued last and done while {waiting} of {ENRICHMENTS} enrichments still waited or ran.")
    out.print(
        f"Each of the {MAILS - 1} good mails was accepted at attempt {DEFERRALS + 1}, {RETRY_AFTER:g} s after the one before."
    )


async def _mend(engine: Engine, world: World, job_id: int, out: Console) -> None:
    """Show the dead letter with its history, repair its cause and requeue it."""
    job = await engine.job(job_id)
    out.print(f"Job {job_id} is {job.status} ({job.dead_reason}). Its history:")
    for error in await engine.errors(job_id):
        out.print(f"  attempt {error.attempt}: {one_line(error.error)}")
    world.repaired = True
    await engine.requeue([job_id])
    answer: Any = await job.wait(timeout=GIVE_UP_AFTER)
    out.print(f"The address is put right and the job requeued: {answer}.")
