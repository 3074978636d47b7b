"""`./dev` on machines that lack something, and what it does once it is set up. Its installing is what runs these tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("sh", "dirname", "cksum", "cat", "rm", "mkdir", "cp", "chmod")

FAKE_PYTHON = """#!/bin/sh
echo "$*" >>"{log}"
case "$*" in
  *"-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; exit 0 ;;
  *version_info*) exit {old} ;;
  *ensurepip*) exit {bare} ;;
esac
"""


class Machine:
    """A PATH with only what is put there, and a checkout with only what ./dev reads."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found
            (self.bin / tool).symlink_to(found)
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        shutil.copy(ROOT / "dev", self.checkout)
        (self.checkout / "pyproject.toml").write_text("[project]\n")
        self.log = folder / "log"
        self.log.touch()

    def install(self, name: str, text: str) -> None:
        """Put a program on the PATH."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def install_python(self, name: str, *, old: bool = False, bare: bool = False) -> None:
        """A Python that writes down how it was called."""
        self.install(name, FAKE_PYTHON.format(log=self.log, old=int(old), bare=int(bare)))

    def dev(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run ./dev."""
        self.log.write_text("")
        return subprocess.run(
            [str(self.checkout / "dev"), *arguments],
            env={"PATH": str(self.bin)},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def called(self) -> str:
        """How Python was called in the last run of ./dev, beside being asked for its version."""
        return "\n".join(line for line in self.log.read_text().splitlines() if "version_info" not in line)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_help_needs_nothing(machine: Machine) -> None:
    done = machine.dev()
    assert done.returncode == 0
    for command in ("demo", "test", "lint", "bench", "floor"):
        assert f"\n  {command} " in done.stdout


def test_an_unknown_command(machine: Machine) -> None:
    done = machine.dev("tset")
    assert done.returncode == 2
    assert done.stderr.startswith("dev: there is no command tset\n")


def test_no_python(machine: Machine) -> None:
    machine.install("python3.13", "#!/bin/sh\nexit 127\n")  # as pyenv leaves behind for a version that is not active
    machine.install_python("python3", old=True)
    done = machine.dev("test")
    assert done.returncode == 1
    assert done.stderr.startswith("dev: Python 3.11 or newer is needed")
    assert "apt install python3 python3-venv" in done.stderr


def test_a_python_without_ensurepip(machine: Machine) -> None:
    machine.install_python("python3", bare=True)
    done = machine.dev("test")
    assert done.returncode == 1
    assert done.stderr.startswith("dev: python3 cannot make virtual environments")
    assert "apt install python3-venv" in done.stderr


def test_a_python_that_is_whole_is_preferred(machine: Machine) -> None:
    machine.install_python("python3.13", bare=True)
    machine.install_python("python3.11")
    assert "making .venv with python3.11" in machine.dev("setup").stderr


def test_it_installs_once_and_again_when_something_changed(machine: Machine, tmp_path: Path) -> None:
    machine.install_python("python3")
    first = machine.dev("setup", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "-m venv" in machine.called
    assert "--editable .[postgres,web,metrics,otel,tui] --group test --group lint" in machine.called

    again = machine.dev("setup")
    assert (again.returncode, again.stdout, again.stderr, machine.called) == (0, "", "", "")

    (machine.checkout / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    machine.dev("setup")
    assert "-m venv" not in machine.called
    assert "--editable" in machine.called


def test_it_goes_on_where_it_was_interrupted(machine: Machine) -> None:
    machine.install_python("python3")
    machine.dev("setup")
    (machine.checkout / ".venv" / ".dev-stamp").unlink()
    machine.dev("setup")
    assert "--editable" in machine.called

    (machine.checkout / ".venv" / "bin" / "python").unlink()
    machine.dev("setup")
    assert "-m venv" in machine.called


def test_what_fails_in_the_set_up_stops_it(machine: Machine) -> None:
    machine.install_python("python3")
    fake = machine.bin / "python3"
    fake.write_text(fake.read_text() + 'case "$*" in *--editable*) exit 7 ;; esac\n')
    assert machine.dev("lint").returncode == 7
    assert not (machine.checkout / ".venv" / ".dev-stamp").exists()


def test_uv_is_used_where_it_is(machine: Machine) -> None:
    machine.install_python("uv")
    machine.dev("setup")
    assert machine.called.splitlines()[0].startswith("venv --quiet --python >=3.11 ")


def test_a_run_of_some_tests_passes_its_arguments_on(machine: Machine) -> None:
    machine.install_python("python3")
    machine.dev("test", "tests/some where", "-x")
    assert machine.called.splitlines()[-1] == "-m pytest tests/some where -x"


def test_a_run_of_all_tests_measures_coverage(machine: Machine) -> None:
    machine.install_python("python3")
    machine.dev("test")
    assert "-m coverage run -m pytest -n 3 --dist worksteal" in machine.called.splitlines()


def test_the_scripts_are_plain_sh() -> None:
    assert subprocess.run(["sh", "-n", str(ROOT / "dev")], check=False).returncode == 0
    assert os.access(ROOT / "dev", os.X_OK)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize(("lines", "branches", "code"), [(95, 95, 0), (94, 100, 1), (100, 94, 1)])
def test_both_coverages_are_required(lines: int, branches: int, code: int) -> None:
    script = (ROOT / "dev").read_text()
    gate = script.split('-o - | "$python" -c \'')[1].split("'\n")[0]
    totals = (
        f'{{"totals": {{"covered_lines": {lines}, "num_statements": 100, "covered_branches": {branches}, "num_branches": 100}}}}'
    )
    assert (
        subprocess.run([sys.executable, "-c", gate], input=totals, text=True, capture_output=True, check=False).returncode == code
    )
