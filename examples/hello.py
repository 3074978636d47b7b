"""The smallest program: a task, three jobs, a worker that runs them.

python examples/hello.py
"""

import asyncio
import tempfile

from qengine import Engine

FOLDER = tempfile.TemporaryDirectory()
engine = Engine(f"sqlite:///{FOLDER.name}/hello.db")


@engine.task()
async def greet(name: str) -> str:
    return f"hello, {name}"


async def main() -> None:
    async with engine:  # opens the file and makes the tables
        jobs = await greet.enqueue_many([{"name": name} for name in ("Ada", "Grace", "Edsger")])
        print(f"{len(jobs)} jobs are stored; the first is job {jobs[0].id}, {jobs[0].status}")

        async with engine.worker(concurrency=10):  # usually a process of its own: qengine worker hello:engine
            greetings = [await job.wait(timeout=10) for job in jobs]

        print(", ".join(greetings))
        assert greetings == ["hello, Ada", "hello, Grace", "hello, Edsger"]
        assert await greet("you") == "hello, you"  # a task is still the function it decorates


if __name__ == "__main__":
    with FOLDER:
        asyncio.run(main())
