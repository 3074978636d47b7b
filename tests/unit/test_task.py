"""Enqueueing through a task: what reaches the engine, and which options are refused."""

from __future__ import annotations

import datetime as dt
import inspect
from typing import Any

import pytest

from qengine.context import JobContext
from qengine.errors import ConfigurationError, PayloadError
from qengine.job import Job, NewJob
from qengine.registry import Registry
from qengine.retry import RetryPolicy
from qengine.task import JobDefaults, JobOptions, TaskOptions, new_job

pytestmark = pytest.mark.anyio
SOON = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


class Engine:
    """Remembers what was submitted."""

    payload_limit = 1000
    default_max_attempts = 3

    def __init__(self) -> None:
        self.calls: list[tuple[list[NewJob], Any]] = []

    async def submit(self, jobs: list[NewJob], conn: Any) -> list[Job[Any]]:
        self.calls.append((jobs, conn))
        return [Job(id=index, type=job.type) for index, job in enumerate(jobs, 1)]

    @property
    def only(self) -> NewJob:
        ((jobs, _),) = self.calls
        (job,) = jobs
        return job


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def registry(engine: Engine) -> Registry:
    return Registry(engine)


@pytest.fixture
def send(registry: Registry) -> Any:
    @registry.task("send_email", queue="mail", priority=4)
    async def send(to: str, subject: str = "hi") -> str:
        """Send one."""
        return f"{to}: {subject}"

    return send


class TestTheFunction:
    async def test_it_stays_callable(self, send: Any, engine: Engine) -> None:
        assert await send("a", subject="b") == "a: b"
        assert engine.calls == []

    def test_it_looks_like_itself(self, send: Any) -> None:
        assert (send.__name__, send.__doc__, send.__module__) == ("send", "Send one.", __name__)
        assert list(inspect.signature(send).parameters) == ["to", "subject"]
        assert inspect.unwrap(send) is send.fn
        assert repr(send) == "<Task 'send_email'>"

    def test_an_argument_may_be_called_self(self, registry: Registry) -> None:
        def handler(self: int) -> int:
            return self

        task: Any = registry.task()(handler)
        assert task(self=3) == 3


class TestEnqueue:
    async def test_one(self, send: Any, engine: Engine) -> None:
        job = await send.enqueue(to="a")
        assert job.id == 1
        assert engine.calls == [
            ([NewJob("send_email", '{"to":"a"}', "mail", 4, max_attempts=3)], None),
        ]

    async def test_by_position(self, send: Any, engine: Engine) -> None:
        await send.enqueue("a", "b")
        assert engine.only.payload == '{"to":"a","subject":"b"}'

    async def test_an_argument_may_be_called_self(self, registry: Registry, engine: Engine) -> None:
        def handler(self: int, args: int, kwargs: int) -> None: ...

        task: Any = registry.task()(handler)
        await task.enqueue(self=1, args=2, kwargs=3)
        await task.options(priority=1).enqueue(self=1, args=2, kwargs=3)
        assert {job.payload for jobs, _ in engine.calls for job in jobs} == {'{"self":1,"args":2,"kwargs":3}'}

    async def test_without_the_context(self, registry: Registry, engine: Engine) -> None:
        @registry.task()
        async def enrich(ctx: JobContext, company_id: int) -> None: ...

        assert enrich.wants_context
        await enrich.enqueue(company_id=3)
        await enrich.enqueue(4)
        assert [job.payload for jobs, _ in engine.calls for job in jobs] == ['{"company_id":3}', '{"company_id":4}']

    async def test_wrong_arguments_submit_nothing(self, send: Any, engine: Engine) -> None:
        for kwargs in ({}, {"too": "x"}, {"to": 3}, {"to": "x" * 1000}):
            with pytest.raises(PayloadError):
                await send.enqueue(**kwargs)
        assert engine.calls == []

    async def test_attempts_from_the_task_its_policy_or_the_engine(self, registry: Registry, engine: Engine) -> None:
        def a() -> None: ...
        def b() -> None: ...
        def c() -> None: ...

        policy = RetryPolicy(max_attempts=7)
        await registry.task(max_attempts=5, retry=policy)(a).enqueue()
        await registry.task(retry=policy)(b).enqueue()
        await registry.task(retry=1)(c).enqueue()
        assert [job.max_attempts for jobs, _ in engine.calls for job in jobs] == [5, 7, 3]


class TestEnqueueMany:
    async def test_all_at_once_and_in_order(self, send: Any, engine: Engine) -> None:
        jobs = await send.enqueue_many({"to": str(n)} for n in range(3))
        assert [job.id for job in jobs] == [1, 2, 3]
        ((submitted, conn),) = engine.calls
        assert [job.payload for job in submitted] == [f'{{"to":"{n}"}}' for n in range(3)]
        assert conn is None

    async def test_none(self, send: Any, engine: Engine) -> None:
        assert await send.enqueue_many([]) == []
        assert engine.calls == []

    async def test_one_wrong_submits_none(self, send: Any, engine: Engine) -> None:
        with pytest.raises(PayloadError, match=r"item 1: .*'to' is missing") as caught:
            await send.enqueue_many([{"to": "a"}, {}])
        assert caught.value.parameter == "to"
        assert engine.calls == []

    @pytest.mark.parametrize("calls", [{"to": "a"}, [["a"]], ["a"]])
    async def test_what_are_no_arguments(self, send: Any, engine: Engine, calls: Any) -> None:
        with pytest.raises(PayloadError, match="enqueue_many"):
            await send.enqueue_many(calls)
        assert engine.calls == []


class TestOptions:
    async def test_all_of_them_reach_the_job(self, send: Any, engine: Engine) -> None:
        options: dict[str, Any] = {
            "priority": 1,
            "delay": 60,
            "max_attempts": 5,
            "timeout": 9,
            "queue": "other",
            "unique_key": "welcome:7",
            "partition_key": "7",
            "expires": 3600,
        }
        conn = object()
        bound = send.options(**options, headers={"traceparent": "x"}, conn=conn)
        await bound.enqueue(to="a")
        expected = NewJob(type="send_email", payload='{"to":"a"}', headers='{"traceparent":"x"}', **options)
        assert engine.calls == [([expected], conn)]
        await bound.enqueue_many([{"to": "a"}, {"to": "b"}])
        assert [job.priority for job in engine.calls[1][0]] == [1, 1]
        assert engine.calls[1][1] is conn

    async def test_what_is_not_given_is_the_tasks(self, send: Any, engine: Engine) -> None:
        await send.options(at=SOON, expires=SOON).enqueue(to="a")
        assert engine.only == NewJob("send_email", '{"to":"a"}', "mail", 4, at=SOON, expires=SOON, max_attempts=3)

    async def test_a_delay_of_nothing_is_kept(self, send: Any, engine: Engine) -> None:
        await send.options(delay=0).enqueue(to="a")
        assert engine.only.delay == 0

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *[("priority", v) for v in (0, 11, -1, 5.0, "5", True)],
            *[("delay", v) for v in (-1, 10**400, float("nan"), float("inf"), "5", True, 1e11, dt.timedelta(1))],
            *[("at", v) for v in (dt.datetime.max.replace(tzinfo=dt.UTC), dt.datetime.min.replace(tzinfo=dt.UTC))],
            *[("at", v) for v in (dt.datetime(2030, 1, 1), 5, "2030-01-01", dt.date(2030, 1, 1))],
            *[("max_attempts", v) for v in (0, -1, 1.0, "3", True, 2**31)],
            *[("timeout", v) for v in (0, -1, float("nan"), float("inf"), "5", True)],
            *[("queue", v) for v in ("", "a\0b", "x" * 256, 5, "\ud800", b"x")],
            *[("unique_key", v) for v in ("", "a\0b", "x" * 513, 7, "\ud800")],
            *[("partition_key", v) for v in ("", "a\0b", "x" * 513, 7)],
            *[("expires", v) for v in (0, -1, 10**400, float("nan"), float("inf"), "5", True, dt.datetime(2030, 1, 1))],
            *[("headers", v) for v in ("x", {"a": 1}, {1: "a"}, {"a": "\0"}, ["a"])],
        ],
        ids=repr,
    )
    async def test_values_that_cannot_be(self, send: Any, engine: Engine, name: str, value: Any) -> None:
        with pytest.raises(ConfigurationError, match=rf"^{name}") as caught:
            send.options(**{name: value})
        assert "give" in str(caught.value) or "remove it" in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("priority", 1), ("priority", 10), ("delay", 0), ("timeout", 0.001), ("queue", "x" * 255), ("unique_key", "ü" * 512)],
    )
    def test_values_at_the_edge(self, send: Any, name: str, value: Any) -> None:
        send.options(**{name: value})

    def test_delay_and_at(self, send: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"delay=5 and at=.*give one of them"):
            send.options(delay=5, at=SOON)

    def test_an_option_that_there_is_not(self, send: Any) -> None:
        with pytest.raises(TypeError, match="prio"):
            send.options(prio=5)

    def test_a_message_does_not_show_a_whole_long_value(self, send: Any) -> None:
        with pytest.raises(ConfigurationError) as caught:
            send.options(unique_key="x" * 100_000)
        assert len(str(caught.value)) < 200

    def test_a_connection_is_not_shown(self, send: Any) -> None:
        assert "password" not in repr(send.options(conn="password", priority=2))


class TestByName:
    def test_a_job_of_a_type_that_is_not_registered(self) -> None:
        job = new_job("elsewhere", "{}", JobOptions(priority=2), JobDefaults(max_attempts=8))
        assert job == NewJob("elsewhere", "{}", "default", 2, max_attempts=8)

    def test_plain_arguments(self, registry: Registry) -> None:
        @registry.task()
        async def plan(day: dt.date) -> None: ...

        assert plan.new_job((), {"day": "2024-01-01"}, plain=True).payload == '{"day":"2024-01-01"}'
        with pytest.raises(PayloadError):
            plan.new_job((), {"day": "2024-01-01"})


class TestTaskOptions:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("name", ""),
            ("name", "x" * 256),
            ("queue", ""),
            ("queue", None),
            ("priority", 0),
            ("priority", None),
            ("timeout", 0),
            ("timeout", float("inf")),
            ("max_attempts", 0),
            ("max_concurrency", 0),
            ("max_concurrency", True),
            ("executor", "fork"),
        ],
    )
    def test_values_that_cannot_be(self, name: str, value: Any) -> None:
        with pytest.raises(ConfigurationError, match=f"^{name}="):
            TaskOptions(**{"name": "x", name: value})
