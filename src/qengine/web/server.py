"""Serving a dashboard by itself, until a signal ends it."""

from __future__ import annotations

import socket
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from qengine.web.settings import Dashboard

GRACE = 5
"""Seconds that answers under way have to end when the server is stopped."""


class Server(uvicorn.Server):
    """A server that ends well on SIGINT or SIGTERM, and ends what watches the queue first: it would never end by itself."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """At the first signal let answers under way end; at the second, end at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving."""
        app = self.config.app
        assert isinstance(app, Starlette)
        shared: Dashboard = app.state.dashboard
        await shared.live.close()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A socket on this address; port 0: any free one. Raises OSError when it cannot be had."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address[:2], family=family)


async def serve(app: Starlette, sock: socket.socket) -> None:
    """Serve a dashboard on a socket until a signal comes. No access log is kept: it would hold what people search for."""
    config = uvicorn.Config(
        app, access_log=False, log_config=None, server_header=False, ws="none", timeout_graceful_shutdown=GRACE
    )
    await Server(config).serve([sock])
