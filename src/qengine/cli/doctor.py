"""`qengine doctor`: what slows or endangers the queue, and what to do about it."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from qengine import Finding, SchemaError
from qengine.cli.checks import checked
from qengine.cli.errors import ExitCode
from qengine.cli.options import AsJson, Dsn, Where
from qengine.cli.output import console, print_json, table
from qengine.cli.target import run
from qengine.cli.text import counted


def doctor(
    where: Where = None,
    dsn: Dsn = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only what is not ok.")] = False,
    as_json: AsJson = False,
) -> int:
    """Look the database and the workers over; each finding with its remedy. Exit code 1 when there is a problem."""
    try:
        findings = run(where or dsn, checked)
    except SchemaError as error:
        findings = [Finding("schema", "problem", str(error), "bring it up to date: `qengine migrate`")]
    problems, warnings = (sum(finding.level == level for finding in findings) for level in ("problem", "warning"))
    shown = [finding for finding in findings if finding.level != "ok" or not quiet]
    if as_json:
        print_json({"ok": not problems, "findings": [dataclasses.asdict(finding) for finding in shown]})
    else:
        _print(shown, problems, warnings)
    return ExitCode.FAILED if problems else ExitCode.OK


def _print(shown: list[Finding], problems: int, warnings: int) -> None:
    out = console()
    if shown:
        rows = [[finding.check, finding.level, finding.text, finding.remedy] for finding in shown]
        out.print(table(["check", "", "found", "remedy"], rows))
        out.print()
    out.print(f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}" if problems or warnings else "all is well")
