"""What is on show in the browser tests: an engine with a worker and a dashboard; and who looks at it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import uvicorn
from playwright.async_api import Browser, ConsoleMessage, Dialog, Page, Request, expect

from qengine import Discard, Engine, JobContext, Status
from qengine.backends.inspection import JobFilter
from qengine.web import dashboard
from qengine.web.live import Live
from qengine.web.server import Server

T = TypeVar("T")

TOKEN = "a-token-of-the-browser-tests"
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
HOSTILE = "</pre><script>alert('script')</script><img src=x onerror=\"alert('img')\"><b>bold</b>'\"&{{ 7*7 }}\u202e\x00"
"""Text that does something wherever it is not escaped. (Without the NUL where a database refuses it.)"""
SHOWN = "<script>alert('script')</script>"
"""The beginning of it, as it is to be read."""

expect.set_options(timeout=15_000)


class Stage:
    """An open engine with a worker, and its dashboard at `address`."""

    def __init__(self, engine: Engine, live: Live, address: str, browser: Browser) -> None:
        self.engine = engine
        self.live = live
        self.address = address
        self.browser = browser
        self.gate = asyncio.Event()
        """Jobs of the type `import_orders` end when it is set."""
        self._cookies: Any = None

    async def clear(self) -> None:
        self.gate.set()
        while await self.engine.backend.delete(JobFilter(), 1000):
            pass
        self.gate.clear()
        for pause in await self.engine.pauses():
            await self.engine.resume(**{pause.kind: pause.name})
        for schedule in await self.engine.schedules():
            if schedule.paused:
                await self.engine.resume_schedule(schedule.name)
        for status in Status:
            await self.counted(status, 0)

    async def counted(self, status: str, number: int) -> None:
        """Wait until the latest count, which the pages show, says so."""

        async def look() -> bool:
            stats = self.engine.counts(max_age=0.0).stats
            return stats is not None and stats.by_status[status] == number

        await self.until(look)

    async def until(self, look: Callable[[], Awaitable[T]]) -> T:
        """What `look` gives, once that is true."""
        while not (found := await look()):
            await asyncio.sleep(0.01)
        return found

    async def status(self, job_id: int, *wanted: str) -> None:
        """Wait until a job has one of these statuses."""

        async def look() -> bool:
            return str((await self.engine.job(job_id)).status) in wanted

        await self.until(look)

    async def dead(self, to: str = "nobody 7", **payload: Any) -> int:
        """A job that is dead, as this is no address; its id."""
        job = await self.engine.enqueue("send_email", {"to": to, **payload})
        await self.status(job.id, "dead")
        return job.id

    async def _let_in(self) -> Any:
        """The cookies of who has opened the link."""
        context = await self.browser.new_context()
        page = await context.new_page()
        await page.goto(f"{self.address}/audit?token={TOKEN}")
        cookies = await context.storage_state()
        await context.close()
        return cookies

    @contextlib.asynccontextmanager
    async def visitor(self, *, let_in: bool = True, **options: Any) -> AsyncIterator[Visitor]:
        if let_in and self._cookies is None:
            self._cookies = await self._let_in()
        given = {"viewport": DESK, "locale": "en-GB", "timezone_id": "UTC", "storage_state": self._cookies if let_in else None}
        context = await self.browser.new_context(**given | options)
        try:
            visitor = Visitor(self, await context.new_page())
            yield visitor
            visitor.check()
        finally:
            await context.close()


class Visitor:
    """Somebody with an empty page, of whom all is noted that must not happen."""

    def __init__(self, stage: Stage, page: Page) -> None:
        self.stage = stage
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)
        page.set_default_timeout(15_000)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    async def _dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.stage.address).netloc and not request.url.startswith("data:"):
            self.complaints.append(f"request to another host: {request.url}")

    def refused(self, status: int) -> None:
        """Once: the browser has complained of an answer with this status, and that is right."""
        [expected] = [text for text in self.complaints if f"status of {status} " in text]
        self.complaints.remove(expected)

    def check(self) -> None:
        """Fail on what the browser has complained of: errors, violations of the content security policy among them."""
        assert not self.complaints, "\n".join(self.complaints)

    async def go(self, path: str) -> None:
        """Open a page."""
        answer = await self.page.goto(self.stage.address + path)
        assert answer is not None
        assert answer.ok, f"{path}: {answer.status}"

    async def press(self, name: str, within: str = "body") -> None:
        """Press a button and wait for the page that it leads to."""
        async with self.page.expect_navigation():
            await self.page.locator(within).get_by_role("button", name=name, exact=True).click()

    async def follow(self, name: str, within: str = "body") -> None:
        """Follow a link and wait for the page that it leads to."""
        async with self.page.expect_navigation():
            await self.page.locator(within).get_by_role("link", name=name, exact=True).click()

    async def told(self, text: str) -> None:
        """Wait for the news of an action."""
        await expect(self.page.locator(".news")).to_contain_text(text)

    async def watch(self) -> None:
        """Open the overview and wait until it is connected."""
        await self.go("/")
        await self.is_live()

    async def is_live(self) -> None:
        """Wait until the overview is connected."""
        await expect(self.page.locator("#live")).to_have_text("live")

    async def no_sideways(self) -> None:
        """Fail when the page is wider than its window."""
        wide, window = await self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide <= window, f"{self.page.url} is {wide} wide in a window of {window}"


@contextlib.asynccontextmanager
async def playing(url: str, browser: Browser) -> AsyncIterator[Stage]:
    """The stage, from the opening of the engine to its closing."""
    engine = Engine(url)
    stage: Stage

    @engine.task(max_attempts=1)
    async def send_email(to: str, password: str = "") -> str:
        if "@" not in to:
            raise ValueError(f"not an address: {to}")
        if to.startswith("gone"):
            raise LookupError(f"550 no such user: {to}")
        return f"sent to {to}"

    @engine.task()
    async def forget(reason: str) -> None:
        raise Discard(reason)

    @engine.task()
    async def import_orders(ctx: JobContext, pages: int = 4) -> None:
        await ctx.progress(1, pages, "reading page 1")
        await stage.gate.wait()

    @engine.cron("0 3 * * *", tz="Europe/Berlin")
    @engine.task()
    async def nightly_report() -> None: ...

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        app = dashboard(engine, token=TOKEN, actor=lambda request: "Ada")
        app.state.dashboard.live._every = 0.25  # the tests wait for it
        server = Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        async with engine:
            stage = Stage(engine, app.state.dashboard.live, address, browser)
            async with engine.worker(concurrency=4):
                serving = asyncio.create_task(server.serve(sockets=[listening]))
                try:
                    await stage.until(lambda: _started(server, serving))
                    yield stage
                finally:
                    stage.gate.set()
                    server.should_exit = True
                    await serving


async def _started(server: Server, serving: asyncio.Task[None]) -> bool:
    if serving.done():
        await serving
    return server.started
