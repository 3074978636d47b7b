"""The tasks of the queue that is on show, and jobs in every state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenacity import wait_fixed

from qengine import Engine, Job

HOSTILE = '</pre></textarea></title><script>alert(1)</script><img src=x onerror="alert(2)">\'"&{{ 7*7 }}\u202e'
"""Text that does something wherever it is not escaped."""


def declare(engine: Engine) -> None:
    """Register the tasks."""

    @engine.task(max_attempts=1)
    async def mail(to: str, password: str = "", tags: list[str] | None = None) -> str:
        if "@" not in to:
            raise ValueError(f"no such user: {to}")
        return f"sent to {to}"

    @engine.task(max_attempts=3, retry=wait_fixed(3600))
    async def flaky(n: int) -> None:
        raise ConnectionError("451 busy")

    @engine.task(HOSTILE, max_attempts=1)
    async def hostile(text: str) -> None:
        raise ValueError(text)

    @engine.cron("0 3 * * *")
    @engine.task()
    async def nightly() -> None: ...


async def dead_mails(engine: Engine, *names: str, **payload: Any) -> Sequence[Job[Any]]:
    """Mails to these that are dead, in the order of the names."""
    jobs = [await engine.enqueue("mail", {"to": name, **payload}) for name in names]
    await engine.drain()
    return [await engine.job(job.id) for job in jobs]
