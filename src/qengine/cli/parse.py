"""What is typed on a command line, as values: payloads, durations, times. What is wrong with it is a CommandError."""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from qengine.cli.errors import CommandError

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def payload_of(text: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    """A payload given as JSON (`-`: on stdin) or as `key=value`."""
    if text is None:
        return _from_pairs(pairs)
    if pairs:
        raise CommandError("give the payload as --payload or as key=value, not both")
    try:
        value = json.loads(sys.stdin.read() if text == "-" else text, parse_constant=_no_constant)
    except ValueError as error:
        raise CommandError(
            f'the payload is not JSON: {error}; quote it for the shell: --payload \'{{"to": "a@example.com"}}\''
        ) from None
    if not isinstance(value, dict):
        raise CommandError(
            'the payload must be a JSON object of the handler\'s parameters: --payload \'{"to": "a@example.com"}\''
        )
    return value


def _from_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise CommandError(f"{pair} is not key=value")
        if key in payload:
            raise CommandError(f"{key} is given twice")
        try:
            payload[key] = json.loads(text, parse_constant=_no_constant)
        except ValueError:
            payload[key] = text
    return payload


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def seconds_of(option: str, text: str) -> float:
    """A duration such as `90`, `90s`, `10m`, `36h`, `7d` or `2w`, in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip())
    if found is None or found[2] not in _SECONDS:
        raise CommandError(f"{option} {text}: write a duration such as 90s, 10m, 36h, 7d or 2w")
    return float(found[1]) * _SECONDS[found[2]]


def moment_of(option: str, text: str | None) -> dt.datetime | None:
    """A time in ISO 8601 with an offset."""
    if text is None:
        return None
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise CommandError(f"{option} {text}: write ISO 8601 with an offset, for instance 2030-01-31T08:00:00+01:00")
    return time


def past_of(option: str, text: str | None) -> dt.datetime | None:
    """A time in the past: ISO 8601 with an offset, or how long ago, such as `2h`."""
    if text is None:
        return None
    if re.fullmatch(r"[\d.]+\s*[a-z]*", text.strip()):
        try:
            return dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds_of(option, text))
        except OverflowError:
            raise CommandError(f"{option} {text}: that is longer ago than there are years") from None
    return moment_of(option, text)
