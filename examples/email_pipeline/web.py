"""Talking HTTP with urllib, in a thread, so that a slow site holds up nobody else."""

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from anyio.to_thread import run_sync

from email_pipeline.settings import settings
from qengine import RetryAfter

TIMEOUT = 8.0
"""Seconds of silence before the connection is given up: a thread cannot be stopped from outside."""


def host_of(website: str) -> str:
    """The host of a prospect's website. Raises ValueError when the record holds no address."""
    host = urlsplit(website).hostname
    if not host:
        raise ValueError(f"{website!r} is no address of a website")
    return host


async def get(path: str) -> bytes:
    return await _call(urllib.request.Request(settings.web + path))


async def get_json(path: str) -> Any:
    return json.loads(await get(path))


async def put(path: str, content: Any) -> None:
    await _call(urllib.request.Request(settings.web + path, data=json.dumps(content).encode(), method="PUT"))


async def _call(request: urllib.request.Request) -> bytes:
    # abandon_on_cancel: when the job's own timeout strikes, its handler ends at once, whatever the thread does.
    return await run_sync(_blocking_call, request, abandon_on_cancel=True)


def _blocking_call(request: urllib.request.Request) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            content: bytes = response.read()
            return content
    except urllib.error.HTTPError as error:
        with error:
            wait = error.headers.get("Retry-After")
        if wait is not None:
            raise RetryAfter(float(wait)) from None  # this site asks; the other sites need not wait
        raise
