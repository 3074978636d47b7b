"""The order of the line: everything gets its turn."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from qengine.testing.torture.checks.violation import Violation
from qengine.testing.torture.history import Change, History

OVERTAKEN_FOR = 8.0
"""Seconds for which a job may be overtaken beyond its bound: a claim that was rolled back skips a job for a moment."""


def nobody_starves(history: History) -> Iterator[Violation]:
    """A job of priority p is overtaken only by jobs that come due within (p - 1) x ageing after it."""
    line: list[tuple[float, int]] = []
    standing: dict[int, Change] = {}
    overtaken: dict[int, float] = {}
    for change in history.changes:
        if change.type != "line":
            continue
        job = change.job
        if change.is_claim:
            while line and (line[0][1] not in standing or standing[line[0][1]].rank != line[0][0]):
                heapq.heappop(line)
            if line and line[0][1] != job:
                yield from _overtaken(history, standing[line[0][1]], change, overtaken)
        standing.pop(job, None)
        if change.rank is not None and change.crashes < 2:
            standing[job] = change
            heapq.heappush(line, (change.rank, job))
        elif change.is_claim:
            overtaken.pop(job, None)


def _overtaken(history: History, waiting: Change, claimed: Change, overtaken: dict[int, float]) -> Iterator[Violation]:
    bound = (waiting.priority - 1) * history.rules.ageing
    if claimed.due <= waiting.due + bound:
        return
    since = overtaken.setdefault(waiting.job, claimed.at)
    if since != float("inf") and claimed.at - since > OVERTAKEN_FOR:
        overtaken[waiting.job] = float("inf")
        text = (
            f"job {waiting.job} of priority {waiting.priority}, due {waiting.due:.3f}, has been overtaken for "
            f"{claimed.at - since:.1f} s; now by job {claimed.job}, "
            f"due {claimed.due - waiting.due:.1f} s later (bound {bound:g} s)"
        )
        yield Violation("everything gets its turn", text, waiting.job)
