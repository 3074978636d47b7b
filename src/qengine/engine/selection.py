"""Which jobs are meant: what an operator gives, checked, as the backend's filter; and acting on many in batches."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from qengine.backends.inspection import JobFilter
from qengine.errors import ConfigurationError
from qengine.job import Status
from qengine.values import is_unicode

BATCH = 1_000
"""Jobs that one administrative statement touches, at the most; larger selections take several."""
IDS_TOLD = 100
"""Ids that an audit row names, at the most."""

Statuses = Status | str | Iterable[Status | str] | None
"""How statuses are given: one, several, or None for any."""
Ids = int | Iterable[int] | None
"""How ids are given: one, several, or None where conditions say which jobs are meant."""
Progress = Callable[[int], None]
"""Called with the number of jobs dealt with so far, after each batch."""


def checked_filter(
    ids: Ids = None,
    *,
    status: Statuses = None,
    type: str | None = None,
    queue: str | None = None,
    error_group: str | None = None,
    text: str | None = None,
    created_before: dt.datetime | None = None,
    created_after: dt.datetime | None = None,
) -> JobFilter:
    """The filter of these conditions. Raises ConfigurationError for what can be none. An empty `text` asks nothing."""
    for name, time in (("created_before", created_before), ("created_after", created_after)):
        if time is not None:
            check_aware(name, time)
    chosen = None if ids is None else [checked_id(i) for i in ([ids] if isinstance(ids, (int, str)) else ids)]
    if text is not None:
        check_text(text)
    return JobFilter(
        chosen,
        checked_statuses(status),
        type,
        queue,
        error_group,
        created_before=created_before,
        created_after=created_after,
        text=text or None,
    )


def refuse_everything(act: str, which: JobFilter) -> None:
    """Raise ConfigurationError for a filter that every job meets."""
    if which == JobFilter():
        raise ConfigurationError(f"{act}() would touch every job; give ids, or a condition such as status= or type=")


def checked_id(id: int) -> int:
    """The id. Raises ConfigurationError for what is none."""
    if isinstance(id, bool) or not isinstance(id, int):
        raise ConfigurationError(f"{id!r} is no job id; ids are whole numbers")
    return id


def checked_statuses(status: Statuses) -> tuple[Status, ...] | None:
    """The statuses. Raises ConfigurationError for what is none."""
    if status is None:
        return None
    given = [status] if isinstance(status, str) else list(status)
    try:
        return tuple(Status(one) for one in given)
    except ValueError:
        raise ConfigurationError(f"status={status!r}: the statuses are {', '.join(Status)}") from None


def check_aware(name: str, time: dt.datetime) -> None:
    """Raise ConfigurationError for a datetime without a time zone."""
    if not isinstance(time, dt.datetime) or time.utcoffset() is None:
        raise ConfigurationError(f"{name}={time!r} has no time zone; give an aware datetime")


def check_text(text: str) -> None:
    """Raise ConfigurationError for what no database can look for."""
    if not isinstance(text, str) or "\0" in text or not is_unicode(text):
        raise ConfigurationError(f"text={text!r}: give a text of whole characters without NUL")


def check_limit(limit: int) -> None:
    """Raise ConfigurationError for what is no number of rows."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigurationError(f"limit={limit!r}: give a whole number, 1 or more")


def told(which: JobFilter) -> dict[str, Any]:
    """The filter in plain JSON values, as an audit row tells it."""
    found: dict[str, Any] = {}
    for name in ("type", "queue", "error_group", "text"):
        if (value := getattr(which, name)) is not None:
            found[name] = value
    for name in ("created_before", "created_after"):
        if (time := getattr(which, name)) is not None:
            found[name] = time.isoformat()
    if which.status is not None:
        found["status"] = [str(one) for one in which.status]
    if which.ids is not None:
        found["ids"] = list(which.ids[:IDS_TOLD])
        if len(which.ids) > IDS_TOLD:
            found["more_ids"] = len(which.ids) - IDS_TOLD
    return found


def only_job(which: JobFilter) -> int | None:
    """The id, where a single job is meant."""
    return which.ids[0] if which.ids is not None and len(which.ids) == 1 else None


async def in_batches(
    act: Callable[[JobFilter, int, int], Awaitable[Sequence[int]]], which: JobFilter, batch: int, done: Callable[[int], None]
) -> None:
    """Apply `act(which, limit, so far)`, which says which jobs it touched, until nothing more is selected.

    By slices of the ids where these are given, else by the conditions, in the order of ids. `done` is called with the
    number so far after each.
    """
    total = 0
    if which.ids is not None:
        for start in range(0, len(which.ids), batch):
            total += len(await act(replace(which, ids=which.ids[start : start + batch]), batch, total))
            done(total)
        return
    while touched := await act(which, batch, total):
        total += len(touched)
        done(total)
        if len(touched) < batch:
            break
        which = replace(which, above=max(touched))
