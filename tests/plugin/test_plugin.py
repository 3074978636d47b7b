"""A backend that is distributed separately: built, installed, found through its entry point, and held to the contract."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = Path(__file__).parent / "qengine-lite"

HELLO = """
import asyncio, sys
from qengine import Engine

engine = Engine(sys.argv[1])

@engine.task()
async def double(n: int) -> int:
    return 2 * n

async def main():
    async with engine:
        job = await double.enqueue(n=21)
        await engine.drain()
        print(await job.wait(timeout=5), type(engine.backend).__module__)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the plug-in."""
    source = tmp_path_factory.mktemp("source") / "qengine-lite"
    shutil.copytree(PLUGIN, source)
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", str(target), str(source)], check=True)
    return target


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_it_is_found_by_its_scheme_and_runs_jobs(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "-c", HELLO, f"lite:///{tmp_path / 'jobs.db'}")
    assert (done.stdout, done.stderr) == ("42 qengine_lite\n", "")
    assert (tmp_path / "jobs.db").exists()


def test_without_it_the_scheme_is_unknown(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "qengine", "stats", "--dsn", "lite:///jobs.db")
    assert done.returncode == 2
    assert done.stderr == "qengine: no backend serves lite:// URLs (installed: postgres, postgresql, sqlite)\n"


def test_another_contract_is_refused(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "-c", HELLO, f"lite-outdated:///{tmp_path / 'jobs.db'}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "qengine.ConfigurationError: the backend for lite-outdated:// speaks contract 0, this qengine 1; "
        "install a matching release"
    )
    assert not (tmp_path / "jobs.db").exists()


def test_its_own_test_file_is_the_conformance_suite(installed: Path, tmp_path: Path) -> None:
    suite = shutil.copy(PLUGIN / "tests" / "test_conformance.py", tmp_path)
    (tmp_path / "pytest.ini").touch()
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-k", "(TestEnqueue or TestOrder) and not Caller"]
    done = run(installed, "-m", "pytest", *options, suite)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 15


def test_the_guide_shows_the_files_of_the_plug_in() -> None:
    guide = (ROOT / "backends" / "README.md").read_text()
    blocks = re.findall(r"```(?:toml|python)\n(.*?)```", guide, re.DOTALL)
    assert (PLUGIN / "pyproject.toml").read_text().startswith(blocks[0])
    assert (PLUGIN / "tests" / "test_conformance.py").read_text() == blocks[1]


def test_the_guide_names_every_verb_of_the_contract() -> None:
    from qengine.backends.inspection import Inspection
    from qengine.backends.protocol import QueueBackend

    guide = (ROOT / "backends" / "README.md").read_text()
    members = {**vars(Inspection), **vars(QueueBackend)}
    verbs = {name for name, member in members.items() if callable(member) or isinstance(member, classmethod)}
    assert {verb for verb in verbs if not verb.startswith("_") and f"`{verb}" not in guide} == set()
