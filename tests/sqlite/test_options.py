"""What a URL and the options say, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from qengine import ConfigurationError
from qengine.backends import open_backend
from qengine.backends.sqlite.connection import Options

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////var/lib/app.db", "/var/lib/app.db"),
        ("sqlite:////var/lib/../app.db", "/var/app.db"),
        ("sqlite:///app.db", os.path.join(os.getcwd(), "app.db")),
        ("sqlite:///folder/app.db", os.path.join(os.getcwd(), "folder/app.db")),
        ("sqlite:////tmp/a%20b%3F%23%25.db", "/tmp/a b?#%.db"),
        ("sqlite:////tmp/na%C3%AFve.db", "/tmp/naïve.db"),
        ("SQLite:////tmp/app.db?durability=full", "/tmp/app.db"),
    ],
)
def test_the_path(url: str, expected: str) -> None:
    assert Options.parse(url, {}).path == expected


def test_a_relative_path_is_that_of_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options.parse("sqlite:///app.db", {})
    before = os.getcwd()
    monkeypatch.chdir(tmp_path)
    assert options.path == os.path.join(before, "app.db")


def test_options_in_the_url_and_beside_it_mean_the_same_and_these_win() -> None:
    assert Options.parse("sqlite:///a.db", {}) == Options.parse("sqlite:///a.db?durability=normal&busy_timeout=30&poll=0.01", {})
    options = Options.parse("sqlite:///a.db?durability=normal&busy_timeout=5&poll=0.5", {"durability": "full", "poll": 0})
    assert (options.durability, options.busy_timeout, options.poll) == ("full", 5.0, 0.0)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://:memory:", "sqlite:///file:x?mode=memory"]
)
def test_a_database_in_memory_is_refused_with_the_remedy(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlite:///path/to/file\.db"):
        open_backend(url)


@pytest.mark.parametrize("url", ["sqlite://app.db", "sqlite://me:s3cret@host/app.db"])
def test_two_slashes_are_explained_and_no_password_is_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="three slashes") as caught:
        open_backend(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"schema": "jobs"}, "schema.*durability, busy_timeout and poll"),
        ({"durability": "none"}, "durability='none'.*normal or full"),
        ({"busy_timeout": "soon"}, "busy_timeout='soon'"),
        ({"busy_timeout": -1}, "busy_timeout=-1"),
        ({"busy_timeout": float("nan")}, "busy_timeout=nan"),
        ({"poll": True}, "poll=True"),
        ({"poll": None}, "poll=None"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        open_backend("sqlite:///app.db", None, options)


def test_a_query_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        open_backend("sqlite:///app.db?durability")


def test_a_nul_in_the_path() -> None:
    with pytest.raises(ConfigurationError, match="NUL"):
        open_backend("sqlite:///app%00.db")


def test_without_polling_there_is_no_push() -> None:
    assert open_backend("sqlite:///app.db").capabilities.push
    assert not open_backend("sqlite:///app.db?poll=0").capabilities.push
    assert not open_backend("sqlite:///app.db").sibling().capabilities.push
