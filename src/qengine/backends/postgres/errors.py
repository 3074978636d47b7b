"""Driver errors become errors of qengine here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg  # type: ignore[import-untyped]

from qengine.errors import BackendUnavailable, ConfigurationError, QEngineError, SchemaError

CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""The server gave up this transaction for the sake of another; done again, it will pass."""

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError)
"""All that the driver raises (a TimeoutError is an OSError)."""

BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
    EOFError,
)
"""After one of these a connection is not used again: it is gone, stuck, or leads to a server that no longer leads."""

_UNAVAILABLE = (
    *CONFLICTS,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,
    OSError,
    EOFError,
)
_NO_SCHEMA = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.DuplicateTableError,
)
_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidCatalogNameError,
)


def translate(error: BaseException) -> QEngineError:
    """The error of qengine that says what a driver error means to a caller."""
    told = _told(error)
    if isinstance(error, _UNAVAILABLE):
        return BackendUnavailable(f"PostgreSQL is not available: {told}")
    if isinstance(error, asyncpg.InterfaceError) and ("closed" in told or "released" in told):
        return BackendUnavailable(f"the connection to PostgreSQL was lost: {told}")
    if isinstance(error, _NO_SCHEMA):
        return SchemaError(f"the qengine schema is missing or is another ({told}); run `qengine migrate`, or check the option")
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return SchemaError(f"{told}; create it (createdb), or name another database in the URL")
    if isinstance(error, _REFUSED):
        return ConfigurationError(f"PostgreSQL refuses: {told}; check user, password and grants")
    if isinstance(error, asyncpg.ClientConfigurationError):
        return ConfigurationError(f"the PostgreSQL URL cannot be used: {told}")
    return QEngineError(f"PostgreSQL reports: {told}")


@contextmanager
def translated() -> Iterator[None]:
    """Whatever the driver raises in the block is raised as an error of qengine, with the driver's as its cause."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translate(error) from error


def _told(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
