"""The engine: options, tasks, life, and the ways to enqueue and to work."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any

import anyio
import msgspec

from qengine import codec
from qengine.backends.protocol import STRICT_AGEING, BackendSettings, Enqueued, QueueBackend
from qengine.clock import Clock
from qengine.engine.checks import as_names, check_count, check_positive, kept
from qengine.engine.desk import Desk
from qengine.engine.groups import GroupCommit
from qengine.engine.health import Vitals
from qengine.engine.hooks import Hooks
from qengine.engine.opening import Opening
from qengine.engine.waiting import Waiting
from qengine.errors import UnknownTask
from qengine.events import Dispatcher
from qengine.job import Job, NewJob
from qengine.registry import Registry
from qengine.retry import RetryPolicy, as_policy
from qengine.task import NO_OPTIONS, JobDefaults, JobOptions, check_name, new_job
from qengine.worker import Rules, Worker, WorkerOptions


class Engine(Opening, Desk, Hooks, Vitals):
    """A job queue in one database, and the tasks that run from it.

    `async with engine:` opens it, migrates the database and closes it; `open` and `close` do the same by hand. An engine
    that was closed may be opened again, also in another event loop.

    - `url`: `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://user@host/database`, or a plug-in's.
    - `lease` (60 s): how long a claim lasts unless it is renewed, which happens at a third of it. Shorter: the jobs of a
      worker that was killed are taken over sooner, at the price of more writes.
    - `retry` (5, 10, 20 … minutes, at most a day): a tenacity wait or a `RetryPolicy`, for tasks without their own.
    - `max_attempts` (3), `timeout` (None: no end; seconds): likewise.
    - `ageing` (600 s): what one step of priority is worth in waiting time; None: strict priority, where a later job of a
      better priority always goes first.
    - `max_crashes` (5): so many leases lost in a row make a job dead.
    - `payload_limit` (1 MiB): bytes of a payload, a result or a checkpoint.
    - `retention`: seconds that ended jobs are kept, by status; None as a value keeps for ever. What is not named keeps
      its default: completed and cancelled 7 days, dead for ever.
    - `unknown_type_after` (None: never; seconds): due jobs of a type that no live worker knows are dead after it.
    - `migrate` (True): bring the schema up to date at opening; False: refuse to open when it is not.
    - `clock`: for tests; None is the database server's clock, or this machine's with SQLite.
    - `backend_options`: what the backend takes, as in the query of the URL.
    """

    def __init__(
        self,
        url: str,
        *,
        lease: float = 60.0,
        retry: Any = None,
        max_attempts: int = 3,
        timeout: float | None = None,
        ageing: float | None = 600.0,
        max_crashes: int = 5,
        payload_limit: int = 1 << 20,
        retention: Mapping[str, float | None] | None = None,
        unknown_type_after: float | None = None,
        migrate: bool = True,
        clock: Clock | None = None,
        backend_options: Mapping[str, Any] | None = None,
    ) -> None:
        check_positive("lease", lease)
        if ageing is not None:
            check_positive("ageing", ageing, zero=True)
        if timeout is not None:
            check_positive("timeout", timeout)
        if unknown_type_after is not None:
            check_positive("unknown_type_after", unknown_type_after)
        for name, value in (("max_attempts", max_attempts), ("max_crashes", max_crashes), ("payload_limit", payload_limit)):
            check_count(name, value)
        settings = BackendSettings(clock, STRICT_AGEING if ageing is None else float(ageing))
        super().__init__(url, settings, backend_options or {}, migrate=migrate)
        self.payload_limit = payload_limit
        policy: RetryPolicy = as_policy(retry)
        self.default_max_attempts = policy.max_attempts or max_attempts
        self._rules = Rules(
            lease=lease,
            retry=policy,
            timeout=timeout,
            max_crashes=max_crashes,
            payload_limit=payload_limit,
            retention=kept(retention),
            unknown_type_after=unknown_type_after,
        )
        self._events = Dispatcher()
        self._groups: GroupCommit | None = None
        self._waiting = Waiting(lambda job_id: self.backend.get(job_id))
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        self.registry = Registry(self)
        self.task = self.registry.task
        self.cron = self.registry.cron

    def __repr__(self) -> str:
        state = "open" if self._open is not None else "closed"
        return f"<qengine.Engine {self._url.partition(':')[0]} {state}, {len(self.registry.names)} tasks>"

    def _opened(self, backend: QueueBackend) -> None:
        self._groups = GroupCommit(backend)
        self._ready_to_count(backend)

    async def _closing(self) -> None:
        await self._stop_telling()
        if self._groups is not None:
            await self._groups.close()
        await self._stop_counting()
        self._groups = None

    # -- enqueueing

    async def enqueue(
        self,
        type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        conn: Any = None,
        **options: Any,
    ) -> Job[Any]:
        """Enqueue by name, with the arguments as a mapping; `options` are those of `Task.options`.

        The name may be that of another service's task: then the arguments are only checked for being JSON. A task that is
        registered here checks them against its handler.
        """
        arguments = dict(payload or {})
        chosen = JobOptions(conn=conn, **options) if options or conn is not None else NO_OPTIONS
        if type in self.registry:
            request = self.registry.get(type).new_job((), arguments, chosen, plain=True)
        else:
            check_name("type", type)
            text = codec.encode(arguments, limit=self.payload_limit, what=f"the payload of {type}")
            request = new_job(type, text, chosen, JobDefaults(max_attempts=self.default_max_attempts))
        return (await self.submit([request], conn))[0]

    async def submit(self, jobs: Sequence[NewJob], conn: Any = None) -> list[Job[Any]]:
        """Store requests that are checked already. What tasks enqueue through."""
        if self._instrument is None:
            return await self._store(jobs, conn)
        with self._instrument.storing(jobs) as (instrumented, told):
            stored = await self._store(instrumented, conn)
            told(stored)
            return stored

    async def _store(self, jobs: Sequence[NewJob], conn: Any) -> list[Job[Any]]:
        backend = self.backend
        if conn is None and len(jobs) == 1 and self._groups is not None:
            answers = [await self._groups.enqueue(jobs[0])]
        else:
            answers = await backend.enqueue(jobs, conn)
        stored = [self._stored(job, answer) for job, answer in zip(jobs, answers, strict=True)]
        for index, answer in enumerate(answers):
            if answer.existed and (standing := await backend.get(answer.id)) is not None:
                stored[index] = msgspec.structs.replace(standing, existed=True, _waiter=self)
        return stored

    def _stored(self, request: NewJob, answer: Enqueued) -> Job[Any]:
        return Job(
            id=answer.id,
            type=request.type,
            queue=request.queue,
            priority=request.priority,
            payload=codec.decode(request.payload),
            max_attempts=request.max_attempts,
            timeout=request.timeout,
            unique_key=request.unique_key,
            partition_key=request.partition_key,
            scheduled_for=answer.scheduled_for,
            created_at=answer.created_at,
            existed=answer.existed,
            _waiter=self,
        )

    # -- waiting

    async def wait_for(self, job_id: int, timeout: float | None = None) -> Any:
        """The result of a job, once it is completed, in the type that its handler's annotation says. See `Job.wait`."""
        job = await self._waiting.until_ended(job_id, timeout)
        try:
            return self.registry.get(job.type).codec.result(job.result)
        except UnknownTask:
            return job.result

    def _seen_by_user(self, job: Job[Any]) -> Job[Any]:
        return msgspec.structs.replace(job, _waiter=self)

    # -- working

    @contextlib.asynccontextmanager
    async def worker(
        self,
        *,
        concurrency: int = 10,
        queues: Iterable[str] | None = None,
        types: Iterable[str] | None = None,
        grace: float = 30.0,
        until_idle: bool = False,
        prefetch: int | None = None,
    ) -> AsyncIterator[Worker]:
        """Run a worker beside the block, in this event loop. It touches no signals.

        At the end of the block it stops gracefully (see `grace`). When a loop of it fails for good, the block is cancelled
        and the error raised. Options: `WorkerOptions`.
        """
        worker = self._worker(
            WorkerOptions(concurrency, as_names("queues", queues), as_names("types", types), grace, until_idle, prefetch)
        )
        host = asyncio.current_task()
        assert host is not None
        main = asyncio.create_task(worker.run(), name="qengine-worker-host")
        leaving = failed = False

        def ended(task: asyncio.Task[None]) -> None:
            nonlocal failed
            if not leaving and not task.cancelled() and task.exception() is not None:
                failed = True
                host.cancel()

        main.add_done_callback(ended)
        try:
            yield worker
        except asyncio.CancelledError:
            if failed and host.uncancel() == 0:
                await main
            raise
        else:
            if failed:
                await main
        finally:
            leaving = True
            if not failed:
                worker.stop()
                with anyio.CancelScope(shield=True):
                    await main

    async def run_worker(
        self,
        *,
        concurrency: int = 10,
        queues: Iterable[str] | None = None,
        types: Iterable[str] | None = None,
        grace: float = 30.0,
        until_idle: bool = False,
        prefetch: int | None = None,
    ) -> int:
        """Run a worker until the caller is cancelled, or until nothing is due (`until_idle`); how many runs it ended.

        When cancelled it stops gracefully first: running jobs have `grace` seconds to end.
        """
        worker = self._worker(
            WorkerOptions(concurrency, as_names("queues", queues), as_names("types", types), grace, until_idle, prefetch)
        )
        await worker.run()
        return worker.settled

    async def drain(
        self, *, concurrency: int = 10, queues: Iterable[str] | None = None, types: Iterable[str] | None = None
    ) -> int:
        """Run all that is due, then return how many runs that took. For cron jobs, serverless functions and tests.

        Fires of schedules that are due are among it, and jobs whose lease has ended; what another worker runs, or held
        when it died less than a lease ago, is not waited for.
        """
        return await self.run_worker(concurrency=concurrency, queues=queues, types=types, until_idle=True)

    @property
    def running_workers(self) -> Collection[Worker]:
        """The workers of this engine that run in this process."""
        return [worker for worker in self._workers if worker.running]

    def _running_were_touched(self) -> None:
        for worker in self._workers:
            worker.renew_now()

    def _worker(self, options: WorkerOptions) -> Worker:
        worker = Worker(
            self.backend,
            self.registry,
            self._rules,
            options,
            engine=self,
            events=self._events,
            instrument=self._instrument,
            on_settled=self._waiting.settled,
            on_ended=self._worker_ended,
        )
        self._workers.add(worker)
        self._ready_to_tell()
        return worker
