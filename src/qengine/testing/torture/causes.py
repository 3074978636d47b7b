"""Why a lease was lost: which fault, or which neighbour, explains it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from qengine.testing.torture.history import Change, History
from qengine.testing.torture.ledger import Event

TAIL = 20.0
"""Seconds for which a fault that everybody suffers may still cost leases: waits grow while a database is away."""


class Causes:
    """Looks up what happened to the holders of jobs."""

    def __init__(self, history: History) -> None:
        self._pid = {event.facts["worker"]: event.pid for event in history.begins}
        self._claimed = {(change.job, change.token): change.at for change in history.changes if change.is_claim}
        self._deaths: dict[int, list[Event]] = defaultdict(list)
        for death in history.of_kind("exit"):
            self._deaths[death.facts["victim"]].append(death)
        self._struck: dict[int, list[tuple[float, float, str]]] = defaultdict(list)
        self._everybody: list[tuple[float, float, str]] = []
        self._read(history)

    def _read(self, history: History) -> None:
        for fault in history.faults:
            facts = fault.facts
            end = fault.at + facts.get("seconds", 0) + TAIL
            span = (fault.at, end, facts["name"])
            if facts.get("everybody") or facts.get("everybody_waits"):
                self._everybody.append(span)
            if "victim" in facts:
                self._struck[facts["victim"]].append(span)
        for begin in history.begins:
            if begin.facts["type"] in ("blocker", "hog"):
                self._struck[begin.pid].append((begin.at, begin.at + TAIL, begin.facts["type"]))
        for heal in history.of_kind("healed"):
            self._everybody += [(heal.at, heal.at + TAIL, heal.facts["name"])] if "victim" not in heal.facts else []

    def of(self, crash: Change) -> list[str]:
        """What explains that this lease was taken back; empty: nothing does."""
        return list(self._explain(crash))

    def _explain(self, crash: Change) -> Iterator[str]:
        begin = self._claimed.get((crash.job, crash.token_before), crash.at)
        pid = self._pid.get(crash.worker or "")
        if pid is None:
            yield "its worker never began a job"
            return
        for death in self._deaths[pid]:
            if begin - 1 <= death.at <= crash.at + 1:
                yield f"its process ended: {death.facts['why']}"
        for start, end, name in (*self._struck[pid], *self._everybody):
            if start <= crash.at and end >= begin:
                yield name
