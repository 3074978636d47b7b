"""An API that allows five calls each half second. When it says "wait", every call of that type waits, on every worker.

python examples/rate_limited_api.py
"""

import asyncio
import tempfile
import time

from qengine import Engine, RetryAfter

FOLDER = tempfile.TemporaryDirectory()
engine = Engine(f"sqlite:///{FOLDER.name}/api.db")
CALLS, WINDOW = 5, 0.5
answered: list[int] = []
times: list[float] = []  # when
refused: list[int] = []


async def call_api(city: int) -> float | None:
    """Stands in for HTTP: None when the call was answered, else the seconds of its `429 Retry-After`."""
    if len(answered) >= CALLS and time.monotonic() - times[-CALLS] < WINDOW:
        refused.append(city)
        return WINDOW - (time.monotonic() - times[-CALLS])
    answered.append(city)
    times.append(time.monotonic())
    return None


@engine.task(max_concurrency=3)
async def fetch_weather(city: int) -> None:
    wait = await call_api(city)
    if wait is not None:
        raise RetryAfter(wait, pause_type=True)  # costs this job no attempt, and spares the others theirs


async def main() -> None:
    async with engine:
        jobs = await fetch_weather.enqueue_many([{"city": city} for city in range(20)])
        begun = time.monotonic()
        async with engine.worker(concurrency=10):
            for job in jobs:
                await job.wait(timeout=30)
        took = time.monotonic() - begun
        attempts = [(await engine.job(job.id)).attempts for job in jobs]

    print(f"20 calls at {CALLS} per {WINDOW} s took {took:.1f} s; {len(refused)} were told to wait")
    print(f"attempts spent per job: {max(attempts)}")
    assert sorted(answered) == list(range(20))  # each was made once
    assert took >= 3 * WINDOW
    assert attempts == [1] * 20
    assert len(refused) < 20  # the pause kept most of them from asking in vain


if __name__ == "__main__":
    with FOLDER:
        asyncio.run(main())
