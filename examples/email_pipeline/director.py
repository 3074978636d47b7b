"""The story of a run: mail is sent, people answer, a worker is killed, a record is bad, and the clock strikes."""

import asyncio
import datetime as dt
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from email_pipeline import people, store
from email_pipeline.live import View
from email_pipeline.pipeline import database, engine, plan_campaigns, plan_upkeep, process_reply
from email_pipeline.stage import Stage
from email_pipeline.world.record import Record
from qengine import Job, JobError

PROSPECTS = range(1, 61)
LATECOMERS = range(61, 66)
"""Prospects that sign up during the run: nobody but the cron takes care of them."""
MAILS_BEFORE_THE_KILL = 25
LOOK_EVERY = 0.2
T = TypeVar("T")


@dataclass
class Story:
    """What came to pass, for the report."""

    kicked: list[int] = field(default_factory=list)
    """The planners' jobs that were enqueued by hand, at the start."""
    killed: int = 0
    """The process id of the worker that was killed."""
    cut_off: set[str] = field(default_factory=set)
    """The mails that it was sending at that moment."""
    accepted: set[str] = field(default_factory=set)
    """Those of them that the server had accepted already, of which it did not live to learn."""
    poisoned: list[Job[Any]] = field(default_factory=list)
    """The jobs of the bad record, as they were found dead."""
    history: list[JobError] = field(default_factory=list)
    """The failed attempts of the first of them."""
    exit_codes: dict[str, int] = field(default_factory=dict)
    """How the workers ended when they were asked to."""
    seconds: float = 0.0
    """How long it all took."""
    in_time: bool = False


class Director:
    """Sets the scenes going side by side. Each ends by itself."""

    def __init__(self, stage: Stage, view: View, record: Record) -> None:
        self._stage = stage
        self._view = view
        self._record = record
        self.story = Story()

    async def play(self, seconds: float) -> Story:
        """The whole story, or as much of it as fits in the time."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            try:
                async with asyncio.timeout(seconds):
                    await self._scenes()
                    self.story.in_time = True
            except TimeoutError:
                self._view.tell(f"the {seconds:g} s are over")
            watching.cancel()
        self._view.show(await engine.stats())
        self.story.exit_codes = await asyncio.to_thread(self._stage.stop_workers)
        self.story.seconds = loop.time() - begun
        return self.story

    async def _scenes(self) -> None:
        await self._begin()
        async with asyncio.TaskGroup() as scenes:
            scenes.create_task(self._people_answer())
            scenes.create_task(self._a_worker_is_killed())
            scenes.create_task(self._a_record_is_bad())
            scenes.create_task(self._the_clock_strikes())
        await _until(self._nothing_left_to_do)
        self._view.tell("nothing is left to do")

    async def _watch(self) -> None:
        while True:
            self._view.show(await engine.stats())
            await asyncio.sleep(LOOK_EVERY)

    async def _nothing_left_to_do(self) -> bool:
        counts = (await engine.stats()).by_status
        return counts["pending"] + counts["processing"] + counts["failed"] == 0

    async def _begin(self) -> None:
        async with database.transaction() as conn:
            await store.create(conn, map(people.prospect, PROSPECTS))
        for name in ("worker-1", "worker-2"):
            self._stage.start_worker(name)
        self._view.tell("two workers start; both planners are kicked once by hand, as their crons may be minutes away")
        self.story.kicked = [(await planner.enqueue()).id for planner in (plan_campaigns, plan_upkeep)]

    # -- the scenes

    async def _people_answer(self) -> None:
        """Every second prospect answers as soon as the campaign's mail is in the mailbox."""
        silent = {prospect.email: prospect.id for prospect in map(people.prospect, PROSPECTS) if people.replies(prospect.id)}
        while silent:
            for mail in self._record.mailboxes():
                if number := silent.pop(mail.recipient, None):
                    await self._receive_reply(number)
            await asyncio.sleep(LOOK_EVERY)
        self._view.tell("everybody who wanted to has answered")

    async def _receive_reply(self, prospect: int) -> None:
        """What an application does in its inbound-mail webhook: the reply and its job are stored together or not at all."""
        body = "Sounds good, tell me more!" if people.is_interested(prospect) else "Thanks, maybe next year."
        async with database.transaction() as conn:
            await store.add_reply(conn, prospect, body)
            await process_reply.options(conn=conn).enqueue(prospect=prospect)

    async def _a_worker_is_killed(self) -> None:
        """Kill a worker at the worst moment: the server has accepted a mail of its, and it has not heard so yet.

        To be sure of the moment, the worker is frozen first, looked at, and thawed if this was not it.
        """
        await _until(self._mail_is_flowing)
        worker = self._stage.workers["worker-1"]
        looks = 0
        while not self.story.accepted:
            await asyncio.sleep(LOOK_EVERY / 4)
            looks += 1
            if len(await self._being_sent_by(worker.pid)) >= (3 if looks < 100 else 1):
                worker.send_signal(signal.SIGSTOP)
                try:
                    await asyncio.sleep(0.4)  # the mail server finishes what it is about
                    self.story.cut_off = await self._being_sent_by(worker.pid)
                    self.story.accepted = self.story.cut_off & self._accepted_in_time()
                finally:
                    if not self.story.accepted:
                        worker.send_signal(signal.SIGCONT)
        worker.kill()
        await asyncio.to_thread(worker.wait)
        self.story.killed = worker.pid
        self._view.tell(
            f"kill -9 of worker-1, process {worker.pid}; mails it was sending: {len(self.story.cut_off)}, "
            f"of which the server had accepted {len(self.story.accepted)} a moment ago"
        )
        await asyncio.sleep(2)
        self._stage.start_worker("worker-1")
        self._view.tell("worker-1 is started again")

    def _accepted_in_time(self) -> set[str]:
        """The mails that are in a mailbox, and whose sender has been told so, or would have been."""
        return {mail.message_id for mail in self._record.mailboxes() if not mail.recipient.endswith("@answers-late.example")}

    async def _mail_is_flowing(self) -> bool:
        return len(self._record.mailboxes()) >= MAILS_BEFORE_THE_KILL

    async def _being_sent_by(self, process: int) -> set[str]:
        async with database.connect() as conn:
            return await store.mails_being_sent(conn, process)

    async def _a_record_is_bad(self) -> None:
        """Find the jobs that one bad record killed; mend the record; put them back."""
        self.story.poisoned = await _until(self._both_enrichments_dead)
        ids = [job.id for job in self.story.poisoned]
        self.story.history = await engine.errors(ids[0])
        self._view.tell(f"jobs {ids} of prospect {people.POISON} are dead: {self.story.poisoned[0].last_error}")
        async with database.connect() as conn:
            await store.mend_website(conn, people.POISON, people.mended_website())
        await engine.requeue(ids)
        self._view.tell("its record is mended and both are requeued")

    async def _both_enrichments_dead(self) -> list[Job[Any]]:
        dead = [job for job in await engine.jobs(status="dead", limit=1000) if job.payload == {"prospect": people.POISON}]
        return dead if len(dead) == 2 else []

    async def _the_clock_strikes(self) -> None:
        """Prospects sign up; the every-minute cron, and nobody else, sees to them."""
        await (await engine.job(self.story.kicked[1])).wait()
        async with database.transaction() as conn:
            for prospect in map(people.prospect, LATECOMERS):
                await store.add_prospect(conn, prospect)
        now = dt.datetime.now(dt.UTC)
        self._view.tell(f"{len(LATECOMERS)} prospects sign up; the every-minute cron is next due in {60 - now.second} s")
        fire = (await _until(self._upkeep_by_cron))[0]
        self._view.tell(f"the cron of {fire.scheduled_for:%H:%M:%S} UTC has planned work for {fire.result} new prospects")

    async def _upkeep_by_cron(self) -> list[Job[Any]]:
        return [job for job in await self.cron_jobs() if job.type == "plan_upkeep" and job.status == "completed"]

    async def cron_jobs(self) -> list[Job[Any]]:
        """The planners' jobs that the clock has enqueued."""
        planners = [job for planner in ("plan_campaigns", "plan_upkeep") for job in await engine.jobs(type=planner, limit=100)]
        return [job for job in planners if job.id not in self.story.kicked]


async def _until(look: Callable[[], Awaitable[T]]) -> T:
    """Look again and again, until what is seen is not empty; that."""
    while not (seen := await look()):
        await asyncio.sleep(LOOK_EVERY)
    return seen
