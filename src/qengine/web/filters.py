"""Which jobs a page is about: a filter, from a query or a form, as conditions for the engine, and back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import ImmutableMultiDict

from qengine.engine import Engine
from qengine.errors import ConfigurationError, JobNotFound
from qengine.job import Job, Status
from qengine.web.text import duration, one_line

WITHIN = (900, 3600, 86400, 7 * 86400)
"""The spans of time, in seconds, that the filter offers."""
LARGEST_ID = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on jobs, as somebody chose them."""

    status: tuple[Status, ...] = ()
    """None of them: any status."""
    type: str = ""
    queue: str = ""
    text: str = ""
    within: int | None = None
    """Created so many seconds ago at the most."""
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    like: int | None = None
    """The id of a job: those that fail as it does. So that no text of an error is in an address."""

    @classmethod
    def of(cls, given: ImmutableMultiDict[str, Any]) -> Filter:
        """The filter in a query or a form. Raises ConfigurationError, naming what cannot be understood."""
        try:
            status = tuple(dict.fromkeys(Status(name) for name in given.getlist("status") if name))
        except ValueError:
            raise ConfigurationError(f"status {given.getlist('status')!r}: the statuses are {', '.join(Status)}") from None
        return cls(
            status,
            given.get("type", "").strip(),
            given.get("queue", "").strip(),
            given.get("text", ""),
            whole(given, "within"),
            _time(given, "since"),
            _time(given, "until"),
            whole(given, "like"),
        )

    def query(self) -> dict[str, Any]:
        """The same as the query of an address."""
        found: dict[str, Any] = {
            "status": [str(status) for status in self.status],
            "type": self.type,
            "queue": self.queue,
            "text": self.text,
            "within": self.within,
            "like": self.like,
        }
        found |= {name: _written(time) for name, time in (("since", self.since), ("until", self.until))}
        return {name: value for name, value in found.items() if value not in (None, "", [])}

    @property
    def narrow(self) -> bool:
        """Whether it names any condition."""
        return self != Filter()

    async def conditions(self, engine: Engine, now: dt.datetime) -> tuple[dict[str, Any], Job[Any] | None]:
        """What `engine.search`, `requeue` and the like take; and the job of `like`. Raises JobNotFound without that."""
        after = [time for time in (self.since, now - dt.timedelta(seconds=self.within) if self.within else None) if time]
        found: dict[str, Any] = {
            "status": self.status or None,
            "type": self.type or None,
            "queue": self.queue or None,
            "text": self.text or None,
            "created_after": max(after, default=None),
            "created_before": self.until,
        }
        if self.like is None:
            return found, None
        job = await engine.job(checked(self.like))
        return found | {"type": job.type, "error_group": error_group(job)}, job

    def words(self, like: Job[Any] | None = None) -> str:
        """The conditions as a person reads them."""
        found = [" or ".join(self.status) if self.status else "any status"]
        if like is not None:
            found.append(f"type {one_line(like.type, 60)}, failing with {one_line(error_group(like), 80)}")
        elif self.type:
            found.append(f"type {one_line(self.type, 60)}")
        if self.queue:
            found.append(f"queue {one_line(self.queue, 60)}")
        if self.text:
            found.append(f"with the text “{one_line(self.text, 60)}”")
        if self.within:
            found.append(f"created in the last {duration(self.within)}")
        found += [
            f"created {word} {time:%Y-%m-%d %H:%M} UTC" for word, time in (("after", self.since), ("before", self.until)) if time
        ]
        return ", ".join(found)


def error_group(job: Job[Any]) -> str:
    """The group of failures that a job belongs to, as `engine.failures` lists it."""
    return next((text for text in (job.error_group, job.last_error, job.dead_reason) if text is not None), "")


def checked(job_id: int) -> int:
    """The id. Raises JobNotFound for one that no job can have."""
    if not 0 < job_id <= LARGEST_ID:
        raise JobNotFound(f"there is no job {job_id}: ids are from 1 to {LARGEST_ID}")
    return job_id


def whole(given: Mapping[str, Any], name: str) -> int | None:
    """A whole number of 1 or more from a query or a form; None when it is empty. Raises ConfigurationError otherwise."""
    text = str(given.get(name, "")).strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= LARGEST_ID):
        raise ConfigurationError(f"{name} {text!r}: give a whole number, 1 or more")
    return int(text)


def _time(given: Mapping[str, Any], name: str) -> dt.datetime | None:
    text = str(given.get(name, "")).strip()
    if not text:
        return None
    try:
        time = dt.datetime.fromisoformat(text)
        return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{name} {text!r}: give a time as 2030-01-31T08:00 (UTC)") from None


def _written(time: dt.datetime | None) -> str | None:
    if time is None:
        return None
    whole_minutes = time.second == time.microsecond == 0  # as browsers write it
    return time.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec="minutes" if whole_minutes else "auto")
