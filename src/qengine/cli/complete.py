"""What the shell is offered when Tab is pressed: names that are known to the database at hand.

It is asked a few cheap questions and may not take long. Whatever goes wrong, nothing is offered: a message in the middle of
somebody's command line would be worse.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

import typer

from qengine import Engine
from qengine.cli.groups import short_name
from qengine.cli.target import find_engine
from qengine.cli.text import one_line

T = TypeVar("T")

ANSWERS_WITHIN = 2.0
"""Seconds that the database has."""
LATEST = 200
"""Jobs that are looked at for names, the latest."""
GROUPS = 100
"""Groups of failures that are offered, the largest."""


def complete_types(context: typer.Context, incomplete: str) -> list[str]:
    """Types of jobs that are declared, served, waiting or were enqueued lately."""
    return sorted(name for name in _known(context, _types) if name.startswith(incomplete))


def complete_queues(context: typer.Context, incomplete: str) -> list[str]:
    """Queues that are served or were used lately."""
    return sorted(name for name in _known(context, _queues) if name.startswith(incomplete))


def complete_groups(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The short names of groups of failures, each with its type and error."""

    async def groups(engine: Engine) -> list[tuple[str, str]]:
        return [(short_name(g), one_line(f"{g.type}: {g.error}", 60)) for g in await engine.failures(GROUPS)]

    return [(name, about) for name, about in _known(context, groups) if name.startswith(incomplete)]


def complete_schedules(context: typer.Context, incomplete: str) -> list[str]:
    """The names of the cron schedules."""

    async def schedules(engine: Engine) -> list[str]:
        return [schedule.name for schedule in await engine.schedules()]

    return [name for name in _known(context, schedules) if name.startswith(incomplete)]


async def _types(engine: Engine) -> set[str]:
    served = {name for worker in await engine.workers() for name in worker.types}
    stored = {job.type for job in (await engine.search(limit=LATEST)).jobs}
    return {*engine.registry.names, *served, *stored, *await engine.oldest_due()}


async def _queues(engine: Engine) -> set[str]:
    served = {name for worker in await engine.workers() for name in worker.queues or ()}
    return served | {job.queue for job in (await engine.search(limit=LATEST)).jobs}


def _known(context: typer.Context, ask: Callable[[Engine], Awaitable[Iterable[T]]]) -> list[T]:
    """The answer of the database that the command line names so far, or nothing."""

    async def asked(engine: Engine) -> list[T]:
        async with asyncio.timeout(ANSWERS_WITHIN), engine:
            return list(await ask(engine))

    where = next(_places(context), None)
    with contextlib.suppress(Exception), _silence():
        return asyncio.run(asked(find_engine(where)))
    return []


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable()
    try:
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
            yield
    finally:
        logging.disable(before)


def _places(context: typer.Context) -> Iterator[str]:
    above: Any = context
    while above is not None:
        yield from (str(above.params[name]) for name in ("where", "dsn") if above.params.get(name))
        if "where" in above.params:
            # An option that has no value yet keeps what stands before it from being taken apart.
            yield from (word for word in above.args if ":" in word)
        above = above.parent
    if url := os.environ.get("QENGINE_URL"):
        yield url
