"""What is left for the one who watches: a dead job to find, to understand, to mend and to put back."""

import asyncio
import os
import shlex

from rich.console import Console

from email_pipeline.director import LOOK_EVERY
from email_pipeline.pipeline import engine, enrich_website
from email_pipeline.stage import Stage

NOBODY = 1000
"""A prospect that is not there."""
SOMEBODY = 1


class Encore:
    """Goes on, with a worker, until it is interrupted."""

    def __init__(self, stage: Stage, console: Console) -> None:
        self._stage = stage
        self._console = console

    async def play(self) -> None:
        """Let a job die of its payload, say what can be done about it, and watch."""
        self._stage.start_worker("worker-3")
        job = await enrich_website.options(max_attempts=2).enqueue(prospect=NOBODY)
        await self._until(job.id, "dead")
        database = f"export QENGINE_URL={shlex.quote(os.environ['PIPELINE_DATABASE'])}"
        self._say("\n[bold]And now you[/]: one more record is bad, and nobody has mended it.")
        if self._stage.dashboard:
            self._say(f"  Open {self._stage.dashboard}")
            self._say(f"  and find it under Dead letters. Read why it failed, give it the prospect {SOMEBODY}, and requeue it.")
        self._say("  Or in another terminal, where qengine is installed (here: .venv/bin):")
        for line in (
            database,
            "qengine dead",
            f"qengine show {job.id}",
            f"qengine amend {job.id} prospect={SOMEBODY}",
            f"qengine requeue {job.id}",
        ):
            self._console.print(f"    {line}", markup=False, soft_wrap=True)
        self._say("  Ctrl-C ends it all.")
        await self._until(job.id, "completed")
        self._say(f"[green]job {job.id} is done: you mended it[/]")
        await asyncio.Event().wait()

    async def _until(self, job_id: int, status: str) -> None:
        while (await engine.job(job_id)).status != status:
            await asyncio.sleep(LOOK_EVERY)

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)
