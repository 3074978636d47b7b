"""Registering tasks and schedules."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import pytest
import tenacity

from qengine.backends.protocol import Schedule
from qengine.context import JobContext
from qengine.errors import ConfigurationError, DuplicateTask, UnknownTask
from qengine.job import Job, NewJob
from qengine.registry import Registry
from qengine.retry import RetryPolicy

if TYPE_CHECKING:
    from qengine.context import JobContext as Imported


class Engine:
    payload_limit = 1000
    default_max_attempts = 3

    async def submit(self, jobs: list[NewJob], conn: Any) -> list[Job[Any]]:
        raise NotImplementedError


@pytest.fixture
def registry() -> Registry:
    return Registry(Engine())


async def plain() -> None: ...


def sync(n: int = 1) -> int:
    return n


async def with_default(n: int = 1, *, m: int = 2) -> None: ...


async def with_context(ctx: JobContext) -> None: ...


async def needs(n: int) -> None: ...


class Service:
    async def method(self, n: int) -> None: ...

    def __call__(self, n: int) -> None: ...

    @staticmethod
    def static(n: int) -> None: ...


class AsyncService:
    async def __call__(self, n: int) -> None: ...


class TestTask:
    def test_the_defaults(self, registry: Registry) -> None:
        task = registry.task()(plain)
        assert task.name == "plain"
        assert task.fn is plain
        settings = task.settings
        assert (settings.queue, settings.priority, settings.executor, settings.retry) == ("default", 5, "async", None)
        assert (settings.timeout, settings.max_attempts, settings.max_concurrency) == (None, None, None)

    def test_all_options(self, registry: Registry) -> None:
        wait = tenacity.wait_fixed(1)
        made = registry.task(
            "send", queue="mail", priority=4, timeout=30, max_attempts=2, max_concurrency=4, retry=wait, executor="thread"
        )(sync)
        settings = made.settings
        assert (settings.name, settings.queue, settings.priority, settings.timeout) == ("send", "mail", 4, 30)
        assert (settings.max_attempts, settings.max_concurrency, settings.executor) == (2, 4, "thread")
        assert settings.retry == RetryPolicy(wait=wait)

    def test_one_decorator_for_several_functions(self, registry: Registry) -> None:
        decorate = registry.task(priority=2)
        assert [decorate(plain).name, decorate(sync).name] == ["plain", "sync"]

    @pytest.mark.parametrize(
        "options", [{"priority": 0}, {"queue": ""}, {"timeout": -1}, {"retry": "soon"}, {"executor": "fork"}]
    )
    def test_an_option_that_cannot_be(self, registry: Registry, options: Any) -> None:
        with pytest.raises(ConfigurationError, match=f"{next(iter(options))}="):
            registry.task(**options)(plain)
        assert len(registry) == 0

    def test_without_parentheses(self, registry: Registry) -> None:
        with pytest.raises(ConfigurationError, match=r"write @engine.task\(\) above plain"):
            registry.task(plain)

    def test_a_name_twice(self, registry: Registry) -> None:
        first = registry.task("x")(plain)
        with pytest.raises(DuplicateTask, match=r"two tasks are named 'x' \(.*plain and .*sync\); give one another name"):
            registry.task("x")(sync)
        assert registry.get("x") is first

    def test_a_task_twice(self, registry: Registry) -> None:
        task: Any = registry.task("x")(plain)
        with pytest.raises(ConfigurationError, match=r"a task already; pass its function, x.fn"):
            registry.task("y")(task)

    @pytest.mark.parametrize("name", ["", "a\0", "x" * 256])
    def test_a_name_that_cannot_be(self, registry: Registry, name: str) -> None:
        with pytest.raises(ConfigurationError, match="name="):
            registry.task(name)(plain)

    @pytest.mark.parametrize("fn", [lambda: None, functools.partial(sync, 1), Service()])
    def test_what_has_no_name_needs_one(self, registry: Registry, fn: Any) -> None:
        with pytest.raises(ConfigurationError, match="has no name of its own"):
            registry.task()(fn)
        assert registry.task("named")(fn).name == "named"

    @pytest.mark.parametrize("fn", [None, 5, "plain", Service, staticmethod])
    def test_what_is_no_function(self, registry: Registry, fn: Any) -> None:
        with pytest.raises(ConfigurationError, match="takes a function"):
            registry.task("x")(fn)


@functools.wraps(sync)
async def async_around_sync(n: int = 1) -> int:
    return sync(n)


@functools.wraps(plain)
def sync_around_async() -> None:
    asyncio.run(plain())


class TestExecutor:
    def test_a_plain_wrapper_that_runs_an_async_function_itself_may_say_so(self, registry: Registry) -> None:
        assert registry.task("x", executor="thread")(sync_around_async).settings.executor == "thread"

    @pytest.mark.parametrize(
        ("fn", "executor"),
        [
            (plain, "async"),
            (sync, "thread"),
            (functools.partial(plain), "async"),
            (functools.partial(functools.partial(sync), 2), "thread"),
            (Service().method, "async"),
            (Service(), "thread"),
            (AsyncService(), "async"),
            (functools.wraps(plain)(lambda: plain()), "async"),
            (functools.wraps(sync)(functools.partial(plain)), "async"),
            (async_around_sync, "async"),
        ],
    )
    def test_it_follows_from_the_function(self, registry: Registry, fn: Any, executor: str) -> None:
        assert registry.task("x")(fn).settings.executor == executor

    @pytest.mark.parametrize("executor", ["thread", "process"])
    def test_async_runs_in_the_loop_only(self, registry: Registry, executor: Any) -> None:
        with pytest.raises(ConfigurationError, match="plain is async"):
            registry.task(executor=executor)(plain)

    def test_a_def_would_block_the_loop(self, registry: Registry) -> None:
        with pytest.raises(ConfigurationError, match="sync is not async and would block"):
            registry.task(executor="async")(sync)

    def test_a_process_imports_the_function(self, registry: Registry) -> None:
        assert registry.task(executor="process")(sync)(4) == 4
        assert registry.task(executor="process")(Service.static).settings.executor == "process"

    @pytest.mark.parametrize("make", [lambda: lambda: None, lambda: functools.partial(sync), Service, lambda: Service().__call__])
    def test_what_a_process_cannot_import(self, registry: Registry, make: Callable[[], Any]) -> None:
        with pytest.raises(ConfigurationError, match="cannot be imported by another process"):
            registry.task("x", executor="process")(make())

    def test_a_local_function_cannot_be_imported(self, registry: Registry) -> None:
        def local() -> None: ...

        with pytest.raises(ConfigurationError, match="local cannot be imported by another process"):
            registry.task(executor="process")(local)

    def test_a_process_has_no_context(self, registry: Registry) -> None:
        with pytest.raises(ConfigurationError, match="a JobContext cannot go into another process"):
            registry.task(executor="process")(module_level_with_context)
        assert len(registry) == 0

    def test_generators(self, registry: Registry) -> None:
        async def agen() -> AsyncIterator[int]:
            yield 1

        def gen() -> Iterator[int]:
            yield 1

        for fn in (agen, gen, functools.partial(gen)):
            with pytest.raises(ConfigurationError, match="is a generator"):
                registry.task("x")(fn)


def module_level_with_context(ctx: JobContext) -> None: ...


class TestContextParameter:
    def test_the_first_parameter(self, registry: Registry) -> None:
        async def slash(ctx: JobContext, /, n: int) -> None: ...
        async def text(ctx: "JobContext", n: int) -> None: ...  # noqa: UP037 - a text in a text

        assert registry.task()(with_context).wants_context
        assert registry.task()(slash).wants_context
        assert registry.task()(text).wants_context
        assert not registry.task()(plain).wants_context

    def test_any_other_place(self, registry: Registry) -> None:
        async def second(n: int, ctx: JobContext) -> None: ...
        async def keyword(*, ctx: JobContext) -> None: ...
        async def optional(ctx: JobContext | None = None) -> None: ...
        async def annotated(ctx: Annotated[JobContext, "x"]) -> None: ...
        async def twice(a: JobContext, b: JobContext) -> None: ...
        async def star(*args: JobContext) -> None: ...

        for fn in (second, keyword, optional, annotated, twice, star):
            with pytest.raises(ConfigurationError, match="is no place for a JobContext"):
                registry.task()(fn)

    def test_one_that_is_imported_for_type_checkers_only(self, registry: Registry) -> None:
        async def handler(ctx: Imported) -> None: ...

        with pytest.raises(ConfigurationError, match=r"'ctx' names 'Imported'.*TYPE_CHECKING"):
            registry.task()(handler)


class TestLooking:
    def test_by_name(self, registry: Registry) -> None:
        task = registry.task()(plain)
        registry.task()(sync)
        assert registry.get("plain") is task
        assert registry.names == ("plain", "sync")
        assert [t.name for t in registry] == ["plain", "sync"]
        assert "plain" in registry
        assert "other" not in registry
        assert len(registry) == 2

    def test_one_that_is_not_there(self, registry: Registry) -> None:
        with pytest.raises(UnknownTask, match=r"'x' \(registered: none\)"):
            registry.get("x")
        registry.task()(plain)
        with pytest.raises(LookupError, match=r"registered: plain"):
            registry.get("x")


class TestCron:
    def test_a_schedule(self, registry: Registry) -> None:
        task = registry.task()(plain)
        assert registry.cron("*/5  8-18 * * 1-6 ", tz="Europe/Berlin", catch_up="all")(task) is task
        (cron,) = registry.crons
        assert (cron.name, cron.task, cron.tz, cron.catch_up) == (
            "plain:*/5 8-18 * * 1-6 Europe/Berlin",
            "plain",
            "Europe/Berlin",
            "all",
        )
        now = dt.datetime(2024, 6, 3, 12, 1, tzinfo=dt.UTC)
        following = dt.datetime(2024, 6, 3, 12, 5, tzinfo=dt.UTC)
        assert cron.schedule(now) == Schedule(cron.name, "plain", "*/5 8-18 * * 1-6", "Europe/Berlin", "all", following)

    def test_the_defaults(self, registry: Registry) -> None:
        registry.cron("0 3 * * *")(registry.task()(plain))
        (cron,) = registry.crons
        assert (cron.name, cron.tz, cron.catch_up) == ("plain:0 3 * * *", "UTC", "one")

    def test_several_have_names_that_do_not_depend_on_their_order(self) -> None:
        names = []
        for order in ((0, 1, 2), (2, 1, 0)):
            registry = Registry(Engine())
            task = registry.task()(plain)
            schedules = [("0 3 * * *", "UTC"), ("0 3 * * *", "Europe/Berlin"), ("0 4 * * *", "UTC")]
            for index in order:
                registry.cron(*schedules[index])(task)
            names.append([cron.name for cron in registry.crons])
        assert names[0] == names[1]
        assert len(set(names[0])) == 3

    def test_the_same_twice(self, registry: Registry) -> None:
        task = registry.task()(plain)
        registry.cron("0 3 * * *")(task)
        with pytest.raises(ConfigurationError, match="twice; declare it once"):
            registry.cron("0  3 * * *")(task)

    @pytest.mark.parametrize("fn", [plain, sync, with_default, with_context])
    def test_what_needs_no_arguments(self, registry: Registry, fn: Any) -> None:
        registry.cron("* * * * *")(registry.task()(fn))

    def test_what_needs_arguments(self, registry: Registry) -> None:
        task = registry.task()(needs)
        with pytest.raises(
            ConfigurationError, match=r"'needs': cron calls it without arguments .*'n'.*; give its parameters defaults"
        ):
            registry.cron("* * * * *")(task)
        assert registry.crons == ()

    def test_a_plain_function(self, registry: Registry) -> None:
        decorate: Any = registry.cron("* * * * *")
        with pytest.raises(ConfigurationError, match=r"@engine.cron stands above @engine.task\(\), for 'plain' is no task yet"):
            decorate(plain)

    def test_a_task_of_another_engine(self, registry: Registry) -> None:
        task = Registry(Engine()).task()(plain)
        with pytest.raises(ConfigurationError, match="belongs to another engine"):
            registry.cron("* * * * *")(task)

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"expr": "61 * * * *"}, "61"),
            ({"expr": "* * * * *", "tz": "Mars"}, "Mars"),
            ({"expr": "* * * * *", "catch_up": "some"}, "catch_up='some'"),
            ({"expr": plain}, "cron"),
        ],
    )
    def test_what_cannot_be(self, registry: Registry, options: Any, named: str) -> None:
        with pytest.raises(ConfigurationError, match=named):
            registry.cron(**options)
