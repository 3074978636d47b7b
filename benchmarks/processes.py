"""Running subjects in processes of their own, one or several at a time, started together."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.orders import Order
from benchmarks.subject import RESULT

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120.0
"""Seconds that one order may take, unless more is said."""


class SubjectFailed(Exception):
    """A subject did not do its order; the text says what it printed last."""


class SubjectProcess:
    """One process; a context manager that ends it."""

    def __init__(self, python: str, module: str, order: Order, patience: float = PATIENCE) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [*_program(python, module), order.as_json()],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._module = module
        # A subject that hangs is ended, which ends the reading of what it prints.
        self._timer = threading.Timer(patience, self._process.kill)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._timer.cancel()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._log.close()

    def wait_until_ready(self) -> None:
        """Return when it has done everything that is not measured."""
        for line in self._process.stdout or ():
            if line == "ready\n":
                return
        raise self._failure()

    def go(self) -> None:
        """Let the measuring begin."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """Wait for the result."""
        found: dict[str, Any] | None = None
        for line in self._process.stdout or ():
            if line.startswith(RESULT):
                found = json.loads(line.removeprefix(RESULT))
        if found is None:
            raise self._failure()
        return found

    def _failure(self) -> SubjectFailed:
        self._process.wait()
        self._log.seek(0)
        last = [line for line in self._log.read().splitlines() if line.strip()][-1:]
        return SubjectFailed(f"{self._module} ended with code {self._process.returncode}: {' '.join(last)[:300]}")


def _program(interpreter: str, module: str) -> list[str]:
    if module.endswith(".mjs"):
        return [interpreter, str(ROOT / module)]
    return [interpreter, "-m", "benchmarks.subject", module]


def run(
    python: str,
    module: str,
    orders: Sequence[Order],
    loaded: Callable[[], None] = lambda: None,
    *,
    one_by_one: bool = False,
    patience: float = PATIENCE,
) -> list[dict[str, Any]]:
    """The results of the orders, each in a process of its own.

    The first one sets up and loads, then the others come, then `loaded` is called and all begin together; with
    `one_by_one` the first goes on measuring until the last has ended.
    """
    running: list[SubjectProcess] = []
    try:
        for order in orders:
            running.append(SubjectProcess(python, module, order, patience).__enter__())
            running[-1].wait_until_ready()
        loaded()
        if one_by_one:
            results = []
            for process in reversed(running):
                process.go()
                results.append(process.result())
            return results[::-1]
        for process in running:
            process.go()
        return [process.result() for process in running]
    finally:
        for process in running:
            process.__exit__(None, None, None)
