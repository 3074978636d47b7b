"""From what was given on the command line to an engine."""

from __future__ import annotations

import asyncio
import importlib
import sys
import traceback
from collections.abc import Awaitable, Callable
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from qengine import Engine
from qengine.cli.errors import CommandError

T = TypeVar("T")


def run(where: str | None, operation: Callable[[Engine], Awaitable[T]]) -> T:
    """Open the engine that `where` names, run `operation` with it, and close it."""

    async def opened() -> T:
        async with engine:
            return await operation(engine)

    engine = find_engine(where)
    return asyncio.run(opened())


def find_engine(where: str | None) -> Engine:
    """The engine of a `module:engine` target, or one without tasks for a database URL; it is not open yet.

    Raises CommandError when `where` is missing or neither of both.
    """
    if not where:
        raise CommandError(
            "which database? give --dsn sqlite:///app.db (or postgresql://…, or module:engine), or set QENGINE_URL"
        )
    if "://" in where:
        return Engine(where, migrate=False)
    if ":" not in where:
        raise CommandError(f"{where} is neither a database URL nor module:engine; for an SQLite file write sqlite:///{where}")
    return load_engine(where)


def load_engine(target: str) -> Engine:
    """The Engine that `module:engine` names; the current folder is searched first.

    Raises CommandError when the module cannot be imported or the attribute is no Engine.
    """
    name, _, attribute = target.partition(":")
    if not name or not attribute or "/" in name or name.endswith(".py"):
        raise CommandError(f"{target} is not of the form module:engine; for the variable `engine` in app.py write app:engine")
    module = _import(name)
    try:
        found = reduce(getattr, attribute.split("."), module)
    except AttributeError:
        raise CommandError(f"the module {name} has no attribute {attribute}{_suggest(module)}") from None
    if not isinstance(found, Engine):
        raise CommandError(f"{target} is a {type(found).__name__}, not an Engine{_suggest(module)}")
    return found


def _import(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is not None and (name == missing.name or name.startswith(missing.name + ".")):
            raise CommandError(
                f"there is no module {name} in {here} or among the installed packages; run qengine in the folder that holds it"
            ) from None
        raise _broken(name, missing) from missing
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> CommandError:
    """The module is there and cannot be imported: say where, as its traceback is not shown."""
    here = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(Path.cwd())]
    place = f" at {here[-1].filename}:{here[-1].lineno}" if here else ""
    return CommandError(
        f"importing {name} failed{place}: {type(error).__name__}: {error}; `python -c 'import {name}'` shows the whole traceback"
    )


def _suggest(module: ModuleType) -> str:
    engines = [name for name, value in vars(module).items() if isinstance(value, Engine)]
    if not engines:
        return f"; no Engine is defined at the top level of {module.__name__}"
    return "; did you mean " + " or ".join(f"{module.__name__}:{name}" for name in engines) + "?"
