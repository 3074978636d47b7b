"""Values as text for a page. What a job carries may hold anything: templates escape it, and here it is made readable."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def clean(text: Any) -> str:
    """`text` with the characters that nobody sees, or that turn the reading direction, spelled out."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text).replace("\r\n", "\n"))


def one_line(text: Any, width: int = 160) -> str:
    """`text` on one line, and at most `width` characters of it."""
    whole = str(text)
    head = whole[: 8 * width]  # what may be a megabyte is not looked through for its first words
    line = " ".join(clean(head).split())
    return line if len(line) <= width and head == whole else line[: width - 1] + "…"


def pretty(value: Any) -> str:
    """A JSON value, indented; a text that is no JSON as it is."""
    return clean(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str))


def compact(value: Any, width: int = 160) -> str:
    """A JSON value on one line, and at most `width` characters of it; a text that is no JSON as it is."""
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), width)


def number(value: float) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,.0f}"


def counted(value: int, noun: str) -> str:
    """`1 job`, `2,000 jobs`."""
    return f"{number(value)} {noun}" if value == 1 else f"{number(value)} {noun}s"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them: `340 ms`, `4.2 s`, `12 s`, `5 min`, `3 h`, `2 d`."""
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    if seconds >= 10:
        return f"{seconds:.0f} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{max(0.0, seconds) * 1000:.0f} ms"


def moment(time: dt.datetime) -> str:
    """A time in UTC, to the second."""
    return f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def relative(time: dt.datetime, now: dt.datetime) -> str:
    """A time as seen from `now`: `in 5 min`, `3 s ago`."""
    seconds = (time - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


@pass_context
def when(context: Context, time: dt.datetime | None) -> Markup:
    """A time as seen from the page's `now`, with the exact one at hand; a dash for none."""
    if time is None:
        return Markup('<span class="faint">-</span>')
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        time.astimezone(dt.UTC).isoformat(timespec="milliseconds"), moment(time), relative(time, context["now"])
    )
