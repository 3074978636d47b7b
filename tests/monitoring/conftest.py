from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import APP, Cli

sys.path.insert(0, str(Path(__file__).parent))

TELLING = """

@engine.task()
async def tell(ctx: JobContext, secret: str) -> None:
    ctx.log.info("told")
"""


@pytest.fixture
def cli(tmp_path: Path, url: str) -> Iterator[Cli]:
    """The command, beside app.py, with an empty database that is migrated."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app.py").write_text(APP.replace("import Engine", "import Engine, JobContext") + TELLING)
    runner = Cli(folder, url)
    runner.engine(lambda engine: engine.backend.now())  # opening it migrates the database
    yield runner
    for process in runner.started:
        process.kill()
        process.communicate()
