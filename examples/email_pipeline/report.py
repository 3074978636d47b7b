"""What was promised, and whether it was kept, by counting."""

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from email_pipeline import people, store
from email_pipeline.director import LATECOMERS, PROSPECTS, Director
from email_pipeline.pipeline import database, engine
from email_pipeline.world.record import Record
from qengine import Job, JobError

HOW = (
    """
How each mail is delivered once. SMTP has no transactions: a sender that dies between the server's "accepted" and its own
commit cannot know. So the job runs again (at least once) and the mail is sent again, under the same Message-ID, which is
made from the campaign and the prospect, never at random. This mail server knows the ID and drops the repeat.
""",
    """
Many servers and most mail APIs can do that (an "idempotency key"). With one that cannot, a mail found in state "sending" is
a decision: send it again and risk two, or leave it to a human. No queue can take that decision away.
""",
    """
Inside the database it is exactly once: an outbox row and its job are one commit, and so are "sent" and "completed".
""",
)


@dataclass
class Promise:
    text: str
    kept: bool
    evidence: str


class Report:
    """Reads what happened, out of the database and the world's own record, and judges it."""

    def __init__(self, director: Director, record: Record) -> None:
        self._director = director
        self._story = director.story
        self._record = record
        self.promises: list[Promise] = []

    async def judge(self) -> bool:
        """Check every promise; whether all were kept."""
        self._jobs: list[Job[Any]] = await self._all_jobs()
        async with database.connect() as conn:
            self._outbox = await store.outbox(conn)
        self._histories = await self._read_histories()
        self._each_mail_once()
        self._the_killed_worker()
        self._replies_first()
        await self._the_bad_record()
        self._refused_addresses()
        self._the_crm()
        await self._the_clock()
        await self._all_done()
        return all(promise.kept for promise in self.promises)

    def _promise(self, text: str, kept: bool, evidence: str) -> None:
        self.promises.append(Promise(text, kept, evidence))

    def _each_mail_once(self) -> None:
        """Judged by who got what, not by Message-ID: a mail sent again under a new one would show."""
        boxes = Counter((mail.recipient, mail.subject) for mail in self._record.mailboxes())
        wanted = {(to, subject) for _, to, subject, state, _ in self._outbox if state != "refused"}
        twice = sum(count > 1 for count in boxes.values())
        doubts = sum(doubts for *_, doubts in self._outbox)
        planned = len(PROSPECTS) + sum(people.replies(number) and people.is_interested(number) for number in PROSPECTS)
        self._promise(
            "Each mail is delivered once",
            set(boxes) == wanted
            and not twice
            and len(self._outbox) >= planned
            and {mail[3] for mail in self._outbox} == {"sent", "refused"},
            f"{len(boxes)} mails in the mailboxes of {len(wanted)} wanted, {twice} of them twice; {doubts} attempts began "
            f"in doubt; {len(self._record.repeats())} mails came again and were known by their Message-ID",
        )

    def _the_killed_worker(self) -> None:
        story = self._story
        states = {message_id: state for message_id, _, _, state, _ in self._outbox}
        done = sum(states[message_id] in ("sent", "refused") for message_id in story.cut_off)
        again = story.accepted & set(self._record.repeats())
        self._promise(
            "A worker killed with SIGKILL loses nothing",
            story.killed > 0 and bool(story.accepted) and done == len(story.cut_off) and again == story.accepted,
            f"mails that process {story.killed} was sending: {len(story.cut_off)}, of which by now are sent or refused: {done}; "
            f"accepted by the server, unknown to it: {len(story.accepted)}, of which came again: {len(again)}",
        )

    def _replies_first(self) -> None:
        reply, website = self._waits("process_reply"), self._waits("enrich_website")
        self._promise(
            "Slow enrichment does not delay replies",
            len(reply) > 10 and _p95(reply) * 3 < _p95(website),
            f"95 % of {len(reply)} replies waited under {_p95(reply):.2f} s; of {len(website)} websites, {_p95(website):.2f} s",
        )

    def _waits(self, type_: str) -> list[float]:
        """Seconds between being due and starting, for the last attempt of each job."""
        return [
            (job.started_at - job.scheduled_for).total_seconds()
            for job in self._jobs
            if job.type == type_ and job.status == "completed" and job.started_at and job.scheduled_for
        ]

    async def _the_bad_record(self) -> None:
        dead = self._story.poisoned
        now = [await engine.job(job.id) for job in dead]
        self._promise(
            "A poison record ends in the dead letters, and is done once it is mended",
            len(dead) == 2
            and all(job.dead_reason == "exhausted" for job in dead)
            and len(self._story.history) == dead[0].max_attempts
            and all(job.status == "completed" for job in now),
            f"{len(dead)} jobs of prospect {people.POISON} died ({', '.join({str(job.dead_reason) for job in dead})}) after "
            f"{len(self._story.history)} attempts; requeued they are {', '.join({str(job.status) for job in now})}",
        )

    def _refused_addresses(self) -> None:
        refused = {message_id for message_id, _, _, state, _ in self._outbox if state == "refused"}
        dead = [job for job in self._jobs if job.status == "dead"]
        self._promise(
            "A mail refused with 5xx is not tried again",
            bool(refused)
            and {job.payload.get("message_id") for job in dead} == refused
            and all((job.dead_reason, job.attempts) == ("discarded", 1) for job in dead),
            f"{len(refused)} refused; {len(dead)} dead letters, each after 1 attempt",
        )

    def _the_crm(self) -> None:
        runs = [job.result for job in self._jobs if job.type == "sync_crm" and job.status == "completed"]
        resumed = [run["first"] for run in runs if run["first"] > 0]
        self._promise(
            "A sync that fails half way goes on from its checkpoint",
            bool(resumed),
            f"{len(runs)} syncs; went on from page {', '.join(map(str, resumed)) or 'none'}",
        )

    async def _the_clock(self) -> None:
        fires = await self._director.cron_jobs()
        times = Counter((job.type, job.scheduled_for) for job in fires)
        told = ", ".join(f"{job.type} {job.scheduled_for:%H:%M}" for job in fires)
        enriched = sum(job.type == "enrich_email" and job.payload["prospect"] in LATECOMERS for job in self._jobs)
        self._promise(
            "Crons fire, each time once for all workers",
            any(job.type == "plan_upkeep" for job in fires) and max(times.values(), default=0) == 1,
            f"{told or 'none came due'} (UTC), beside two kicked by hand; {enriched} of {len(LATECOMERS)} latecomers seen to",
        )

    async def _all_done(self) -> None:
        stats = await engine.stats()
        left = sum(stats.by_status[status] for status in ("pending", "processing", "failed"))
        codes = self._story.exit_codes
        self._promise(
            "All work gets done, and workers stop when asked",
            self._story.in_time and left == 0 and set(codes.values()) == {0},
            f"{sum(stats.by_status.values())} jobs, {left} left, in {self._story.seconds:.0f} s; exit codes {codes}",
        )

    async def _read_histories(self) -> dict[str, list[JobError]]:
        """What the engine remembers of the poisoned job, and of a mail that the killed worker was sending."""
        story = self._story
        told = {f"job {job.id}, {job.type} of prospect {people.POISON}": story.history for job in story.poisoned[:1]}
        for job in self._jobs:
            if job.payload.get("message_id") in story.accepted:
                told[f"job {job.id}, send_email of {job.payload['message_id']}"] = await engine.errors(job.id)
                break
        return told

    async def _all_jobs(self) -> list[Job[Any]]:
        found: list[Job[Any]] = []
        while page := await engine.jobs(limit=500, after=found[-1].id if found else None):
            found += page
        return found

    def print_to(self, console: Console) -> None:
        """The closing report."""
        console.print("\n[bold]What the outside world did[/]")
        for kind, times in sorted(self._record.incidents().items()):
            console.print(f"  {times:3} {kind}")
        for job, history in self._histories.items():
            console.print(f"\n[bold]The history of {escape(job)}[/]")
            for error in history:
                line = f"{error.ended_at.astimezone():%H:%M:%S} attempt {error.attempt}: {error.error}"
                console.print(f"  {escape(line)}", soft_wrap=True)
        console.print("\n[bold]What was promised[/]")
        for promise in self.promises:
            mark = "[green]kept  [/]" if promise.kept else "[red]BROKEN[/]"
            console.print(f"  {mark} {promise.text}", soft_wrap=True)
            console.print(f"         [dim]{escape(promise.evidence)}[/]", soft_wrap=True)
        for paragraph in HOW:
            console.print("\n" + " ".join(paragraph.split()))


def _p95(waits: list[float]) -> float:
    return statistics.quantiles(waits, n=20)[-1] if len(waits) > 1 else 0.0
