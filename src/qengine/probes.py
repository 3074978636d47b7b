"""A small HTTP server that tells a process manager, a load balancer or Prometheus how this process is doing.

It runs in threads of its own, so that it takes no turns of the event loop, and answers even while a handler blocks it.
It only reads, and has no authentication: it listens on 127.0.0.1 unless it is told otherwise.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from qengine.engine import Engine
from qengine.engine.health import MAX_DUE, Health
from qengine.errors import ConfigurationError

log = logging.getLogger("qengine.probes")

AT_ONCE = 16
"""Requests that are answered at the same time; what comes beyond is turned away."""
READ_WITHIN = 5.0
"""Seconds that a client has to send its request, and to take the answer."""
DATABASE_WITHIN = 3.0
"""Seconds that the database has to answer for a process to be ready."""
LOOP_WITHIN = DATABASE_WITHIN + 2.0
"""Seconds that the event loop has to answer for a process to be healthy: probes give up soon after."""

Metrics = Callable[[str], tuple[bytes, str]]
"""From the Accept header of a request to a page of metrics and its content type."""


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int
    """0: one that is free."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `host:port`, `[v6]:port`, or a port alone, which means 127.0.0.1. Raises ConfigurationError."""
        host, _, port = text.rpartition(":")
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not port.isascii() or not port.isdigit() or int(port) > 65_535 or (not host and text.startswith((":", "["))):
            raise ConfigurationError(
                f"{text!r} is no address to listen on; give a port, or host:port such as 127.0.0.1:9464 (0.0.0.0:9464 for all)"
            )
        return cls(host or "127.0.0.1", int(port))

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Probes:
    """Serves `/healthz` (200 while the process is ok, else 503), `/readyz` (200 while it is ready) and, where that is
    given, `/metrics`. Their meaning is that of `Health`; the answer holds it in JSON.

    An async context manager, to be entered while the engine is open:

        async with Probes(engine, Address("127.0.0.1", 9465)) as probes:
            await engine.run_worker()
    """

    def __init__(
        self, engine: Engine, address: Address, *, metrics: Metrics | None = None, max_due: float | None = MAX_DUE
    ) -> None:
        self._engine = engine
        self._wanted = address
        self._metrics = metrics
        self._max_due = max_due
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def has_metrics(self) -> bool:
        """Whether it serves `/metrics` too."""
        return self._metrics is not None

    @property
    def address(self) -> Address:
        """Where it listens, with the port that was found free if 0 was asked for."""
        return self._wanted if self._server is None else self._wanted._replace(port=self._server.server_address[1])

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        try:
            self._server = await asyncio.to_thread(_Server, self._wanted, self.answer)
        except OSError as error:
            raise ConfigurationError(f"nothing can listen on {self._wanted}: {error}; give another address") from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="qengine-probes", daemon=True)
        self._thread.start()
        if not self._wanted.is_private:
            log.warning("%s can be reached from other machines, and has no authentication", self.address)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        assert self._thread is not None
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()
        await asyncio.to_thread(self._thread.join)

    def answer(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        """The answer to a request, from a thread that is not the event loop's: status, content type and body."""
        if path in ("/healthz", "/readyz"):
            health = self._health()
            well = health.ok if path == "/healthz" else health.ready
            status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
            return status, "application/json", json.dumps(health.as_dict()).encode() + b"\n"
        if path == "/metrics" and self._metrics is not None:
            page, content_type = self._metrics(accept)
            return HTTPStatus.OK, content_type, page
        return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"not found\n"

    def _health(self) -> Health:
        assert self._loop is not None
        asking = self._engine.health(max_due=self._max_due, timeout=DATABASE_WITHIN)
        try:
            future = asyncio.run_coroutine_threadsafe(asking, self._loop)
        except RuntimeError:
            asking.close()
            return Health(False, False, ("the event loop has ended",))
        try:
            return future.result(LOOP_WITHIN)
        except ConfigurationError:
            return Health(False, False, ("the engine is closed",))
        except TimeoutError:
            future.cancel()
            return Health(False, False, (f"the event loop has not answered for {LOOP_WITHIN:g} s: a handler blocks it",))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: Address, answer: Callable[[str, str], tuple[HTTPStatus, str, bytes]]) -> None:
        self.answer = answer
        self._room = threading.BoundedSemaphore(AT_ONCE)
        if ":" in address.host:
            self.address_family = socket.AF_INET6
        super().__init__((address.host, address.port), _Request)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own looks its name up in the DNS, which may take long
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a client went away, or something failed while it was answered", exc_info=True)


class _Request(BaseHTTPRequestHandler):
    server: _Server
    server_version = "qengine"
    sys_version = ""
    timeout = READ_WITHIN

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        try:
            status, content_type, body = self.server.answer(path, self.headers.get("Accept", ""))
        except Exception:
            log.exception("%s could not be answered", path if path in ("/healthz", "/readyz", "/metrics") else "a request")
            status, content_type, body = HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", b"failed; see the log\n"
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("%s", (format % args).encode("unicode_escape").decode("ascii"))
