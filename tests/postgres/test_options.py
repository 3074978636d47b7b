"""The URL and the options of the PostgreSQL backend; nothing here connects."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from qengine import ConfigurationError
from qengine.backends import open_backend
from qengine.backends.postgres import PostgresBackend
from qengine.backends.postgres.options import Options, read_options

URL = "postgresql://app:s3cret@db.example.com:6432/shop"


def test_defaults() -> None:
    url, options = read_options(URL, {})
    assert options == Options(
        schema="public", pool_size=5, listen=True, durability="full", connect_timeout=10.0, command_timeout=60.0
    )
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.path) == ("postgresql", "app:s3cret@db.example.com:6432", "/shop")
    assert parse_qs(parts.query) == {"application_name": ["qengine"]}


def test_the_query_and_the_options_mean_the_same_and_options_win() -> None:
    query = "?schema=jobs&pool_size=3&listen=off&durability=full&command_timeout=1.5&sslmode=require&application_name=shop"
    url, options = read_options(URL + query, {"pool_size": 7, "connect_timeout": 2})
    assert options == Options(
        schema="jobs", pool_size=7, listen=False, durability="full", connect_timeout=2.0, command_timeout=1.5
    )
    assert parse_qs(urlsplit(url).query) == {"sslmode": ["require"], "application_name": ["shop"]}


def test_both_schemes() -> None:
    for scheme in ("postgres", "postgresql"):
        assert isinstance(open_backend(f"{scheme}://app@db/shop"), PostgresBackend)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"colour": "red"}, "unknown option 'colour'.*schema, pool_size, listen, durability"),
        ({"schema": "Robert'); DROP TABLE"}, "schema=.*a-z"),
        ({"schema": "a" * 49}, "schema=.*48"),
        ({"schema": ""}, "schema="),
        ({"pool_size": 0}, "pool_size=0.*1 or more"),
        ({"pool_size": "many"}, "pool_size='many'"),
        ({"listen": "perhaps"}, "listen='perhaps'.*true or false"),
        ({"durability": "some"}, "durability='some'.*'full' or 'relaxed'"),
        ({"command_timeout": -1}, "command_timeout=-1.*above 0"),
        ({"connect_timeout": "nan"}, "connect_timeout='nan'"),
        ({"durability": "relaxed", "listen": False}, "ALTER ROLE"),
    ],
)
def test_a_wrong_option_is_named_with_its_remedy(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as failure:
        read_options(URL, options)
    assert "s3cret" not in str(failure.value)


@pytest.mark.parametrize(
    "url", ["postgresql://app:s3c@ret@db/shop", "postgresql://app:s3cret#x@db/shop", "postgresql://app:s3/cret@db/shop"]
)
def test_a_password_with_special_characters_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as failure:
        read_options(url, {})
    assert "s3c" not in str(failure.value)
    assert failure.value.__cause__ is None


def test_the_password_is_in_no_representation() -> None:
    backend = open_backend(URL)
    assert "s3cret" not in repr(backend)
    assert "s3cret" not in repr(backend.sibling())
