"""A TCP proxy between workers and their server that can delay, cut, half-open, stall and forget connections."""

from __future__ import annotations

import asyncio
import contextlib

KEPT_OPEN = 12.0
"""Seconds for which the server's side of a forgotten connection stays open: the server does not know either."""


class Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.forgotten = False
        """Nothing passes any more, and neither side is told."""

    def abort(self) -> None:
        """Reset both sides."""
        for writer in (self.client, self.server):
            writer.transport.abort()


class Proxy:
    """Listens on a port of its own and passes everything on, until told otherwise."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay = 0.0
        """Seconds by which every packet comes late."""
        self.refusing = False
        """Whether new connections are closed at once."""

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        self.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- the ways to be bad

    def cut(self) -> int:
        """Reset every connection; how many."""
        links = list(self._links)
        for link in links:
            link.abort()
        return len(links)

    def half_open(self) -> int:
        """Close the server's side of every connection without a word to the client; how many."""
        links = [link for link in self._links if not link.forgotten]
        for link in links:
            link.forgotten = True
            link.server.transport.abort()
        return len(links)

    def forget(self) -> int:
        """Drop silently all that comes on the present connections, as a firewall that lost its state; how many."""
        links = [link for link in self._links if not link.forgotten]
        for link in links:
            link.forgotten = True
        return len(links)

    def stall(self) -> None:
        """Let nothing pass, and lose nothing, until `flow`."""
        self._open.clear()

    def flow(self) -> None:
        """End a stall."""
        self._open.set()

    # -- passing on

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self.refusing:
                writer.transport.abort()
                return
            try:
                upstream, server = await asyncio.open_connection(*self._upstream)
            except OSError:
                writer.transport.abort()
                return
            await self._serve(Link(writer, server), reader, upstream)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _serve(self, link: Link, client: asyncio.StreamReader, server: asyncio.StreamReader) -> None:
        self._links.add(link)
        try:
            up = asyncio.ensure_future(self._pass(link, client, link.server))
            down = asyncio.ensure_future(self._pass(link, server, link.client))
            try:
                # What the server says last is for the client to hear; a client that left ends the connection.
                await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
                if link.forgotten:
                    await self._linger(up)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        finally:
            self._links.discard(link)
            link.abort()

    async def _linger(self, up: asyncio.Future[None]) -> None:
        """Keep the sides of a forgotten connection apart: each finds out by itself."""
        if not up.done():
            await asyncio.wait([up])
        if not up.cancelled():
            await asyncio.sleep(KEPT_OPEN)

    async def _pass(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                if not link.forgotten:
                    writer.write(data)
                    await writer.drain()
