"""The command hands its options to the torture test and its verdict to the shell; what is in between has tests of its own."""

import subprocess
import sys
from collections.abc import Sequence

import pytest
from command import Cli

import qengine.cli
from qengine.testing.torture import __main__ as program


@pytest.fixture
def url(sqlite_url: str) -> str:
    """The torture test makes a database of its own."""
    return sqlite_url


def test_its_help_is_that_of_the_torture_test(cli: Cli) -> None:
    for option in ("--help", "-h"):
        shown = cli("torture", option).stdout
        assert shown.startswith("usage: qengine torture")
        assert "--minutes" in shown
        assert "--keep" in shown


def test_an_option_that_it_does_not_know_is_wrong_usage(cli: Cli) -> None:
    assert "--hours" in cli("torture", "--hours", "1", code=2).stderr


@pytest.mark.parametrize("verdict", [0, 1])
def test_options_go_in_and_the_verdict_comes_out(monkeypatch: pytest.MonkeyPatch, verdict: int) -> None:
    given: list[Sequence[str]] = []

    def main(arguments: Sequence[str]) -> int:
        given.append(list(arguments))
        return verdict

    monkeypatch.setattr(program, "main", main)
    options = ["--backend", "sqlite", "--seed", "7", "--faults", "kill worker,stutter", "--keep=/there"]
    assert qengine.cli.main(["torture", *options]) == verdict
    assert given == [options]


def test_a_missing_module_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def main(arguments: Sequence[str]) -> int:
        raise ModuleNotFoundError("No module named 'some_server.part'", name="some_server.part")

    monkeypatch.setattr(program, "main", main)
    assert qengine.cli.main(["torture"]) == 2
    assert capsys.readouterr().err == "qengine: the torture test needs the module some_server; pip install some-server\n"


def test_other_commands_do_not_load_it() -> None:
    script = "import sys, qengine.cli; qengine.cli.main(['--help']); print('qengine.testing' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
