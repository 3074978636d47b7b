"""The telling: the seed first, then what happened in numbers, then every broken promise with its history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from qengine.testing.torture.causes import Causes
from qengine.testing.torture.checks.violation import Violation
from qengine.testing.torture.history import OWN_HAND, History
from qengine.testing.torture.options import Options

SHOWN = 12
"""Violations whose history is told in full."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went."""

    options: Options
    database: str
    """Which, and its version."""
    seconds: float
    history: History
    violations: Sequence[Violation]
    not_run: dict[str, str]
    """Faults that did not run here, and why."""
    noticed: Sequence[str] = ()
    """What is odd and no broken promise: errors in the workers' logs."""


def kills(history: History) -> Counter[str]:
    """Processes that were killed, by what killed them."""
    killed = Counter(fault.facts["name"] for fault in history.faults if fault.facts.get("kill"))
    killed["poison"] = sum(1 for event in history.of_kind("exit") if event.facts["why"] == OWN_HAND)
    return +killed


def faults(history: History) -> Counter[str]:
    """Faults that struck, by name, kills included; what operators did counts, too."""
    struck = Counter(fault.facts["name"] for fault in history.faults)
    struck.update(f"operator: {event.facts['act']}" for event in history.of_kind("acts"))
    return struck


def table(outcome: Outcome) -> str:
    """The table that goes into the documentation."""
    history, options = outcome.history, outcome.options
    killed, struck = kills(history), faults(history)
    statuses = Counter(row.status for row in history.rows.values())
    dead = Counter(row.dead_reason for row in history.rows.values() if row.status == "dead")
    crashes = [change for change in history.changes if change.is_crash]
    causes = Causes(history)
    unexplained = sum(1 for crash in crashes if not causes.of(crash))
    spared = sum(1 for row in history.rows.values() if row.dead_reason == "crash_loop" and row.type not in history.rules.guilty)
    answers = Counter(write.facts["answer"] for write in history.of_kind("write"))
    acts = sum(count for name, count in struck.items() if name.startswith("operator:"))
    lines = [
        ("database", outcome.database),
        ("seed", str(options.seed)),
        ("minutes of faults, workers", f"{options.minutes:g}, {options.workers}"),
        ("jobs stored", f"{len(history.rows):,}"),
        ("of them", ", ".join(f"{count:,} {name}" for name, count in sorted(statuses.items()))),
        ("dead because", ", ".join(f"{count:,} {name}" for name, count in sorted(dead.items(), key=str)) or "none"),
        ("runs begun", f"{len(history.begins):,}"),
        ("leases lost", f"{len(crashes):,}, of them without a known cause {unexplained:,}"),
        ("fenced writes tried by handlers", ", ".join(f"{count:,} {name}" for name, count in sorted(answers.items()))),
        ("effects written in transactions", f"{len(history.effects):,}"),
        ("fires of schedules", f"{len(history.fires):,}"),
        ("kills", f"{sum(killed.values()):,} ({_counts(killed)})"),
        ("faults", f"{sum(struck.values()) - acts + killed['poison']:,} (and {acts:,} acts of operators)"),
        *((f"- {name}", f"{count:,}") for name, count in sorted(struck.items())),
        *((f"- {name}", f"not run: {why}") for name, why in sorted(outcome.not_run.items())),
        ("innocents that the nemesis itself crashed to death", str(spared)),
        ("violations", str(len(outcome.violations))),
        ("seconds in all", f"{outcome.seconds:.0f}"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in lines)])


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counter.most_common())


def told(outcome: Outcome) -> str:
    """The whole report."""
    parts = [table(outcome)]
    if outcome.noticed:
        parts.append("Noticed in the logs of the workers (no broken promise by itself):\n" + "\n".join(outcome.noticed))
    by_rule = Counter(violation.rule for violation in outcome.violations)
    if by_rule:
        parts.append("VIOLATIONS\n" + "\n".join(f"  {count:5} {rule}" for rule, count in by_rule.most_common()))
    shown: Counter[str] = Counter()
    for violation in outcome.violations:
        shown[violation.rule] += 1
        if shown[violation.rule] > SHOWN // max(1, min(len(by_rule), 4)):
            continue
        text = f"{violation.rule.upper()}: {violation.text}"
        parts.append(text if violation.job is None else f"{text}\n{outcome.history.told(violation.job)}")
    return "\n\n".join(parts)
