"""What is shipped: the files of the wheel and of the sdist, and the wheel at work in an environment of its own."""

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

HELLO = """
import asyncio, importlib.util, sys
from qengine import Engine

assert importlib.util.find_spec("asyncpg") is None
engine = Engine(sys.argv[1])

@engine.task()
async def double(n: int) -> int:
    return 2 * n

async def main():
    async with engine:
        job = await double.enqueue(n=21)
        await engine.drain()
        print(await job.wait(timeout=5))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel and what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(wheel)], check=True)
    return python


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE", "QENGINE"))}
    return subprocess.run(
        [str(python), *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


def in_the_tree(folder: Path, pattern: str) -> set[str]:
    return {str(path.relative_to(ROOT / "src")) for path in folder.rglob(pattern)}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = ROOT / "src" / "qengine"
    shown = {name for name in in_the_tree(package / "web", "*.*") | in_the_tree(package / "web", "LICENSE") if ".py" not in name}
    assert names == in_the_tree(package, "*.py") | in_the_tree(package, "*.sql") | shown | {"qengine/py.typed"}
    assert {
        "qengine/web/templates/overview.html",
        "qengine/web/static/style.css",
        "qengine/web/static/vendor/uplot/uPlot.iife.min.js",
        "qengine/web/static/vendor/uplot/LICENSE",
    } <= shown


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_the_wheel_holds_the_sql_of_each_backend(wheel: Path, backend: str) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert f"qengine/backends/{backend}/sql/claim.sql" in names
    assert any(re.fullmatch(rf"qengine/backends/{backend}/migrations/0001_\w+\.sql", name) for name in names)


def test_the_metadata_names_licence_extras_and_entry_points(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    folder = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA")).removesuffix("METADATA")
    metadata = archive.read(f"{folder}METADATA").decode()
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert re.search(r"^Requires-Dist: asyncpg>=[\d.]+; extra == .postgres.$", metadata, re.MULTILINE)
    assert f"{folder}licenses/LICENSE" in archive.namelist()
    assert "qengine = qengine.cli:main" in archive.read(f"{folder}entry_points.txt").decode()


def test_the_sdist_holds_sources_and_no_tests(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        top = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    assert top == {"src", "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO", ".gitignore"}


def test_the_wheel_runs_a_job_on_sqlite_without_asyncpg(python: Path, tmp_path: Path) -> None:
    done = run(python, "-c", HELLO, f"sqlite:///{tmp_path / 'jobs.db'}", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("42\n", "")


def test_without_asyncpg_a_postgres_url_names_the_extra(python: Path, tmp_path: Path) -> None:
    done = run(python, "-m", "qengine", "stats", "--dsn", "postgresql://me:secret@localhost/app", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "qengine: the backend for postgresql:// needs the module asyncpg; pip install 'qengine[postgres]'\n"


def test_the_command_is_installed(python: Path, tmp_path: Path) -> None:
    done = run(
        python,
        "-c",
        "import os, sys; os.execv(sys.argv[1], sys.argv[1:])",
        str(python.parent / "qengine"),
        "--version",
        cwd=tmp_path,
    )
    assert re.fullmatch(r"qengine \d+\.\d+\.\d+\n", done.stdout), done.stderr
