"""Which Chromium to drive, and driving it."""

from __future__ import annotations

import os
import shutil
from types import TracebackType
from typing import Any, NoReturn

import pytest
from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOW = "`apt-get install chromium`, or set QENGINE_CHROMIUM to the path of a Chromium or Chrome"


def find_chromium() -> str | None:
    """Its path: what QENGINE_CHROMIUM says, else the first of NAMES on the PATH."""
    return os.environ.get("QENGINE_CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


def why_not() -> NoReturn:
    """Skip, or fail where QENGINE_BROWSER=required."""
    message = f"there is no browser to test with: {HOW}"
    if os.environ.get("QENGINE_BROWSER") == "required":
        pytest.fail(message)
    pytest.skip(message)


class Chromium:
    """A running Chromium, as a context."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._playwright: Any = None

    async def __aenter__(self) -> Browser:
        self._playwright = await async_playwright().start()
        sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # it refuses to be root with one
        self._browser: Browser = await self._playwright.chromium.launch(executable_path=self._path, args=[*ARGUMENTS, *sandbox])
        return self._browser

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._browser.close()
        await self._playwright.stop()
