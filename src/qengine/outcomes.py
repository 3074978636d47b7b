"""What a handler may raise to say how its run ended, other than by returning or failing.

These are signals, not errors: they do not derive from QEngineError, so that an application's
`except QEngineError` around a library call does not swallow them.
"""

from __future__ import annotations

import math

from qengine.errors import ConfigurationError


class Outcome(Exception):
    """The base of the four signals."""


class Snooze(Outcome):
    """Run this job again in `seconds`; no attempt is spent."""

    def __init__(self, seconds: float) -> None:
        self.seconds = _seconds(seconds, "Snooze")
        super().__init__(f"snoozed for {self.seconds:g} s")


class RetryAfter(Outcome):
    """The remote asked us to wait for `seconds`; no attempt is spent.

    With `pause_type`, no job of this type starts on any worker until then.
    """

    def __init__(self, seconds: float, pause_type: bool = False) -> None:
        self.seconds = _seconds(seconds, "RetryAfter")
        self.pause_type = pause_type
        super().__init__(f"asked to wait {self.seconds:g} s")


class Discard(Outcome):
    """Trying again is hopeless: the job becomes dead with reason `discarded`, whatever attempts are left."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason)


class Cancel(Outcome):
    """The job is no longer wanted: it becomes `cancelled`."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason)


def _seconds(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ConfigurationError(f"{name}({value!r}): give a number of seconds, 0 or more")
    return float(value)
