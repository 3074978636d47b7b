"""Which browser the tests take, and what becomes of them where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import NAMES, find_chromium, why_not


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH."""
    monkeypatch.delenv("QENGINE_CHROMIUM", raising=False)
    monkeypatch.delenv("QENGINE_BROWSER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_it_is_found_on_the_path(folder: Path, name: str) -> None:
    (folder / name).touch(0o755)
    assert find_chromium() == str(folder / name)


def test_the_variable_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "chromium").touch(0o755)
    monkeypatch.setenv("QENGINE_CHROMIUM", "/opt/mine")
    assert find_chromium() == "/opt/mine"


def test_without_one_the_tests_are_skipped_with_the_reason(folder: Path) -> None:
    assert find_chromium() is None
    with pytest.raises(pytest.skip.Exception, match=r"no browser to test with: `apt-get install chromium`"):
        why_not()


def test_where_it_is_required_they_fail(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QENGINE_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match=r"no browser to test with: `apt-get install chromium`"):
        why_not()
