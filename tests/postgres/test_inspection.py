"""Looking and tending without a session of one's own, as behind PgBouncer in transaction mode; and what search looks at."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import asyncpg
import pytest

from qengine.backends.inspection import Activity, AuditEntry, Inspection, JobFilter
from qengine.backends.postgres import PostgresBackend
from qengine.backends.protocol import Schedule
from qengine.job import NewJob, Status
from qengine.testing.conformance.suite import WORKER, buried, demand, failed, start

pytestmark = pytest.mark.anyio

Open: TypeAlias = Callable[..., Coroutine[Any, Any, PostgresBackend]]

PAST = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FUTURE = dt.datetime(2126, 1, 1, tzinfo=dt.UTC)


async def test_every_verb_works_without_a_session(opened: Open, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each transaction may find itself on another connection: none relies on what one before it has left."""
    backend = await opened(listen=False)
    take = backend._pool._take

    async def fresh() -> Any:
        for connection in backend._pool._idle:
            await connection.execute("DISCARD ALL")
        backend._pool._idle.reverse()
        return await take()

    monkeypatch.setattr(backend._pool, "_take", fresh)
    running, dead, waiting = await start(backend, *[NewJob(name, f'{{"name": "{name}"}}') for name in ("a", "b", "c")])
    await backend.settle([buried(dead), failed(waiting)], WORKER)
    await backend.put_schedules([Schedule("s", "a", "0 0 1 1 *", "UTC", "one", FUTURE)])
    last = await backend.last_error_row()
    entry = await backend.audit(AuditEntry("me", "cancel", job_id=dead.id))
    verbs: dict[str, tuple[Callable[[], Awaitable[Any]], Callable[[Any], bool]]] = {
        "search": (
            lambda: backend.search(JobFilter(text="NAME", type="b"), limit=50),
            lambda page: [job.id for job in page.jobs] == [dead.id],
        ),
        "running": (lambda: backend.running(9), lambda jobs: [job.id for job in jobs] == [running.id]),
        "ended_since": (lambda: backend.ended_since(PAST, 9), lambda jobs: [job.id for job in jobs] == [dead.id]),
        "dead_by_day": (lambda: backend.dead_by_day(PAST), lambda days: [n for _, n in days] == [1]),
        "errors_since": (lambda: backend.errors_since(last - 1, 9), lambda found: [kind for _, kind, _ in found] == ["c"]),
        "last_error_row": (lambda: backend.last_error_row(), lambda found: found == last),
        "amend": (lambda: backend.amend(waiting.id, due_now=True), lambda job: job.status is Status.FAILED),
        "oldest_due": (lambda: backend.oldest_due(), lambda heads: list(heads) == ["c"]),
        "pause_schedule": (lambda: backend.pause_schedule("s", True), lambda found: found is True),
        "record_activity": (lambda: backend.record_activity([Activity(60, 0, "w", "a", 1)]), lambda answer: answer is None),
        "activity": (lambda: backend.activity(60, PAST), lambda slots: slots == []),
        "audit": (lambda: backend.audit(AuditEntry("me", "pause")), lambda found: found == entry + 1),
        "audit_done": (lambda: backend.audit_done(entry, 1), lambda answer: answer is None),
        "audit_trail": (lambda: backend.audit_trail(9, dead.id), lambda trail: [one.jobs for one in trail] == [1]),
        "diagnose": (lambda: backend.diagnose(), lambda found: found[0].level == "ok"),
    }
    assert set(verbs) == {name for name, _ in inspect.getmembers(Inspection, inspect.iscoroutinefunction)}
    for name, (act, holds) in verbs.items():
        answer = await act()
        assert holds(answer), (name, answer)
    assert await backend.requeue(JobFilter(status=[Status.DEAD], text="NAME"), 9, spacing=2.0) == [dead.id]
    assert len(await backend.claim(demand("a", "b", "c"))) == 2


@pytest.mark.parametrize("few", [2, 3])
async def test_a_search_for_few_goes_to_them_and_one_for_many_through_the_ids(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """What is found does not depend on the way; how far one call comes does."""
    dead = await start(backend, *[NewJob("old") for _ in range(3)])
    await backend.settle([buried(claim) for claim in dead], WORKER)
    newer = await backend.enqueue([NewJob("new") for _ in range(50)])
    monkeypatch.setattr("qengine.backends.postgres.inspection._FEW", few)
    page = await backend.search(JobFilter(status=[Status.DEAD]), limit=2, window=20)
    if few == 2:
        assert (list(page.jobs), page.after) == ([], newer[30].id)
    else:
        assert ([job.id for job in page.jobs], page.after) == ([dead[2].id, dead[1].id], dead[1].id)
        page = await backend.search(JobFilter(status=[Status.DEAD]), limit=2, window=20, after=page.after)
        assert ([job.id for job in page.jobs], page.after) == ([dead[0].id], None)


async def test_a_schedule_that_is_deleted_meanwhile_is_not_paused(backend: PostgresBackend, sql: asyncpg.Connection) -> None:
    await backend.put_schedules([Schedule("s", "a", "0 0 1 1 *", "UTC", "one", FUTURE)])
    assert await backend.pause_schedule("s", True)
    assert [schedule.paused for schedule in await backend.schedules()] == [True]
    await sql.execute("DELETE FROM qengine_schedules")
    assert not await backend.pause_schedule("s", False)


@pytest.mark.parametrize("id", [-(2**70), -1, 2**70])
async def test_ids_that_can_be_none(backend: PostgresBackend, id: int) -> None:
    """They come from the address line of a browser: what they ask for is told, and no error of the driver."""
    [claim] = await start(backend, NewJob("a"))
    await backend.settle([failed(claim)], WORKER)
    await backend.audit(AuditEntry("me", "pause", job_id=claim.id))
    above = id > 0
    assert len((await backend.search(JobFilter(), limit=50, after=id)).jobs) == above
    assert len((await backend.search(JobFilter(status=[Status.FAILED]), limit=50, after=id)).jobs) == above
    assert len(await backend.audit_trail(9, before=id)) == above
    assert await backend.audit_trail(9, job_id=id) == []
    assert len(await backend.errors_since(id, 9)) == (not above)


async def test_names_that_cannot_be_stored_are_looked_for_in_vain(backend: PostgresBackend) -> None:
    """PostgreSQL takes no NUL and no half of a surrogate pair."""
    await start(backend, NewJob("a"))
    for text in ("\0", "\ud800"):
        for name in ("type", "queue", "error_group", "text"):
            assert list((await backend.search(JobFilter(**{name: text}), limit=50)).jobs) == []
            assert await backend.query(JobFilter(**{name: text}), limit=9) == []
        assert await backend.dead_by_day(PAST, text, text) == []
