"""How a command ends: its exit code, and one line on stderr that says what went wrong and what to do."""

from __future__ import annotations

import enum
import re
import sys

from qengine import BackendUnavailable, ConfigurationError, PayloadError, QEngineError, SchemaError, UnknownTask
from qengine.cli.text import one_line


class ExitCode(enum.IntEnum):
    """What a script learns from the exit status."""

    OK = 0
    """Done."""
    FAILED = 1
    """Something that was named was not found or could not be acted upon, or the work itself failed."""
    USAGE = 2
    """The command line, a target, a URL or a payload is wrong. Nothing was done."""
    UNAVAILABLE = 3
    """The database cannot be reached or does not answer. Trying again may help."""
    SCHEMA = 4
    """The database holds no qengine schema, or another one than this release can use."""
    INTERNAL = 70
    """A defect in qengine or in a backend."""
    INTERRUPTED = 130
    """Interrupted (Ctrl-C)."""
    PIPE = 141
    """Whoever read the output went away."""


EPILOG = (
    "Exit codes: 0 done; 1 something named was not found or could not be acted upon; 2 wrong usage, target or payload; "
    "3 database unavailable; 4 the database's schema does not fit; 70 internal error; 130 interrupted (143: by SIGTERM)."
)

_BY_ERROR: tuple[tuple[type[QEngineError], ExitCode], ...] = (
    (BackendUnavailable, ExitCode.UNAVAILABLE),
    (SchemaError, ExitCode.SCHEMA),
    (ConfigurationError, ExitCode.USAGE),
    (PayloadError, ExitCode.USAGE),
    (UnknownTask, ExitCode.USAGE),
)


class CommandError(Exception):
    """A command cannot do what it was asked to. The message is one line and names the remedy."""

    def __init__(self, message: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.code = code


def report(error: BaseException) -> int:
    """Say on stderr, in one line, why the command failed; the exit code."""
    error = _cause(error)
    message, code = _explain(error)
    complain(message)
    return code


def complain(message: str) -> None:
    """Write one line to stderr, without passwords and control characters."""
    print(f"qengine: {one_line(without_passwords(message))}", file=sys.stderr)


def without_passwords(text: str) -> str:
    """`text` with the passwords of URLs in it replaced."""
    text = re.sub(r"(\w://[^\s:/@]*):\S*@", r"\1:***@", text)
    return re.sub(r"([?&]password=)[^&\s]+", r"\1***", text)


def _cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        known, _ = error.split(QEngineError)
        error = (known or error).exceptions[0]
    return error


def _explain(error: BaseException) -> tuple[str, int]:
    if isinstance(error, CommandError):
        return str(error), error.code
    if isinstance(error, QEngineError):
        code = next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILED)
        return str(error), code
    # Typer's errors; their base class is click's or Typer's own copy of it, as its release has it.
    format_message = getattr(error, "format_message", None)
    if callable(format_message):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "qengine"
        return f"{format_message().rstrip('.')}; see `{command} --help`", ExitCode.USAGE
    if isinstance(error, OSError) and error.errno is not None:
        return str(error), ExitCode.FAILED
    where = f" ({_place(error)})" if _place(error) else ""
    return f"internal error: {type(error).__name__}: {error}{where}; please report it with what you ran", ExitCode.INTERNAL


def _place(error: BaseException) -> str:
    frame = error.__traceback__
    if frame is None:
        return ""
    while frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
