"""pgqueuer: an asyncpg pool, and batches as large as the concurrency."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.subject import Subject


class PgQueuerSubject(Subject):
    """Rows are deleted when they are done."""

    async def setup(self) -> None:
        connection = await asyncpg.connect(self.order.url)
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    async def open(self) -> None:
        self.pool = await asyncpg.create_pool(self.order.url, min_size=4, max_size=10)
        self.queries = Queries(AsyncpgPoolDriver(self.pool))

    async def close(self) -> None:
        await self.pool.close()

    async def enqueue(self, payload: dict[str, Any]) -> None:
        await self.queries.enqueue(self.order.type_names[0], json.dumps(payload).encode())

    async def enqueue_bulk(self, payloads: Sequence[dict[str, Any]], type_name: str) -> None:
        texts = [json.dumps(payload).encode() for payload in payloads]
        await self.queries.enqueue([type_name] * len(texts), texts, [0] * len(texts))

    async def serve(self) -> None:
        pgq = PgQueuer.from_asyncpg_pool(self.pool)

        async def run(job: Job) -> None:
            await self.handler(**json.loads(job.payload or b""))

        for name in self.order.type_names:
            pgq.entrypoint(name)(run)
        await pgq.run(batch_size=self.order.concurrency)

    async def unfinished(self) -> bool:
        return bool(await self.pool.fetchval("SELECT EXISTS (SELECT FROM pgqueuer)"))


SUBJECT = PgQueuerSubject
