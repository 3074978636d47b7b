"""The commands put together, and the one place where a failure becomes an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer

from qengine.cli import act, bulk, dead, demo, doctor, lanes, look, read, schedules, tail, top, torture, web, worker
from qengine.cli.errors import EPILOG, ExitCode, report

app = typer.Typer(
    name="qengine",
    help="An async job queue in the database you already have: SQLite or PostgreSQL.",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context, show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """An async job queue in the database you already have: SQLite or PostgreSQL."""
    if show_version:
        print(f"qengine {version('qengine')}")
        raise typer.Exit(ExitCode.OK)
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


LOOK, ACT, RUN = "Look", "Act", "Run and set up"
COMMANDS: Mapping[str, Sequence[Callable[..., Any]]] = {
    LOOK: (read.stats, read.jobs, read.show, look.workers, look.pauses, look.audit, top.top, tail.tail, doctor.doctor),
    ACT: (act.enqueue, act.amend, bulk.requeue, bulk.cancel, bulk.delete, bulk.prune, lanes.pause, lanes.resume),
    RUN: (worker.worker, web.web, act.migrate, demo.demo),
}
for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(epilog=EPILOG, rich_help_panel=panel)(command)


def group(listing: Callable[..., None], commands: Mapping[str, Callable[..., Any]]) -> None:
    """A command that lists when it is called alone, and has commands of its own."""
    made = typer.Typer(name=listing.__name__, epilog=EPILOG, help=listing.__doc__, rich_markup_mode="rich")
    made.callback(invoke_without_command=True)(listing)
    for verb, command in commands.items():
        made.command(verb, epilog=EPILOG)(command)
    app.add_typer(made, rich_help_panel=LOOK)


group(dead.dead, {"requeue": dead.dead_requeue})
group(
    schedules.schedules,
    {"pause": schedules.pause_schedule, "resume": schedules.resume_schedule, "run": schedules.run_schedule},
)

# It reads its own options, --help among them.
app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    rich_help_panel=RUN,
)(torture.torture)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. What fails is one line on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(args=arguments, prog_name="qengine", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as ended:
        if not isinstance(ended, BrokenPipeError) and not isinstance(ended.__context__, BrokenPipeError):
            raise  # shell completion has answered
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        return ExitCode.PIPE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:
        return report(error)
    return int(code or ExitCode.OK)
