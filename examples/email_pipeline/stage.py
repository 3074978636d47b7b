"""The processes of a run: the outside world and the workers, in a folder of their own. None outlives the run."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1]


class Stage:
    """Starts processes, and ends them when it is left, however that comes about."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.dashboard: str | None = None
        """The link to the dashboard, if there is one."""
        self._servers: list[subprocess.Popen[bytes]] = []
        (folder / "pages").mkdir()

    @property
    def record(self) -> Path:
        """The file in which the world writes down what it sees."""
        return self.folder / "world.db"

    def start_world(self) -> None:
        """Start the mail and web servers, and put their addresses in the environment."""
        line = self._start_server("world", [sys.executable, "-m", "email_pipeline.world", str(self.record)])
        if not line:
            raise SystemExit(f"the mail and web servers did not start; {self.folder / 'world.log'} says why")
        ports = json.loads(line)
        os.environ["PIPELINE_SMTP"] = f"127.0.0.1:{ports['smtp']}"
        os.environ["PIPELINE_WEB"] = f"http://127.0.0.1:{ports['web']}"

    def start_dashboard(self) -> None:
        """Start the dashboard; without the packages that it needs, there is none."""
        command = [sys.executable, "-m", "qengine", "web", "email_pipeline.pipeline:engine", "--port", "0"]
        self.dashboard = self._start_server("dashboard", command).strip() or None

    def start_worker(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker as it is started in production; its log is `name`.log."""
        command = [sys.executable, "-m", "qengine", "worker", "email_pipeline.pipeline:engine", "--concurrency", "10"]
        self.workers[name] = self._start(name, command)
        return self.workers[name]

    def stop_workers(self) -> dict[str, int]:
        """Ask the workers to stop, and wait until they have; their exit codes."""
        for worker in self.workers.values():
            worker.terminate()
        return {name: _exit_code(worker) for name, worker in self.workers.items()}

    def clear(self) -> None:
        """End whatever still runs."""
        processes = [*self._servers, *self.workers.values()]
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()

    def _start_server(self, name: str, command: list[str]) -> str:
        """Start a process that says in its first line where it is to be found; the line, or nothing when it ended instead."""
        server = self._start(name, command, stdout=subprocess.PIPE)
        self._servers.append(server)
        assert server.stdout is not None
        return server.stdout.readline().decode()

    def _start(self, name: str, command: list[str], stdout: int | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            # A session of its own: Ctrl-C is for the director alone, which then ends the others.
            return subprocess.Popen(
                command, cwd=EXAMPLES, stdin=subprocess.PIPE, stdout=stdout or log, stderr=log, start_new_session=True
            )


def _exit_code(worker: subprocess.Popen[bytes]) -> int:
    try:
        return worker.wait(timeout=40)
    except subprocess.TimeoutExpired:
        worker.kill()
        return worker.wait()


@contextmanager
def set_stage(url: str | None, postgres: bool) -> Iterator[Stage]:
    """A stage with the world running, and the environment that the pipeline's modules read.

    `url` is an empty database. Without it, an SQLite file in the folder, or an embedded PostgreSQL.
    """
    with ExitStack() as stack:
        stage = Stage(Path(tempfile.mkdtemp(prefix="email-pipeline-")))
        if postgres:
            from qengine.testing import PostgresServer

            url = stack.enter_context(PostgresServer(durable=True)).create_database()
        stack.callback(stage.clear)
        os.environ["PIPELINE_FOLDER"] = str(stage.folder)
        os.environ["PIPELINE_DATABASE"] = url or f"sqlite:///{stage.folder}/pipeline.db"
        stage.start_world()
        yield stage
