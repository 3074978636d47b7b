"""An application whose worker runs in a process of its own, to be killed by tests.

usage: app.py URL LEDGER [LEASE]      each run of a handler appends a line to the file LEDGER-<pid>
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from qengine import Engine, JobContext

URL = sys.argv[1] if len(sys.argv) > 1 else "sqlite:///unused.db"
LEDGER = Path(f"{sys.argv[2]}-{os.getpid()}") if len(sys.argv) > 2 else None
LEASE = float(sys.argv[3]) if len(sys.argv) > 3 else 60.0

engine = Engine(URL, lease=LEASE, max_crashes=3)


def record(*words: object) -> None:
    assert LEDGER is not None
    with LEDGER.open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


@engine.task()
async def quick(ctx: JobContext) -> None:
    record("quick", ctx.job.id, ctx.attempt)


@engine.task()
async def slow(ctx: JobContext, seconds: float) -> None:
    record("slow-began", ctx.job.id, ctx.attempt)
    await asyncio.sleep(seconds)
    record("slow", ctx.job.id, ctx.attempt)


@engine.task()
async def poison(ctx: JobContext) -> None:
    record("poison", ctx.job.id, ctx.attempt)
    os.kill(os.getpid(), signal.SIGKILL)


@engine.task()
async def counted(ctx: JobContext) -> None:
    async with ctx.transaction() as tx:
        await tx.execute(f"INSERT INTO effects (job) VALUES ({ctx.job.id})")
        await asyncio.sleep(0.002)
    record("counted", ctx.job.id, ctx.attempt)


@engine.cron("* * * * * *", catch_up="all")
@engine.task()
async def tick(ctx: JobContext) -> None:
    assert ctx.job.scheduled_for is not None
    record("tick", int(ctx.job.scheduled_for.timestamp()), ctx.attempt)


async def main() -> None:
    async with engine:
        worker = asyncio.create_task(engine.run_worker(concurrency=10, grace=5))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.cancel)
        print("ready", flush=True)
        await asyncio.wait([worker])
        if not worker.cancelled():
            worker.result()


if __name__ == "__main__":
    asyncio.run(main())
