"""The real command in real processes, and the application that it works for."""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from qengine import Engine
from qengine.cli import main

T = TypeVar("T")

APP = """
import asyncio, os, time
from pathlib import Path

from tenacity import wait_fixed

from qengine import Engine

engine = Engine(os.environ["APP_URL"], lease=30, retry=wait_fixed(3600))
not_an_engine = 42
HERE = Path(__file__).parent


def mark(name):
    (HERE / name).write_text(str(os.getpid()))


@engine.task()
async def add(a: int, b: int = 0) -> int:
    return a + b


@engine.task()
async def fail(message: str) -> None:
    raise ValueError(message)


@engine.task()
async def linger(seconds: float) -> str:
    mark("started")
    await asyncio.sleep(seconds)
    mark("ended")
    return "done"


@engine.task()
def linger_in_a_thread(seconds: float) -> None:
    mark("started")
    time.sleep(seconds)


@engine.task()
async def block_the_loop(seconds: float) -> None:
    mark("started")
    time.sleep(seconds)


@engine.task(executor="process")
def linger_in_a_process(seconds: float) -> None:
    mark("started")
    time.sleep(seconds)
    mark("ended")
"""


class Cli:
    """Runs `qengine` in the folder of the application; `QENGINE_URL` names the test's database.

    Calling it starts a real process. `json` and `fails` run the same command in this process, as starting one is slow.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.started: list[subprocess.Popen[str]] = []

    def __call__(
        self, *arguments: object, stdin: str | None = None, code: int | None = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, which must be with this exit code."""
        done = subprocess.run(
            self._command(arguments),
            input=stdin,
            env={**os.environ, **self._environment(env)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return self._checked(done, code)

    def inside(
        self, *arguments: object, stdin: str = "", code: int | None = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same in this process."""
        out, err = io.StringIO(), io.StringIO()
        with self._in_place(env), patch("sys.stdin", io.StringIO(stdin)), redirect_stdout(out), redirect_stderr(err):
            returned = main([str(argument) for argument in arguments])
        return self._checked(subprocess.CompletedProcess(arguments, returned, out.getvalue(), err.getvalue()), code)

    def json(self, *arguments: object, **options: Any) -> Any:
        """What a command prints with --json."""
        return json.loads(self.inside(*arguments, "--json", **options).stdout)

    def fails(self, *arguments: object, code: int, **options: Any) -> str:
        """The one line on stderr of a command that fails, without the program's name."""
        done = self.inside(*arguments, code=code, **options)
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("qengine: ")
        return line.removeprefix("qengine: ")

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        process = subprocess.Popen(
            self._command(arguments),
            env={**os.environ, **self._environment(None)},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.started.append(process)
        return process

    def engine(self, operation: Callable[[Engine], Awaitable[T]]) -> T:
        """Do something with an engine on the test's database, in this process."""

        async def opened() -> T:
            async with Engine(self.url) as engine:
                return await operation(engine)

        return asyncio.run(opened())

    def enqueue(self, type: str, payload: dict[str, Any] | None = None, **options: Any) -> int:
        """Store a job; its id."""
        return self.engine(lambda engine: engine.enqueue(type, payload or {}, **options)).id

    def job(self, job_id: int) -> Any:
        """A job, read in this process."""
        return self.engine(lambda engine: engine.job(job_id))

    def dead(self, message: str = "no such user") -> int:
        """A job of the type `fail` whose last attempt has failed; its id."""

        async def run(engine: Engine) -> int:
            @engine.task(max_attempts=1)
            async def fail(message: str) -> None:
                raise ValueError(message)

            job = await fail.enqueue(message=message)
            await engine.drain(types=["fail"])
            return job.id

        return self.engine(run)

    def wait_for(self, name: str) -> None:
        """Wait until a handler has marked that it is so far."""
        until = time.monotonic() + 30
        while not (self.folder / name).exists():
            assert time.monotonic() < until, f"no handler came as far as {name}"
            time.sleep(0.02)

    def _command(self, arguments: tuple[object, ...]) -> list[str]:
        return [sys.executable, "-m", "qengine", *map(str, arguments)]

    def _environment(self, more: dict[str, str] | None) -> dict[str, str]:
        return {"QENGINE_URL": self.url, "APP_URL": self.url, "COLUMNS": "200", **(more or {})}

    @contextmanager
    def _in_place(self, env: dict[str, str] | None) -> Iterator[None]:
        """Be in the application's folder, with its environment, and forget its modules afterwards."""
        modules = set(sys.modules)
        with chdir(self.folder), patch.dict(os.environ, self._environment(env)), patch("sys.path", list(sys.path)):
            try:
                yield
            finally:
                for name in set(sys.modules) - modules:
                    if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(self.folder):
                        del sys.modules[name]
                importlib.invalidate_caches()

    @staticmethod
    def _checked(done: subprocess.CompletedProcess[str], code: int | None) -> subprocess.CompletedProcess[str]:
        assert "Traceback (most recent call last)" not in done.stderr, done.stderr
        assert code is None or done.returncode == code, done
        return done
