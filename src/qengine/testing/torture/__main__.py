"""`python -m qengine.testing.torture`: run it, print the report, and say by the exit code whether a promise was broken."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qengine import ConfigurationError
from qengine.testing.torture.disk import SmallDisk
from qengine.testing.torture.options import Options, parse
from qengine.testing.torture.report import Outcome, told
from qengine.testing.torture.run import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every promise was kept; 1: some were not; 2: it cannot be run as asked; 130: interrupted."""
    options = parse(arguments)
    # What the run's own connection says about outages is no news; the workers' logs are kept and looked through.
    logging.getLogger("qengine").addHandler(logging.NullHandler())
    logging.getLogger("qengine").propagate = False
    print(f"seed {options.seed}", flush=True)
    folder = _folder(options)
    disk: SmallDisk | None = None
    no_disk: str | None = "the database is a file of its own"
    if options.backend == "sqlite":
        disk = SmallDisk(folder / "disk")
        no_disk = disk.mount()
    clean = False
    try:
        outcome = asyncio.run(_interruptible(Run(options, folder, disk if no_disk is None else None, no_disk)))
        text = told(outcome)
        print(text, flush=True)
        clean = not outcome.violations
        (folder / "report.txt").write_text(text)
        return 0 if clean else 1
    except ConfigurationError as error:
        print(f"qengine torture: {error}", file=sys.stderr)
        clean = True
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; everything that was started is stopped", file=sys.stderr)
        clean = True
        return 130
    finally:
        if clean and options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            if disk is not None and no_disk is None:
                shutil.copytree(folder / "disk", folder / "database", dirs_exist_ok=True)
            print(f"evidence: {folder}", flush=True)


async def _interruptible(run: Run) -> Outcome:
    """The run, which SIGTERM cancels as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await run.go()


def _folder(options: Options) -> Path:
    if options.keep is None:
        return Path(tempfile.mkdtemp(prefix="qengine-torture-"))
    folder = Path(options.keep).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        sys.exit(f"--keep {folder}: the folder is not empty")
    return folder


if __name__ == "__main__":
    sys.exit(main())
