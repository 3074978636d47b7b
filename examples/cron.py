"""Jobs by the clock: in a time zone, once for all workers, and what becomes of the times at which nobody was there.

python examples/cron.py
"""

import asyncio
import datetime as dt
import tempfile
from zoneinfo import ZoneInfo

from qengine import Engine, JobContext

FOLDER = tempfile.TemporaryDirectory()
engine = Engine(f"sqlite:///{FOLDER.name}/cron.db")
ticks: list[dt.datetime] = []


@engine.cron("*/5 8-18 * * 1-6", tz="Europe/Berlin")  # Monday to Saturday, from 8:00 to 18:55, by Berlin's clocks
@engine.task()
async def plan_emails() -> None:
    """Enqueue the mails that are due; leave the sending to them, so that this one is always quick."""


@engine.cron("*/2 * * * * *", catch_up="one")  # six fields: the first is seconds
@engine.task()
async def tick(ctx: JobContext) -> None:
    assert ctx.job.scheduled_for is not None
    ticks.append(ctx.job.scheduled_for)  # the time for which it fired, whenever it came to run


async def main() -> None:
    async with engine:
        async with engine.worker(concurrency=2):
            await asyncio.sleep(5)
        before = ticks[:]
        print("every two seconds:", ", ".join(f"{time:%M:%S}" for time in before))
        assert len(before) >= 2
        assert all(time.second % 2 == 0 for time in before)
        assert len(set(before)) == len(before)  # each fire time once, with however many workers

        print("no worker for five seconds")
        await asyncio.sleep(5)
        async with engine.worker(concurrency=2):
            await asyncio.sleep(1)
        after = ticks[len(before) :]
        print("then, one run for all that was missed:", ", ".join(f"{time:%M:%S}" for time in after))
        assert after[0] - before[-1] >= dt.timedelta(seconds=4)

        schedule = next(schedule for schedule in await engine.schedules() if schedule.type == "plan_emails")
        coming = schedule.next_fire.astimezone(ZoneInfo("Europe/Berlin"))
        print(f"{schedule.cron} comes next at {coming:%A %H:%M} in Berlin")
        assert coming.minute % 5 == 0
        assert 8 <= coming.hour <= 18


if __name__ == "__main__":
    with FOLDER:
        asyncio.run(main())
