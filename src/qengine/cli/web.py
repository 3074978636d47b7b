"""`qengine web`: the dashboard, served by itself."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from typing import Annotated

import typer

from qengine.cli.errors import CommandError, ExitCode, complain
from qengine.cli.options import Dsn, Where
from qengine.cli.target import find_engine
from qengine.engine import Engine

TOKEN = "QENGINE_WEB_TOKEN"  # noqa: S105 - the name of a variable
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def web(
    where: Where = None,
    dsn: Dsn = None,
    host: Annotated[str, typer.Option(help="The address on which it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="The port; 0: any free one.")] = 8765,
    read_only: Annotated[bool, typer.Option("--read-only", help="Show everything, change nothing.")] = False,
) -> None:
    """Show the queue in the browser: what waits, what fails, and why; and act on it.

    Prints a link with a token, which a browser needs once. Set QENGINE_WEB_TOKEN to choose the token yourself; the link is
    then printed without it.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_serve(find_engine(where or dsn), host, port, read_only))


async def _serve(engine: Engine, host: str, port: int, read_only: bool) -> None:
    from qengine.web import dashboard  # the extra may be missing, and only this command needs it
    from qengine.web.server import listen, serve

    given = os.environ.get(TOKEN)
    token = given or secrets.token_urlsafe(32)
    local = host in LOOPBACK
    app = dashboard(engine, token=token, read_only=read_only, allowed_hosts=LOOPBACK if local else None)
    async with engine:
        try:
            sock = listen(host, port)
        except OSError as error:
            why = error.strerror or error
            raise CommandError(
                f"cannot listen on {host}, port {port}: {why}; choose others with --host and --port", ExitCode.FAILED
            ) from error
        with sock:
            shown = f"[{host}]" if ":" in host else host
            link = f"http://{shown}:{sock.getsockname()[1]}/"
            print(f"The dashboard is at {link} with the token of {TOKEN}" if given else f"{link}?token={token}", flush=True)
            if not local:
                complain(f"anybody who can reach {host} can read along; put a server with TLS in front, or use an SSH tunnel")
            await serve(app, sock)
