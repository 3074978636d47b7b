"""What goes wrong is one line with a remedy and an exit code: never a traceback, never a password."""

import itertools
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import Cli
from typer.main import get_command

import qengine.cli
from qengine import BackendUnavailable, QEngineError
from qengine.cli import errors
from qengine.cli.app import app
from qengine.cli.errors import ExitCode, report, without_passwords


@pytest.fixture
def url(sqlite_url: str) -> str:
    """One database is enough here."""
    return sqlite_url


def test_no_database_given(cli: Cli) -> None:
    assert "give --dsn" in cli.fails("stats", env={"QENGINE_URL": ""}, code=2)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("app.db", "sqlite:///app.db"),
        ("oracle://host/db", "no backend serves oracle://"),
        ("nowhere:engine", "there is no module nowhere"),
        ("nowhere.at.all:engine", "there is no module nowhere.at.all"),
        ("app:missing", "has no attribute missing; did you mean app:engine?"),
        ("app:not_an_engine", "is a int, not an Engine; did you mean app:engine?"),
        ("json:dumps", "no Engine is defined at the top level of json"),
        ("app.py:engine", "write app:engine"),
        ("./app:engine", "write app:engine"),
        ("app:", "write app:engine"),
        (":engine", "write app:engine"),
    ],
)
def test_a_wrong_place(cli: Cli, where: str, says: str) -> None:
    assert says in cli.fails("stats", "--dsn", where, code=2)
    assert says in cli.fails("stats", env={"QENGINE_URL": where}, code=2)


@pytest.mark.parametrize("target", ["sqlite:///app.db", "app", "app:missing"])
def test_a_worker_needs_an_engine(cli: Cli, target: str) -> None:
    cli.fails("worker", target, code=2)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\nimport not_installed_anywhere\n", r"broken\.py:2: ModuleNotFoundError: .*not_installed_anywhere"),
        ("1 / 0\n", r"broken\.py:1: ZeroDivisionError: division by zero"),
        ("def f(:\n", r"SyntaxError"),
        ("import sys\nsys.exit('no settings')\n", r"broken\.py:2: SystemExit: no settings"),
        ("from qengine import Engine\nengine = Engine('nothing')\n", r"broken\.py:2: .*has no scheme"),
    ],
)
def test_a_module_that_does_not_import(cli: Cli, source: str, says: str) -> None:
    (cli.folder / "broken.py").write_text(source)
    line = cli.fails("worker", "broken:engine", code=2)
    assert re.search(says, line)
    assert "python -c 'import broken'" in line


def test_an_engine_inside_an_object(cli: Cli) -> None:
    (cli.folder / "nested.py").write_text("import app\nclass settings:\n    engine = app.engine\n")
    cli.inside("stats", "nested:settings.engine")


def test_the_place_may_be_the_argument(cli: Cli) -> None:
    cli.enqueue("add", {"a": 1})
    for where in (cli.url, "app:engine"):
        assert cli.json("stats", where, env={"QENGINE_URL": "sqlite:///elsewhere.db"})["by_status"]["pending"] == 1


def test_dsn_beats_the_environment(cli: Cli) -> None:
    cli.inside("stats", "--dsn", cli.url, env={"QENGINE_URL": "oracle://host/db"})


def test_a_server_that_is_not_there(cli: Cli) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = cli.fails("stats", "--dsn", f"postgresql://me:se%2Fcr%40et@127.0.0.1:{port}/app", code=3)
    assert "127.0.0.1" in line
    assert "cr" not in line.replace("postgresql", "")
    assert "cr@et" not in cli.fails("stats", "--dsn", f"postgresql://me:se/cr@et@127.0.0.1:{port}/app", code=2)


@pytest.mark.parametrize(
    "command", [["stats"], ["jobs"], ["show", 1], ["enqueue", "t"], ["requeue", 1], ["cancel", "--all", "--yes"]]
)
def test_a_folder_that_is_not_there(cli: Cli, command: list[object]) -> None:
    assert "/no/such/folder" in cli.fails(*command, "--dsn", "sqlite:////no/such/folder/app.db", code=2)


@pytest.mark.parametrize(
    "command", [["stats"], ["jobs"], ["show", 1], ["enqueue", "t"], ["requeue", 1], ["cancel", "--all", "--yes"]]
)
def test_a_file_without_a_schema(cli: Cli, command: list[object]) -> None:
    assert "qengine migrate" in cli.fails(*command, "--dsn", "sqlite:///fresh.db", code=4)


def test_something_else_than_a_database(cli: Cli) -> None:
    (cli.folder / "text.db").write_text("this is no database, and long enough to be taken for none by its header" * 20)
    for command in (["stats"], ["migrate"]):
        cli.fails(*command, "--dsn", "sqlite:///text.db", code=4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bogus"], "No such command 'bogus'; see `qengine --help`"),
        (["show"], "see `qengine show --help`"),
        (["show", "x"], "see `qengine show --help`"),
        (["jobs", "--status", "weird"], "'weird'"),
        (["jobs", "--limit", "0"], "--limit"),
        (["stats", "a:b", "postgresql://u:hidden@h/db"], "postgresql://u:***@h/db"),
    ],
)
def test_wrong_usage(cli: Cli, arguments: list[str], says: str) -> None:
    assert says in cli.fails(*arguments, code=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--payload", "{bad"], "the payload is not JSON"),
        (["--payload", "[1]"], "must be a JSON object"),
        (["--payload", '{"a": NaN}'], "NaN is no JSON value"),
        (["--payload", "{}", "a=1"], "not both"),
        (["novalue"], "novalue is not key=value"),
        (["=1"], "=1 is not key=value"),
        (["a=1", "a=2"], "a is given twice"),
        (["--at", "2030-01-01T00:00:00"], "with an offset"),
        (["--at", "tomorrow"], "with an offset"),
        (["--delay", "5", "--at", "2030-01-01T00:00:00Z"], "delay"),
        (["--priority", "11"], "--priority"),
        (["--delay", "-1"], "--delay"),
        (["--delay", "nan"], "delay"),
        (["--expires", "inf"], "expires"),
        (["--bogus"], "--bogus"),
    ],
)
def test_a_wrong_enqueue_stores_nothing(cli: Cli, arguments: list[str], says: str) -> None:
    assert says in cli.fails("enqueue", "send", *arguments, code=2)
    assert cli.engine(lambda engine: engine.jobs()) == []


def test_help_and_version(cli: Cli) -> None:
    assert "Exit codes" in cli.inside("--help").stdout
    assert "Exit codes" in cli.inside("requeue", "-h").stdout
    assert cli.inside(code=2).stdout == cli.inside("--help").stdout
    assert re.fullmatch(r"qengine \d+\.\d+\.\d+\n", cli.inside("--version").stdout)


def test_the_documentation_names_every_exit_code_and_command() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert {int(code) for code in ExitCode} == {
        int(n) for row in re.findall(r"^\| ([\d, ]+) \|", text, re.M) for n in row.split(",")
    } - {143}
    told = {name for row in re.findall(r"^\| `qengine .*?`(?:, `qengine .*?`)* \|", text, re.M) for name in _names(row)}
    assert told == set(_commands(get_command(app)))


def test_the_documentation_names_no_option_that_is_none() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text().split("## The torture test")
    of_torture = text[1].partition("## For programs")
    told = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text[0] + of_torture[2]))
    assert told <= {*_options(get_command(app)), "--help"}


def _options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
    for inner in getattr(command, "commands", {}).values():
        yield from _options(inner)


def _names(row: str) -> list[str]:
    """The commands at the head of a row of the table, without what they take: lower-case words say which it is."""
    return [
        " ".join(itertools.takewhile(re.compile("[a-z]+$").match, name.split())) for name in re.findall("`qengine ([^`]*)", row)
    ]


def _commands(group: Any, prefix: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        yield prefix + name
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")


def test_a_defect_is_one_line_that_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError) as raised:
        raise RuntimeError("two\nlines \x1b[31m")
    assert report(raised.value) == 70
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"qengine: internal error: RuntimeError: two lines \\x1b\[31m \(.*test_failing\.py:\d+\); please report .*", line
    )


def test_an_error_that_was_never_raised_has_no_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(RuntimeError("x")) == 70
    assert "RuntimeError: x; please" in capsys.readouterr().err


def test_a_full_disk_is_no_defect(cli: Cli) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "qengine", "stats", cli.url], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "qengine: [Errno 28] No space left on device\n")


def test_our_error_in_a_group_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup("g", [ValueError("other"), ExceptionGroup("h", [BackendUnavailable("the database is away")])])
    assert report(group) == 3
    assert capsys.readouterr().err == "qengine: the database is away\n"
    assert report(ExceptionGroup("g", [QEngineError("plain")])) == 1
    assert report(ExceptionGroup("g", [ValueError("other")])) == 70


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:pa:ss@w/ord@host/db?x=1", "postgresql://me:***@host/db?x=1"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("at postgresql://h/db?user=me&password=p%20w&x=1 now", "at postgresql://h/db?user=me&password=***&x=1 now"),
        ("write to a@example.com: no", "write to a@example.com: no"),
    ],
)
def test_passwords_are_left_out(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


def test_an_interrupted_command(cli: Cli) -> None:
    (cli.folder / "slow.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = cli("stats", "--dsn", "slow:engine", code=None)
    assert done.returncode == 130
    assert done.stdout == ""


def test_the_command_uses_what_is_public() -> None:
    """Its modules work with what an application may use too, and reach into no object."""
    public = {"qengine", "qengine.backends.protocol", "qengine.logs", "qengine.metrics", "qengine.probes", "qengine.web"}
    public |= {"qengine.engine", "qengine.engine.health"}
    for file in Path(qengine.cli.__file__).parent.rglob("*.py"):
        source = file.read_text()
        imported = set(re.findall(r"^ *(?:from|import) (qengine\S*)", source, re.MULTILINE))
        others = {name for name in imported if not name.startswith(("qengine.cli", "qengine.web."))}
        assert others <= public, file.name
        assert not re.findall(r"\bengine\._\w+", source), file.name


def test_the_module_is_the_command(cli: Cli) -> None:
    script = Path(sys.executable).parent / "qengine"
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == cli("--version").stdout


def test_the_exit_codes_in_the_help_are_those_of_the_documentation() -> None:
    named = {int(code) for code in re.findall(r"\b(\d+) ", errors.EPILOG)} | {143}
    assert named == {int(code) for code in ExitCode if code is not ExitCode.PIPE} | {143}
