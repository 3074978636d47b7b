"""Apply each mutant to a copy of the source and run the tests that must notice; print who was caught, by what, how soon.

python tests/mutants/run.py [PART OF A NAME]       exit status 1 when one survives
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
"""Seconds that the tests of one mutant may take: one that hangs is caught too."""


def caught_by(mutant: Mutant) -> str | None:
    """The test that failed, `a hang`, or None when nobody noticed."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "src", Path(folder) / "src")
        for name, old, new in mutant.edits:
            file = Path(folder) / "src" / "qengine" / name
            file.write_text(file.read_text().replace(old, new))
        environment = {**os.environ, "PYTHONPATH": str(Path(folder) / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *shlex.split(mutant.tests)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            return "a hang"
    if process.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) \S*::(\S+)", output, re.MULTILINE)
    return found[1] if found else f"pytest ended with {process.returncode}"


def main() -> int:
    survivors = 0
    print("| mutant | invariant | caught by | seconds |\n|---|---|---|---|")
    for mutant in MUTANTS:
        if not all(word in mutant.name for word in sys.argv[1:]):
            continue
        began = time.monotonic()
        caught = caught_by(mutant)
        survivors += caught is None
        print(f"| {mutant.name} | {mutant.invariant} | {caught or '**nobody**'} | {time.monotonic() - began:.0f} |", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
