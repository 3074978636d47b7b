"""The PostgreSQL backend, on asyncpg."""

from qengine.backends.postgres.backend import PostgresBackend

__all__ = ["PostgresBackend"]
