"""What is kept of an error: one line, a bounded traceback, and the group of errors like it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import re
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType

import anyio

LINE_LIMIT = 500
"""The longest error line, in characters."""
TRACEBACK_LIMIT = 16_000
"""The longest traceback, in characters."""

_PLUMBING = (
    *(os.path.dirname(file) + os.sep for file in (__file__, asyncio.__file__, anyio.__file__, concurrent.futures.__file__)),
    contextlib.__file__,
    threading.__file__,
)
"""Where the frames are from that stand between a worker and a handler."""


def describe(error: BaseException) -> str:
    """The error in one bounded line: its type, and the first line of its message. Never raises.

    A group is described by the first error in it, with how many more there are.
    """
    found = list(_leaves(error))
    name = type(found[0]).__name__
    message = _first_line(_message(found[0]))
    text = f"{name}: {message}" if message else name
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return _storable(_cut(text, LINE_LIMIT - len(more)) + more)


def traceback_text(error: BaseException, limit: int = TRACEBACK_LIMIT) -> str:
    """The traceback as Python prints it, causes included, at most `limit` characters, the end kept. Never raises.

    The frames through which qengine called the handler are left out.
    """
    try:
        shown = traceback.TracebackException(type(error), error, _handler_frames(error.__traceback__), compact=True)
        text = "".join(shown.format())
    except Exception as broken:
        text = f"{describe(error)}\n(its traceback cannot be shown: {type(broken).__name__})\n"
    if len(text) > limit:
        mark = "[…]\n"
        text = mark + text[len(text) - max(limit - len(mark), 0) :]
        text = text[:limit]
    return _storable(text)


def group(error_line: str) -> str:
    """`error_line` with all that varies between like errors replaced by `*`.

    That is: numbers, hexadecimal, UUIDs, times, e-mail and other addresses, URLs, paths, and what stands in quotes. The
    error's type stays.
    """
    kind, colon, message = error_line.partition(": ")
    if not colon or not re.fullmatch(r"[\w.]+", kind):
        kind, colon, message = "", "", error_line
    for pattern in _VARYING:
        message = pattern.sub("*", message)
    return kind + colon + message


_VARYING = tuple(
    re.compile(pattern)
    for pattern in (
        r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+",  # URLs
        r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*",  # e-mail addresses
        r"(?<!\w)(['\"`])(?:(?!\1).)*\1(?!\w)",  # what is quoted; not the apostrophe of "can't"
        r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b",  # UUIDs
        r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?",  # times
        r"\b0[xX][0-9a-fA-F]+\b",  # addresses in memory
        r"(?<!\w)(?:[A-Za-z]:\\|\\\\)[^\s'\":;,)]+",  # Windows' paths
        r"(?<![\w/])(?:~|\.{1,2})?(?:/[\w.@%+=~-]+)+/?",  # paths from the root, or from here
        r"(?<![\w/])[\w-]+(?:/[\w.-]+)*/[\w-]+\.\w+",  # paths to a file
        r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{7,}\b",  # hashes
        r"(?:(?<![\w*])[-+])?\d+(?:[.,:_-]\d+)*(?:[eE][-+]?\d+\b)?",  # numbers
    )
)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its message cannot be shown)"


def _first_line(text: str) -> str:
    return next((stripped for line in text[:10_000].splitlines() if (stripped := line.strip())), "")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _storable(text: str) -> str:
    """`text` without what databases refuse: NUL, and half surrogate pairs."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _handler_frames(frames: TracebackType | None) -> TracebackType | None:
    """The frames from the first that is not of qengine, or of what it runs handlers with; all, when there is none."""
    at = frames
    while at is not None:
        if not at.tb_frame.f_code.co_filename.startswith(_PLUMBING):
            return at
        at = at.tb_next
    return frames
