"""What the README says works, done as it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def run(*command: str, cwd: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_five_minutes_to_a_job(tmp_path: Path) -> None:
    [app] = re.findall(r"```python\n(# app\.py\n.*?)```", README, re.DOTALL)
    (tmp_path / "app.py").write_text(app)
    assert run(sys.executable, "app.py", cwd=tmp_path) == "1 pending\n"
    assert "sending 'hi' to ada@example.com" in run("qengine", "worker", "app:engine", "--once", cwd=tmp_path)
    stats = run("qengine", "stats", "app:engine", cwd=tmp_path)
    assert "send_email" in stats
    assert "completed" in stats


@pytest.mark.parametrize(
    "option", re.findall(r"^\| `(\w+)` \|", README.split("`Engine(url, …)`:")[1].split("`engine.worker")[0], re.MULTILINE)
)
def test_every_option_of_an_engine_in_the_table_is_one(option: str) -> None:
    import inspect

    from qengine import Engine

    assert option in inspect.signature(Engine).parameters


def test_the_table_leaves_no_option_out() -> None:
    import inspect

    from qengine import Engine

    table = README.split("`Engine(url, …)`:")[1].split("`engine.worker")[0]
    left_out = {name for name in inspect.signature(Engine).parameters if f"`{name}`" not in table}
    assert left_out == {"url", "clock"}


@pytest.mark.parametrize(
    "page",
    sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")]),
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
