"""The way of a job: stored, claimed, kept, settled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from operator import itemgetter
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from asyncpg.pool import PoolConnectionProxy  # type: ignore[import-untyped]

from qengine.backends.postgres.connection import Connection, Connections, Record
from qengine.backends.postgres.core import Core
from qengine.backends.postgres.enqueue import is_simple, store
from qengine.backends.postgres.errors import translated
from qengine.backends.postgres.lines import Line
from qengine.backends.postgres.rows import capped, claims_of, completion, in_line, last_ranks, settle_arrays
from qengine.backends.protocol import Claim, Demand, Enqueued, Lease, Settlement
from qengine.errors import ConfigurationError, LeaseLost
from qengine.job import NewJob, Status


class Jobs(Core):
    """enqueue, claim, settle, extend, save, transaction, store_result."""

    _handlers: Connections
    """The connections of `transaction`: apart, so that handlers which hold them cannot lock the engine out."""

    # -- enqueue

    async def enqueue(self, jobs: Sequence[NewJob], conn: Any = None) -> list[Enqueued]:
        """See QueueBackend."""
        if conn is not None and not isinstance(conn, (asyncpg.Connection, PoolConnectionProxy)):
            raise ConfigurationError(f"conn= takes an asyncpg connection on this backend, not {type(conn).__name__}")
        if not jobs:
            return []
        if conn is not None:
            return await self._enqueue_on(conn, jobs)
        if is_simple(jobs):
            answers, came = await store(self._fetch, jobs)
        else:
            answers, came = await self._pool.in_transaction(lambda connection: store(partial(self._fetch_on, connection), jobs))
        self._enqueued(came)
        return answers

    async def _enqueue_on(self, conn: Connection, jobs: Sequence[NewJob]) -> list[Enqueued]:
        fetch = partial(self._fetch_on, conn)
        with translated():
            if conn.is_in_transaction():
                # What comes in line comes with the caller's commit; the notification tells us.
                return (await store(fetch, jobs))[0]
            async with conn.transaction():
                answers, _ = await store(fetch, jobs)
        self._came_in_line()
        return answers

    # -- claim

    async def claim(self, demand: Demand) -> list[Claim]:
        """See QueueBackend."""
        types = {name: min(room, demand.limit) for name, room in demand.types.items() if room > 0}
        if demand.limit <= 0 or not types:
            return []
        lines, hinted = await self._lines_of(demand, types)
        marks = None if demand.suspects else self._hints.marks(lines)
        taken = await self._take(demand, types, lines, marks)
        if len(taken) == min(demand.limit, sum(types.values())):
            if not demand.suspects:
                for line, rank in last_ranks(taken).items():
                    self._hints.taken(line, rank)
        elif taken:
            self._hints.unmark()
        elif hinted or marks is not None:
            # Nothing was found where the hints pointed: that says nothing yet.
            self._hints.forget()
            lines, _ = await self._lines_of(demand, types)
            taken = await self._take(demand, types, lines, None)
        return claims_of(taken)

    async def _lines_of(self, demand: Demand, types: Iterable[str]) -> tuple[list[Line], bool]:
        """The lines to look at, and whether that is from memory."""
        if demand.queues is not None:
            return [(queue, name) for queue in dict.fromkeys(demand.queues) for name in types], False
        if demand.suspects:
            known, hinted = {(row["queue"], row["type"]) for row in await self._fetch("lines_suspects")}, False
        elif (remembered := self._hints.known) is not None:
            known, hinted = remembered, True
        else:
            known, hinted = {(row["queue"], row["type"]) for row in await self._fetch("lines")}, False
            self._hints.learn(known)
        return [line for line in known if line[1] in types], hinted

    async def _take(self, demand: Demand, types: dict[str, int], lines: list[Line], marks: list[float] | None) -> list[Record]:
        """The rows taken, in the order of the line."""
        if not lines:
            return []
        lane = "_suspects" if demand.suspects else ""
        marks = marks or [float("-inf")] * len(lines)
        common = {"worker": demand.worker, "lease": capped(demand.lease)}
        if len(lines) == 1:
            [(queue, name)], [mark] = lines, marks
            rows = await self._fetch(f"claim_one_type{lane}", queue=queue, type=name, mark=mark, limit=types[name], **common)
        else:
            rows = await self._fetch(
                f"claim{lane}",
                queues=[queue for queue, _ in lines],
                types=[name for _, name in lines],
                rooms=[types[name] for _, name in lines],
                marks=marks,
                limit=demand.limit,
                sip=2 * demand.limit // len(lines) + 2,
                **common,
            )
        return sorted(rows, key=in_line)

    # -- under the lease

    async def settle(self, settlements: Sequence[Settlement], worker: str) -> list[Lease]:
        """See QueueBackend."""
        if not settlements:
            return []
        # In the order of ids, as every writer of several rows: two that meet wait for each other in one order.
        ordered = sorted(settlements, key=itemgetter(0))
        plain = [s for s in ordered if _is_plain(s)]
        others = [s for s in ordered if not _is_plain(s)] if len(plain) < len(ordered) else []
        if not others:
            verb, values = completion(plain)
            held = await self._fetch(verb, **values)
        elif not plain:
            held = await self._fetch("settle", **settle_arrays(others), worker=worker)
        else:
            held = await self._pool.in_transaction(lambda connection: self._settle_both(connection, plain, others, worker))
        if any(s.status in (Status.PENDING, Status.FAILED) for s in others):
            self._came_in_line()
        return _lost(settlements, held)

    async def _settle_both(
        self, connection: Connection, plain: Sequence[Settlement], others: Sequence[Settlement], worker: str
    ) -> list[Record]:
        verb, values = completion(plain)
        return [
            *await self._fetch_on(connection, verb, **values),
            *await self._fetch_on(connection, "settle", **settle_arrays(others), worker=worker),
        ]

    async def extend(self, leases: Sequence[Lease], seconds: float) -> list[Lease]:
        """See QueueBackend."""
        if not leases:
            return []
        ordered = sorted(leases)
        held = await self._fetch(
            "extend", ids=[lease.id for lease in ordered], tokens=[lease.token for lease in ordered], seconds=capped(seconds)
        )
        holding = {tuple(row) for row in held}
        return [lease for lease in leases if lease not in holding]

    async def disown(self, worker: str, keep: Sequence[Lease]) -> int:
        """See QueueBackend."""
        [row] = await self._fetch(
            "disown", worker=worker, ids=[lease.id for lease in keep], tokens=[lease.token for lease in keep]
        )
        disowned: int = row["n"]
        if disowned:
            self._came_in_line()
        return disowned

    async def save(self, lease: Lease, *, progress: str | None = None, checkpoint: str | None = None) -> bool:
        """See QueueBackend."""
        return bool(await self._fetch("save", id=lease.id, token=lease.token, progress=progress, checkpoint=checkpoint))

    async def store_result(self, lease: Lease, result: str) -> bool:
        """See QueueBackend."""
        return bool(await self._fetch("store_result", id=lease.id, token=lease.token, result=result))

    def transaction(self, lease: Lease) -> AbstractAsyncContextManager[Any]:
        """See QueueBackend."""
        return self._transaction(lease)

    @asynccontextmanager
    async def _transaction(self, lease: Lease) -> AsyncIterator[Connection]:
        async with self._handlers.lend(reset=True) as connection:
            transaction = connection.transaction()
            with translated():
                await transaction.start()
            try:
                yield connection
                completed = await self._fetch_on(connection, "settle_alike", ids=[lease.id], token=lease.token)
                if not completed:
                    raise LeaseLost(f"job {lease.id} is no longer ours: its transaction was rolled back")
            except BaseException:
                if not connection.is_closed():
                    with translated():
                        await transaction.rollback()
                raise
            await transaction.commit()


def _lost(settlements: Sequence[Settlement], held: Sequence[Record]) -> list[Lease]:
    if len(held) == len(settlements):
        return []
    ids = {row["id"] for row in held}
    return [Lease(s.id, s.token) for s in settlements if s.id not in ids]


def _is_plain(s: Settlement) -> bool:
    return s.status == Status.COMPLETED and s.ended and s.spent and s.error is None and not s.logged
