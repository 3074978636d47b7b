"""The way of a job through SQLite: enqueue, claim, settle, and what its holder writes meanwhile."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, NamedTuple

import aiosqlite
import anyio

from qengine.backends.protocol import Claim, Demand, Enqueued, Lease, Settlement
from qengine.backends.sqlite import rows
from qengine.backends.sqlite.admin import Admin
from qengine.backends.sqlite.claim import claim
from qengine.backends.sqlite.diagnose import Diagnosis
from qengine.backends.sqlite.enqueue import Steps, Storing, is_small, run_over, storing
from qengine.backends.sqlite.errors import translated
from qengine.backends.sqlite.inspection import Inspection
from qengine.backends.sqlite.records import Records
from qengine.backends.sqlite.statements import SQL
from qengine.backends.sqlite.upkeep import Upkeep
from qengine.errors import ConfigurationError, LeaseLost
from qengine.job import NewJob, Status


class _Step(NamedTuple):
    """A statement of a settlement."""

    verb: str
    values: dict[str, Any]
    ids: Collection[int] = ()
    """The jobs, where there is a cheaper way if all of them are held."""


def _settle(connection: sqlite3.Connection, steps: Sequence[_Step]) -> set[int]:
    """Take the steps; the ids of the jobs that were held."""
    held: set[int] = set()
    for verb, values, ids in steps:
        if ids and connection.execute(SQL[verb + "_all"], {**values, "count": len(ids)}).rowcount == len(ids):
            held.update(ids)
        else:
            held.update(job_id for (job_id,) in connection.execute(SQL[verb], values))
    return held


class SQLiteBackend(Upkeep, Diagnosis, Admin, Inspection, Records):
    """Jobs in a SQLite file. Every rule is in `QueueBackend`."""

    # -- enqueue

    async def enqueue(self, jobs: Sequence[NewJob], conn: Any = None) -> list[Enqueued]:
        """See `QueueBackend.enqueue`."""
        if not jobs:
            return []
        now, ageing = self._now(), self.settings.ageing
        if conn is not None:
            return await self._enqueue_over(conn, storing(jobs, now, ageing))
        single = all(job.unique_key is None for job in jobs)
        store = Storing(jobs, now, ageing)
        stored = await self._write(store if is_small(jobs) else store.__call__, single=single)
        self._wakes.bump()
        return stored

    async def _enqueue_over(self, conn: Any, steps: Steps[list[Enqueued]]) -> list[Enqueued]:
        if not isinstance(conn, aiosqlite.Connection):
            raise ConfigurationError(f"conn= takes an aiosqlite.Connection on SQLite, not {type(conn).__qualname__}")
        inside = self._transactions.inside()
        if inside is None or inside.connection is not conn:
            self._transactions.forbid_inside()
        else:
            inside.enqueued = True
        with translated(self.options.path):
            return await run_over(conn, steps)

    # -- claim and settle

    async def claim(self, demand: Demand) -> list[Claim]:
        """See `QueueBackend.claim`."""
        if demand.limit <= 0 or not demand.types:
            return []
        now = self._now()
        taken = await self._write(lambda connection: claim(connection, demand, now))
        return [rows.claim(row, now) for row in taken]

    async def settle(self, settlements: Sequence[Settlement], worker: str) -> list[Lease]:
        """See `QueueBackend.settle`."""
        if not settlements:
            return []
        steps = self._settling(settlements, worker)
        applied = await self._write(lambda connection: _settle(connection, steps), single=len(steps) == 1)
        if any(done.status in (Status.PENDING, Status.FAILED) for done in settlements):
            self._wakes.bump()
        if len(applied) == len(settlements):
            return []
        return [Lease(done.id, done.token) for done in settlements if done.id not in applied]

    def _settling(self, settlements: Sequence[Settlement], worker: str) -> list[_Step]:
        """The steps, at most four of them, whatever is settled."""
        now = self._now()
        plain: dict[int, int] = {}
        results: dict[int, tuple[int, str]] = {}
        others: list[Settlement] = []
        for done in settlements:
            if not rows.is_plain_completion(done):
                others.append(done)
            elif done.result is None:
                plain[done.id] = done.token
            else:
                results[done.id] = (done.token, done.result)
        steps: list[_Step] = []
        if plain:
            steps.append(_Step("settle_completed", {"leases": rows.as_json(plain), "now": now}, plain))
        if results:
            leases = rows.as_json({job_id: token for job_id, (token, _) in results.items()})
            steps.append(_Step("settle_results", {"done": rows.as_json(results), "leases": leases, "now": now}, results))
        if others:
            values = {
                "done": rows.settlements(others),
                "now": now,
                "worker": worker,
                "ageing": self.settings.ageing,
                "latest": rows.LATEST,
            }
            if any(done.logged for done in others):
                steps.append(_Step("settle_errors", values))
            steps.append(_Step("settle", values))
        return steps

    # -- what the holder of a lease writes

    async def extend(self, leases: Sequence[Lease], seconds: float) -> list[Lease]:
        """See `QueueBackend.extend`."""
        if not leases:
            return []
        held = set(await self._write_one("extend", {"leases": rows.leases(leases), "now": self._now(), "seconds": seconds}))
        return [lease for lease in leases if lease not in held]

    async def disown(self, worker: str, keep: Sequence[Lease]) -> int:
        """See `QueueBackend.disown`."""
        values = {"worker": worker, "keep": rows.as_json(list(keep)), "now": self._now(), "ageing": self.settings.ageing}
        disowned = await self._change("disown", values)
        if disowned:
            self._wakes.bump()
        return disowned

    async def save(self, lease: Lease, *, progress: str | None = None, checkpoint: str | None = None) -> bool:
        """See `QueueBackend.save`."""
        values = {"id": lease.id, "token": lease.token, "progress": progress, "checkpoint": checkpoint, "now": self._now()}
        return await self._change("save", values) == 1

    @contextlib.asynccontextmanager
    async def transaction(self, lease: Lease) -> AsyncIterator[aiosqlite.Connection]:
        """See `QueueBackend.transaction`."""
        if self._writer is None:
            raise self._closed()
        async with self._transactions.begin() as lent:
            yield lent.connection
            # From here to the end nothing may be left undecided by a cancellation.
            with anyio.CancelScope(shield=True), translated(self.options.path):
                await self._complete(lent.connection, lease)
        if lent.enqueued:
            self._wakes.bump()

    async def _complete(self, connection: aiosqlite.Connection, lease: Lease) -> None:
        if not connection.in_transaction:
            raise ConfigurationError("the block of `transaction()` ended the transaction itself; leave commit and rollback to it")
        values = {"leases": rows.as_json({lease.id: lease.token}), "now": self._now()}
        completed = list(await connection.execute_fetchall(SQL["settle_completed"], values))
        if not completed:
            raise LeaseLost(f"the lease on job {lease.id} has ended; nothing of the transaction was stored")
        await connection.execute_fetchall("COMMIT")

    async def store_result(self, lease: Lease, result: str) -> bool:
        """See `QueueBackend.store_result`."""
        values = {"id": lease.id, "token": lease.token, "result": result, "now": self._now()}
        return await self._change("store_result", values) == 1
