"""An import that is killed half way and goes on where it was. The worker is a process of its own that really dies.

python examples/checkpointed_import.py
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile

import aiosqlite

from qengine import Engine, JobContext

ROWS, BATCH = 1000, 100
FOLDER = os.environ.get("IMPORT_FOLDER") or tempfile.mkdtemp()
os.environ["IMPORT_FOLDER"] = FOLDER  # the worker process inherits it
DATABASE = f"{FOLDER}/import.db"
engine = Engine(f"sqlite:///{DATABASE}", lease=2)  # seconds until a dead worker's jobs go to another; 60 by default


@engine.task()
async def import_customers(ctx: JobContext, rows: int) -> str:
    start = ctx.checkpointed or 0  # what the last checkpoint() saved, even by a process that is dead now
    print(f"  process {os.getpid()} begins at row {start}", flush=True)
    async with aiosqlite.connect(DATABASE) as db:
        for first in range(start, rows, BATCH):
            batch = [(number, f"customer {number}") for number in range(first, first + BATCH)]
            # Should we die between this commit and the checkpoint, the batch comes again: OR REPLACE makes that harmless.
            await db.executemany("INSERT OR REPLACE INTO customers VALUES (?, ?)", batch)
            await db.commit()
            await ctx.checkpoint(first + BATCH)
            await ctx.progress(first + BATCH, rows, "importing")
            if first == 400 and start == 0:
                os._exit(9)  # as abrupt as `kill -9`: no handler, no `finally`, no goodbye to the database
    return f"began at row {start}"


async def work() -> None:
    async with engine, engine.worker(concurrency=1):
        [job] = await engine.jobs(type="import_customers")
        await job.wait(timeout=60)  # for a while it is still leased to the worker that died


async def main() -> None:
    async with engine, aiosqlite.connect(DATABASE) as db:
        await db.execute("CREATE TABLE customers (number INTEGER PRIMARY KEY, name TEXT)")
        job = await import_customers.enqueue(rows=ROWS)
        for expected in (9, 0):
            status = await asyncio.to_thread(subprocess.call, [sys.executable, __file__, "worker"])
            print(f"worker exited with {status}; progress: {(await engine.job(job.id)).progress}")
            assert status == expected

        [(count,)] = await db.execute_fetchall("SELECT count(*) FROM customers")
        job = await engine.job(job.id)
        print(f"{count} rows; {job.result}; attempts spent: {job.attempts}")
        assert (count, job.result, job.attempts) == (ROWS, "began at row 500", 1)


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        asyncio.run(work())
    else:
        try:
            asyncio.run(main())
        finally:
            shutil.rmtree(FOLDER)
