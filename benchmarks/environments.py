"""An environment for each system, made from its file in `requirements/`, when it is first needed."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.catalogue import Entry
from benchmarks.processes import SubjectFailed

HERE = Path(__file__).resolve().parent
VENVS = HERE / "venvs"
OURS = "qengine"
"""The environment to which qengine itself is added, from the working tree."""
MARK = "# python: "
"""A line of a requirements file that names the oldest Python which will do."""
REASON = re.compile(r"(?:npm )?error:? (.+)", re.IGNORECASE)
"""A line in which pip or npm says why it failed; those after it are hints."""


def python(entry: Entry) -> str:
    """The interpreter of an entry's environment. Raises SubjectFailed, saying why, when it cannot be made."""
    if entry.node:
        return _node(entry.requirements)
    wanted = HERE / "requirements" / f"{entry.requirements}.txt"
    folder = VENVS / entry.requirements
    stamp = folder / ".stamp"
    text = wanted.read_text()
    if not (stamp.exists() and stamp.read_text() == text):
        _make(folder, wanted, text)
        stamp.write_text(text)
    return str(folder / "bin" / "python")


def _make(folder: Path, wanted: Path, text: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _run([_interpreter(text), "-m", "venv", str(folder)], "venv")
    ours = ["-e", str(HERE.parent)] if wanted.stem == OURS else []
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "-r", str(wanted), *ours], "pip install")


def _interpreter(text: str) -> str:
    """This Python, if it is new enough, else the oldest one found that is."""
    mark = next((line.removeprefix(MARK).strip() for line in text.splitlines() if line.startswith(MARK)), "3.11")
    least = tuple(int(part) for part in mark.split("."))
    if sys.version_info[:2] >= least:
        return sys.executable
    for minor in range(least[1], least[1] + 4):
        for found in (
            shutil.which(f"python3.{minor}"),
            *glob.glob(os.path.expanduser(f"~/.pyenv/versions/3.{minor}.*/bin/python")),
        ):
            if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
                return found
    raise SubjectFailed(f"it needs Python {mark} and none was found")


def _node(folder: str) -> str:
    node = shutil.which("node")
    npm = shutil.which("npm")
    if node is None or npm is None:
        raise SubjectFailed("Node.js was not found")
    home = HERE / "peers" / folder
    # npm writes this file last.
    if not (home / "node_modules/.package-lock.json").is_file():
        _run([npm, "ci", "--loglevel=error", "--no-audit", "--no-fund", "--prefix", str(home)], "npm ci")
    return node


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reasons = [found[1] for line in lines if (found := REASON.match(line))]
        raise SubjectFailed(f"{what} failed: {'; '.join(reasons or lines[-1:])[:300]}")
