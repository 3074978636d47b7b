"""The application's own tables, in the database that also holds its jobs: SQLite or PostgreSQL, one SQL for both."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiosqlite

from email_pipeline.people import Prospect

SCHEMA = (
    "CREATE TABLE demo_campaigns (id INTEGER PRIMARY KEY, subject TEXT NOT NULL, tier TEXT NOT NULL)",
    """CREATE TABLE demo_prospects (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, website TEXT NOT NULL, campaign INTEGER NOT NULL,
        job_title TEXT, page_title TEXT, stage TEXT NOT NULL DEFAULT 'new')""",
    # One row for each mail that shall be sent. Its Message-ID is made from what it is about, never at random.
    """CREATE TABLE demo_outbox (
        message_id TEXT PRIMARY KEY, prospect INTEGER NOT NULL, subject TEXT NOT NULL, tier TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'queued', sender INTEGER, doubts INTEGER NOT NULL DEFAULT 0)""",
    "CREATE TABLE demo_replies (prospect INTEGER PRIMARY KEY, body TEXT NOT NULL, verdict TEXT)",
)
CAMPAIGNS = ((1, "The offer you asked for", "warm"), (2, "Have you heard of us?", "cold"))


class Mail(NamedTuple):
    """A row of demo_outbox with its prospect."""

    message_id: str
    subject: str
    tier: str
    """hot, warm or cold"""
    state: str
    """queued; sending: handed to the server, answer unknown; sent; refused"""
    to: str
    name: str
    job_title: str | None


async def execute(conn: Any, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of either driver. Its parameters are `$1`, `$2` …, which both databases know."""
    if isinstance(conn, aiosqlite.Connection):
        return [tuple(row) for row in await conn.execute_fetchall(sql, {str(n): value for n, value in enumerate(values, 1)})]
    return [tuple(row) for row in await conn.fetch(sql, *values)]


class Store:
    """Connections to the database. One for each use keeps this file short; an application would keep a pool."""

    def __init__(self, url: str) -> None:
        self._url = url

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        if self._url.startswith("sqlite:///"):
            async with aiosqlite.connect(
                self._url.removeprefix("sqlite:///").partition("?")[0], isolation_level=None, timeout=10
            ) as conn:
                yield conn
        else:
            import asyncpg

            conn = await asyncpg.connect(self._url)
            try:
                yield conn
            finally:
                await conn.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self.connect() as conn:
            await execute(conn, "BEGIN IMMEDIATE" if isinstance(conn, aiosqlite.Connection) else "BEGIN")
            try:
                yield conn
            except BaseException:
                await execute(conn, "ROLLBACK")
                raise
            await execute(conn, "COMMIT")


async def create(conn: Any, prospects: Iterable[Prospect]) -> None:
    for statement in SCHEMA:
        await execute(conn, statement)
    for campaign in CAMPAIGNS:
        await execute(conn, "INSERT INTO demo_campaigns VALUES ($1, $2, $3)", *campaign)
    for prospect in prospects:
        await add_prospect(conn, prospect)


async def add_prospect(conn: Any, prospect: Prospect) -> None:
    await execute(conn, "INSERT INTO demo_prospects (id, name, email, website, campaign) VALUES ($1, $2, $3, $4, $5)", *prospect)


# -- what the planners need


async def plan_mails(conn: Any) -> list[tuple[str, str]]:
    """Put a mail in the outbox for each prospect whose campaign has none there yet; (Message-ID, tier) of the new ones."""
    rows = await execute(
        conn,
        """INSERT INTO demo_outbox (message_id, prospect, subject, tier)
           SELECT '<campaign-' || c.id || '.prospect-' || p.id || '@pipeline.example>', p.id, c.subject, c.tier
           FROM demo_prospects p JOIN demo_campaigns c ON c.id = p.campaign WHERE true
           ON CONFLICT DO NOTHING RETURNING message_id, tier""",
    )
    return [(message_id, tier) for message_id, tier in rows]


async def take_new_prospects(conn: Any) -> list[int]:
    """Mark the new prospects as taken care of; their ids."""
    rows = await execute(conn, "UPDATE demo_prospects SET stage = 'enriching' WHERE stage = 'new' RETURNING id")
    return sorted(number for (number,) in rows)


# -- mails


async def get_mail(conn: Any, message_id: str) -> Mail:
    [row] = await execute(
        conn,
        """SELECT o.message_id, o.subject, o.tier, o.state, p.email, p.name, p.job_title
           FROM demo_outbox o JOIN demo_prospects p ON p.id = o.prospect WHERE o.message_id = $1""",
        message_id,
    )
    return Mail(*row)


async def mark_sending(conn: Any, message_id: str, sender: int) -> None:
    """From now on nobody knows whether the server has it. A mail that was in this state already was left in doubt."""
    await execute(
        conn,
        """UPDATE demo_outbox SET state = 'sending', sender = $2, doubts = doubts + CASE state WHEN 'sending' THEN 1 ELSE 0 END
           WHERE message_id = $1""",
        message_id,
        sender,
    )


async def mark(conn: Any, message_id: str, state: str) -> None:
    await execute(conn, "UPDATE demo_outbox SET state = $2 WHERE message_id = $1", message_id, state)


# -- prospects


async def get_website(conn: Any, prospect: int) -> str:
    rows = await execute(conn, "SELECT website FROM demo_prospects WHERE id = $1", prospect)
    if not rows:
        raise LookupError(f"there is no prospect {prospect}")
    return str(rows[0][0])


async def set_job_title(conn: Any, prospect: int, title: str) -> None:
    await execute(conn, "UPDATE demo_prospects SET job_title = $2 WHERE id = $1", prospect, title)


async def set_page_title(conn: Any, prospect: int, title: str) -> None:
    await execute(conn, "UPDATE demo_prospects SET page_title = $2 WHERE id = $1", prospect, title)


async def page_of_prospects(conn: Any, page: int, size: int) -> list[dict[str, Any]]:
    rows = await execute(
        conn, "SELECT id, email, job_title, page_title FROM demo_prospects ORDER BY id LIMIT $1 OFFSET $2", size, page * size
    )
    return [dict(zip(("id", "email", "job_title", "page_title"), row, strict=True)) for row in rows]


async def count_prospects(conn: Any) -> int:
    [(count,)] = await execute(conn, "SELECT count(*) FROM demo_prospects")
    return int(count)


# -- replies


async def add_reply(conn: Any, prospect: int, body: str) -> None:
    await execute(conn, "INSERT INTO demo_replies (prospect, body) VALUES ($1, $2)", prospect, body)


async def get_reply(conn: Any, prospect: int) -> str:
    [(body,)] = await execute(conn, "SELECT body FROM demo_replies WHERE prospect = $1", prospect)
    return str(body)


async def judge_reply(conn: Any, prospect: int, verdict: str) -> None:
    await execute(conn, "UPDATE demo_replies SET verdict = $2 WHERE prospect = $1", prospect, verdict)


async def plan_answer(conn: Any, prospect: int) -> str:
    """Put the answer to a reply in the outbox; its Message-ID."""
    message_id = f"<answer.prospect-{prospect}@pipeline.example>"
    await execute(
        conn,
        """INSERT INTO demo_outbox (message_id, prospect, subject, tier) VALUES ($1, $2, 'What you wanted to know', 'hot')
           ON CONFLICT DO NOTHING""",
        message_id,
        prospect,
    )
    return message_id


# -- what only the director needs


async def mails_being_sent(conn: Any, sender: int) -> set[str]:
    rows = await execute(conn, "SELECT message_id FROM demo_outbox WHERE state = 'sending' AND sender = $1", sender)
    return {message_id for (message_id,) in rows}


async def mend_website(conn: Any, prospect: int, website: str) -> None:
    await execute(conn, "UPDATE demo_prospects SET website = $2 WHERE id = $1", prospect, website)


async def outbox(conn: Any) -> list[tuple[str, str, str, str, int]]:
    """(Message-ID, recipient, subject, state, doubts) of every mail."""
    rows = await execute(
        conn,
        """SELECT o.message_id, p.email, o.subject, o.state, o.doubts
           FROM demo_outbox o JOIN demo_prospects p ON p.id = o.prospect ORDER BY o.message_id""",
    )
    return [(message_id, to, subject, state, doubts) for message_id, to, subject, state, doubts in rows]


async def is_used(conn: Any) -> bool:
    """Whether an earlier run has left its tables here."""
    table = "sqlite_master WHERE name" if isinstance(conn, aiosqlite.Connection) else "pg_catalog.pg_tables WHERE tablename"
    return bool(await execute(conn, f"SELECT 1 FROM {table} IN ('demo_outbox', 'qengine_jobs')"))
