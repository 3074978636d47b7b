"""The commands put together, and the one place where a failure becomes an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from qengine.cli import act, demo, read, torture, worker
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


for command in (worker.worker, read.stats, read.jobs, read.show, act.enqueue, act.requeue, act.cancel, act.migrate, demo.demo):
    app.command(epilog=EPILOG)(command)

# It reads its own options, --help among them.
app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(torture.torture)


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
