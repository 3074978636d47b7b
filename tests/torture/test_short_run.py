"""A short torture on each database: one of each cheap fault, in a fixed order, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FAULTS = {
    "sqlite": "kill worker,block event loop,kill enqueuer,clock jump,stutter,swallow cancellation,full disk,hold write lock,"
    "kill in checkpoint,terminate worker,kill operator",
    "postgres": "kill worker,terminate backends,kill enqueuer,cut connections,stutter,swallow cancellation,delay packets,"
    "user's locks,drop silently,terminate worker,restart server",
}


def test_a_short_torture_ends_without_a_violation(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as both:
        runs = {backend: both.submit(torture, backend, tmp_path / backend) for backend in FAULTS}
    for backend, run in runs.items():
        done = run.result()
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
        assert done.stdout.startswith("seed 7\n")
        assert "| violations | 0 |" in done.stdout
        for fault in FAULTS[backend].split(","):
            assert f"| - {fault} | 1 |" in done.stdout
    assert still_there(tmp_path) == []


def torture(backend: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = ["--backend", backend, "--seed", "7", "--workers", "2", "--rate", "15", "--lease", "3", "--minutes", "0.25"]
    return subprocess.run(
        [sys.executable, "-m", "qengine.testing.torture", *words, "--faults", FAULTS[backend], "--keep", str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
    )


def still_there(folder: Path) -> list[str]:
    """Processes that name the folder of the run, and mounts in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    mounts = Path("/proc/self/mounts")
    return found + ([line for line in mounts.read_text().splitlines() if str(folder) in line] if mounts.exists() else [])
