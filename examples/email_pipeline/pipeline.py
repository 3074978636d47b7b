"""The application: what its jobs do, how important they are, and what happens when they fail.

A worker is `qengine worker email_pipeline.pipeline:engine`, as many of them as you like.
"""

import os
import re
import time

from anyio.to_thread import run_sync
from tenacity import wait_exponential, wait_fixed, wait_random

from email_pipeline import mail, store, web
from email_pipeline.settings import settings
from qengine import Discard, Engine, JobContext, RetryAfter, Snooze

HOT, WARM, COLD = 2, 4, 6
PRIORITY = {"hot": HOT, "warm": WARM, "cold": COLD}
PAGE = 10
"""Prospects that the CRM takes at a time."""

# Real applications wait minutes between attempts and keep the lease at its 60 s. A demonstration has no time for that.
engine = Engine(settings.database, lease=5, max_attempts=5, retry=wait_exponential(multiplier=0.5, max=4) + wait_random(0, 0.5))
database = store.Store(settings.database)
pages = settings.folder / "pages"


# -- the planners: cron only enqueues, so that a slow mail server can never hold up the clock


@engine.cron("*/5 8-18 * * 1-6", tz="Europe/Berlin", catch_up="one")
@engine.task(priority=3)
async def plan_campaigns(ctx: JobContext) -> int:
    """Send each campaign to those who have not had it. The outbox rows, their jobs and our own completion are one commit."""
    async with ctx.transaction() as tx:
        planned = await store.plan_mails(tx)
        for message_id, tier in planned:
            await send_email.options(priority=PRIORITY[tier], unique_key=message_id, conn=tx).enqueue(message_id=message_id)
    return len(planned)


@engine.cron("* * * * *", tz="UTC")
@engine.task(priority=3)
async def plan_upkeep(ctx: JobContext) -> int:
    """Enrich the prospects that are new, tell the CRM, tidy up."""
    async with ctx.transaction() as tx:
        new = [{"prospect": prospect} for prospect in await store.take_new_prospects(tx)]
        await enrich_email.options(conn=tx).enqueue_many(new)
        await enrich_website.options(conn=tx).enqueue_many(new)
        await sync_crm.options(unique_key="crm", conn=tx).enqueue()
        await cleanup.options(unique_key="pages", conn=tx).enqueue(older_than=5.0)
    return len(new)


# -- mail


@engine.task(priority=1, timeout=10)
async def process_reply(ctx: JobContext, prospect: int) -> str:
    """Somebody has answered: nothing is more important."""
    async with ctx.transaction() as tx:
        verdict = "interested" if "tell me more" in await store.get_reply(tx, prospect) else "not now"
        await store.judge_reply(tx, prospect, verdict)
        if verdict == "interested":
            message_id = await store.plan_answer(tx, prospect)
            await send_email.options(priority=HOT, unique_key=message_id, conn=tx).enqueue(message_id=message_id)
    return verdict


@engine.task(priority=WARM, timeout=20, max_concurrency=4, retry=wait_fixed(1))
async def send_email(ctx: JobContext, message_id: str) -> str:
    """Send one mail of the outbox.

    SMTP knows no transactions: should we die, or the answer not come, after the server has taken the mail, the next
    attempt must send it again, for it might as well have been lost. It carries the same Message-ID, by which the server
    knows that it has it. `sending` is committed first, so that a mail in doubt can be told from one never tried.
    """
    async with database.connect() as conn:
        letter = await store.get_mail(conn, message_id)
        if letter.state == "sent":
            return "was sent before"
        if letter.tier == "cold" and letter.job_title is None:
            raise Snooze(2)  # its text needs what enrich_email finds out; waiting for that is no failure
        await store.mark_sending(conn, message_id, sender=os.getpid())
    try:
        await run_sync(_deliver, letter)  # smtplib blocks, so it does that in a thread
    except mail.SlowDown as slow:
        async with database.connect() as conn:
            await store.mark(conn, message_id, "queued")  # the server said no: there is no doubt about this one
        raise RetryAfter(slow.seconds, pause_type=True) from slow  # all mails wait, on all workers
    except mail.Refused as refused:
        async with database.connect() as conn:
            await store.mark(conn, message_id, "refused")
        raise Discard(str(refused)) from refused
    except mail.Deferred:
        async with database.connect() as conn:
            await store.mark(conn, message_id, "queued")
        raise  # a failed attempt, as is a time-out: the retry policy says when to try again
    async with ctx.transaction() as tx:
        await store.mark(tx, message_id, "sent")
    return "sent"


def _deliver(letter: store.Mail) -> None:
    body = f"Dear {letter.name},\n\nas {letter.job_title or 'a friend of the house'} you will like what we have.\n"
    mail.deliver(settings.smtp, message_id=letter.message_id, to=letter.to, subject=letter.subject, body=body)


# -- enrichment


@engine.task(priority=5, timeout=5, max_attempts=3)
async def enrich_email(ctx: JobContext, prospect: int) -> str:
    """Find out who it is that we write to."""
    async with database.connect() as conn:
        website = await store.get_website(conn, prospect)
    answer = await web.get_json(f"/people/{web.host_of(website)}")
    async with ctx.transaction() as tx:
        await store.set_job_title(tx, prospect, answer["title"])
    return str(answer["title"])


@engine.task(priority=7, timeout=3, max_concurrency=3)
async def enrich_website(ctx: JobContext, prospect: int) -> str:
    """Read the company's own page: slow, and in no hurry. Its few slots are all that slow sites can take up."""
    async with database.connect() as conn:
        website = await store.get_website(conn, prospect)
    page = await web.get(f"/site/{web.host_of(website)}")
    title = re.search(r"<title>(.*?)</title>", page.decode())
    if title is None:
        raise Discard("the page has no title")
    (pages / f"{prospect}.html").write_bytes(page)
    async with ctx.transaction() as tx:
        await store.set_page_title(tx, prospect, title[1])
    return title[1]


# -- upkeep


@engine.task(priority=8, timeout=60)
async def sync_crm(ctx: JobContext) -> dict[str, int]:
    """Send all prospects to the CRM, a page at a time; after a failure or a crash go on with the page that is next."""
    first = page = ctx.checkpointed or 0
    async with database.connect() as conn:
        total = -(-await store.count_prospects(conn) // PAGE)
        while contacts := await store.page_of_prospects(conn, page, PAGE):
            await web.put(f"/crm/{page}", contacts)  # PUT: the same page twice does no harm
            page += 1
            await ctx.checkpoint(page)
            await ctx.progress(page, total, "pages sent")
    return {"first": first, "pages": page}


@engine.task(priority=10)
def cleanup(older_than: float) -> int:
    """Delete pages that were kept long enough. A plain function: it runs in a thread and may block."""
    old = [path for path in pages.glob("*.html") if time.time() - path.stat().st_mtime > older_than]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)
