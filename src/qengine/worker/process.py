"""The part of a worker that runs inside a handler's own process.

Only names and JSON text go in, and only JSON text comes out. What runs here can be killed, as a thread cannot.
"""

from __future__ import annotations

import copy
import importlib
import signal
from typing import Any

from qengine import codec
from qengine.codec import PayloadCodec
from qengine.failure import describe, traceback_text
from qengine.task import Task

_CODECS: dict[tuple[str, str], tuple[Any, PayloadCodec]] = {}


def call_by_name(module: str, qualname: str, payload: str) -> str:
    """Call the function `qualname` of `module` with the arguments in `payload`; its result, as JSON text."""
    # Ctrl-C in a terminal, and service managers, signal every process of a group. When to stop is for the worker alone
    # to say; it kills this process when a timeout or its own end asks for that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    fn, arguments = _function(module, qualname)
    try:
        return codec.encode(fn(**arguments.decode(payload)), what=f"the result of {qualname}")
    except Exception as error:
        error.add_note(traceback_text(error))
        raise _portable(error) from None


def _function(module: str, qualname: str) -> tuple[Any, PayloadCodec]:
    if (module, qualname) not in _CODECS:
        found: Any = importlib.import_module(module)
        for name in qualname.split("."):
            found = getattr(found, name)
        fn = found.fn if isinstance(found, Task) else found
        _CODECS[module, qualname] = fn, PayloadCodec(fn, skip_first=False)
    return _CODECS[module, qualname]


def _portable(error: Exception) -> Exception:
    """The error, or its description where it could not be rebuilt on the other side."""
    try:
        copy.copy(error)
    except Exception:
        return RuntimeError(describe(error))
    return error
