"""The backend as a whole: made from a URL, opened, closed. Its verbs come by families, one module each."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from qengine.backends.postgres.admin import Admin
from qengine.backends.postgres.connection import TUNED, Connections
from qengine.backends.postgres.diagnose import Diagnosis
from qengine.backends.postgres.inspection import Inspection
from qengine.backends.postgres.jobs import Jobs
from qengine.backends.postgres.options import Options, read_options
from qengine.backends.postgres.upkeep import Upkeep
from qengine.backends.postgres.wake import Listener
from qengine.backends.protocol import CONTRACT_VERSION, BackendSettings, Capabilities
from qengine.errors import SchemaError

_OLDEST = 130000


class PostgresBackend(Jobs, Upkeep, Admin, Inspection, Diagnosis):
    """Jobs in PostgreSQL 13 or later, by asyncpg. See `QueueBackend` for what the verbs promise, `Options` for the options."""

    contract: ClassVar[int] = CONTRACT_VERSION

    def __init__(self, url: str, settings: BackendSettings, options: Options, *, wakes: bool = True) -> None:
        super().__init__(url, settings, options)
        self._pool = Connections(url, options, size=options.pool_size, settings=TUNED)
        self._handlers = Connections(url, options, size=options.pool_size)
        self._listener = (
            Listener(url, options, self._channel, heard=self._heard, missed=self._missed) if options.listen and wakes else None
        )
        self.capabilities = Capabilities(push=self._listener is not None, server_clock=True, caller_connection=True)

    @classmethod
    def from_url(cls, url: str, settings: BackendSettings, options: Mapping[str, Any]) -> Self:
        """See QueueBackend."""
        driver_url, read = read_options(url, options)
        return cls(driver_url, settings, read)

    def sibling(self) -> PostgresBackend:
        """See QueueBackend."""
        return PostgresBackend(self._url, self._settings, dataclasses.replace(self._options, pool_size=1), wakes=False)

    def __repr__(self) -> str:
        return f"<PostgresBackend schema={self._options.schema}>"

    # -- lifecycle

    async def open(self) -> None:
        """See QueueBackend."""
        self._pool.open()
        self._handlers.open()
        try:
            async with self._pool.lend() as connection:
                version = connection.get_server_version()
            if version.major * 10000 < _OLDEST:
                raise SchemaError(f"the server is PostgreSQL {version.major}; qengine needs {_OLDEST // 10000} or later")
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """See QueueBackend."""
        if self._listener is not None:
            await self._listener.stop()
        await self._handlers.close()
        await self._pool.close()

    async def now(self) -> dt.datetime:
        """See QueueBackend."""
        [row] = await self._fetch("now")
        now: dt.datetime = row["now"]
        return now

    # -- waking

    @property
    def wakes(self) -> int:
        """See QueueBackend."""
        return self._wakes.count

    async def wake(self, seen: int) -> int:
        """See QueueBackend."""
        # Only who waits listens: a process that but enqueues would hear of nothing but its own jobs.
        if self._listener is not None:
            await self._listener.start()
        return await self._wakes.after(seen)
