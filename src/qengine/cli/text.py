"""Values as text for a terminal. What a job carries may hold anything, terminal escape sequences too."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def clean(text: str) -> str:
    """`text` with control characters, other than tab and newline, spelled out."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str, width: int | None = None) -> str:
    """`text` on one line, and at most `width` characters of it."""
    line = " ".join(clean(text).split())
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def pretty(value: Any) -> str:
    """A JSON value, indented; a text that is no JSON as it is."""
    return clean(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str))


def counted(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them: `340 ms`, `12 s`, `5 min`, `3 h`, `2 d`."""
    for unit, size in _UNITS:
        if seconds >= 2 * size or (unit == "s" and seconds >= 1):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1000:.0f} ms"


def moment(time: dt.datetime | None) -> str:
    """A time in UTC, to the second."""
    return "" if time is None else f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}Z"


def relative(time: dt.datetime | None) -> str:
    """A time as seen from now: `in 5 min`, `3 s ago`."""
    if time is None:
        return ""
    seconds = (time - dt.datetime.now(dt.UTC)).total_seconds()
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"
