"""Jobs by the clock. A whole Monday morning passes in a moment, as the example moves the clock itself.

python examples/cron.py
"""

import asyncio
import datetime as dt
import tempfile
from zoneinfo import ZoneInfo

from qengine import Engine
from qengine.testing import FakeClock

BERLIN = ZoneInfo("Europe/Berlin")
FOLDER = tempfile.TemporaryDirectory()
clock = FakeClock(dt.datetime(2035, 1, 1, 7, 51, tzinfo=BERLIN))  # leave `clock` out and the time is the real one
engine = Engine(f"sqlite:///{FOLDER.name}/cron.db", clock=clock)
ran: list[str] = []


@engine.cron("*/5 8-18 * * 1-6", tz="Europe/Berlin", catch_up="one")  # missed ones, after an outage, run once
@engine.task()
async def plan_emails() -> None:
    ran.append(f"{clock.now().astimezone(BERLIN):%H:%M}")


async def minute_by_minute(minutes: int) -> None:
    for _ in range(minutes):
        clock.advance(60)
        await engine.drain()  # a worker process would notice by itself; drain() suits a machine that has only crontab


async def main() -> None:
    async with engine:
        await minute_by_minute(25)
        print(f"from 07:51 to 08:16: ran at {', '.join(ran)}")
        assert ran == ["08:00", "08:05", "08:10", "08:15"]

        ran.clear()
        clock.advance(3600)  # nobody is there for an hour
        await engine.drain()
        print(f"after an hour's outage, one run for all that was missed: {', '.join(ran)}")
        assert ran == ["09:16"]


if __name__ == "__main__":
    with FOLDER:
        asyncio.run(main())
