"""Lifecycle: opening and closing, migrations once and under a lock, and URLs that cannot be."""

from __future__ import annotations

import datetime as dt

import anyio
import pytest

from qengine.backends.protocol import CONTRACT_VERSION, BackendSettings, Capabilities, QueueBackend
from qengine.errors import ConfigurationError, SchemaError
from qengine.job import NewJob, Status
from qengine.testing.clock import FakeClock
from qengine.testing.conformance.suite import PATIENCE, Suite, demand, done, need, put, row, rows, start_one, together
from qengine.testing.factory import BackendFactory


class TestMigrate(Suite):
    """`migrate`, `check_schema` and `migration_sql`."""

    async def test_once(self, backend_factory: BackendFactory, settings: BackendSettings) -> None:
        """The first run names what it applied; a second, and one of another process, has nothing to do and keeps all."""
        backend = await backend_factory(settings, migrate=False)
        applied = await backend.migrate()
        assert applied
        assert all(isinstance(name, str) for name in applied)
        ids = await put(backend, NewJob("a"), NewJob("b"))
        before = await rows(backend)
        assert await backend.migrate() == []
        other = await backend_factory(settings, migrate=False)
        assert await other.migrate() == []
        assert [job.id for job in before] == ids
        assert await rows(other) == before

    async def test_many_at_once(self, backend_factory: BackendFactory, settings: BackendSettings) -> None:
        """Of processes that start together one migrates, and all can work."""
        backends = [await backend_factory(settings, migrate=False) for _ in range(4)]
        applied = await together(*[backend.migrate() for backend in backends])
        assert sorted(bool(names) for names in applied) == [False, False, False, True]
        for backend in backends:
            await backend.check_schema()
            await put(backend)
        assert len(await rows(backends[0])) == 4

    async def test_an_empty_database_has_no_schema(self, backend_factory: BackendFactory, settings: BackendSettings) -> None:
        """`check_schema` says so, and how to mend it; after `migrate` it is content."""
        backend = await backend_factory(settings, migrate=False)
        with pytest.raises(SchemaError, match="migrate"):
            await backend.check_schema()
        await backend.migrate()
        await backend.check_schema()

    async def test_a_newer_schema_is_refused(
        self, backend_factory: BackendFactory, backend: QueueBackend, settings: BackendSettings
    ) -> None:
        """What a newer release made is not touched: SchemaError from `migrate` and `check_schema`."""
        ids = await put(backend)
        await need(backend_factory, "outgrow").outgrow()
        late = await backend_factory(settings, migrate=False)
        with pytest.raises(SchemaError):
            await late.migrate()
        with pytest.raises(SchemaError):
            await late.check_schema()
        assert [job.id for job in await rows(backend)] == ids

    async def test_the_sql_can_be_read(self, backend: QueueBackend) -> None:
        """`migration_sql` is the text, for a person who runs it by hand; it connects to nothing."""
        assert "qengine_jobs" in backend.migration_sql()
        assert backend.migration_sql() == backend.sibling().migration_sql()


class TestLifecycle(Suite):
    """`from_url`, `open`, `close`, `sibling` and `now`."""

    async def test_what_it_says_of_itself(self, backend: QueueBackend) -> None:
        """The contract is this one; the capabilities are told."""
        assert type(backend).contract == CONTRACT_VERSION
        assert isinstance(backend.capabilities, Capabilities)

    async def test_close_twice(self, backend_factory: BackendFactory, settings: BackendSettings) -> None:
        """Closing again is no error, nor is closing what was never opened; what was stored stays."""
        backend = await backend_factory(settings)
        ids = await put(backend)
        await backend.close()
        await backend.close()
        unopened = backend_factory.unopened(settings)
        await unopened.close()
        again = await backend_factory(settings)
        assert [job.id for job in await rows(again)] == ids

    async def test_close_ends_the_waits(self, backend_factory: BackendFactory, settings: BackendSettings) -> None:
        """A backend that is closed while a task waits for a wake-up can be closed, and the task cancelled."""
        backend = await backend_factory(settings)
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                group.start_soon(backend.wake, backend.wakes)
                await anyio.wait_all_tasks_blocked()
                await backend.close()
                group.cancel_scope.cancel()

    @pytest.mark.parametrize("where", ["options", "url"])
    async def test_an_unknown_option_is_refused(
        self, backend_factory: BackendFactory, settings: BackendSettings, where: str
    ) -> None:
        """By name, whether it stands in the URL or among the options."""
        url, options = backend_factory.url, dict(backend_factory.options)
        if where == "options":
            options["no_such_option"] = 1
        else:
            url += ("&" if "?" in url else "?") + "no_such_option=1"
        with pytest.raises(ConfigurationError, match="no_such_option"):
            type(backend_factory.unopened(settings)).from_url(url, settings, options)

    async def test_a_password_is_not_shown(self, backend_factory: BackendFactory, settings: BackendSettings) -> None:
        """Whatever is wrong with a URL, the message does not repeat its password."""
        scheme = backend_factory.url.partition("://")[0]
        for url in (f"{scheme}://me:s3cret@host/db?no_such_option=1", f"{scheme}://me:s3cret@host:port/db"):
            with pytest.raises(ConfigurationError) as caught:
                type(backend_factory.unopened(settings)).from_url(url, settings, {"no_such_option": 1})
            assert "s3cret" not in str(caught.value)

    async def test_the_clock_is_the_one_given(self, backend: QueueBackend, clock: FakeClock) -> None:
        """With a clock in the settings, now is what it says."""
        assert await backend.now() == clock.now()
        clock.advance(1234.5)
        assert await backend.now() == clock.now()

    async def test_without_a_clock_it_is_the_real_time(self, backend_factory: BackendFactory) -> None:
        """The whole way of a job by the database's own clock, or this machine's."""
        backend = await backend_factory(BackendSettings())
        began = await backend.now()
        assert began.tzinfo is not None
        assert abs(began - dt.datetime.now(dt.UTC)) < dt.timedelta(hours=1)
        claim = await start_one(backend)
        await backend.settle([done(claim)], "w")
        job = await row(backend, claim.id)
        assert job.created_at is not None
        assert job.started_at is not None
        assert job.completed_at is not None
        ended = await backend.now()
        assert began <= job.created_at <= job.started_at <= job.completed_at <= ended
        [later] = await put(backend, NewJob("a", delay=3600.0))
        deadline = await backend.next_deadline()
        assert deadline is not None
        assert 3500 < deadline <= 3600
        assert await backend.claim(demand()) == []
        assert (await row(backend, later)).status is Status.PENDING

    async def test_a_sibling_shares_the_database(self, backend: QueueBackend, clock: FakeClock) -> None:
        """It works on the same jobs, and closing it closes nothing of the other."""
        sibling = backend.sibling()
        await sibling.open()
        ids = await put(sibling)
        assert [job.id for job in await rows(backend)] == ids
        await sibling.close()
        assert [claim.id for claim in await backend.claim(demand())] == ids
