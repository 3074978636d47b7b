"""When a failed job runs again: decided between runs and stored with the job, so that nothing sleeps in a worker."""

from __future__ import annotations

import datetime as dt
import logging
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import tenacity
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from qengine.errors import ConfigurationError

logger = logging.getLogger("qengine.retry")

Wait = wait_base | Callable[[tenacity.RetryCallState], float | int | dt.timedelta] | float | int | dt.timedelta
"""A tenacity wait, a function like one, or a fixed time: seconds or a timedelta."""

ErrorTypes = type[BaseException] | tuple[type[BaseException], ...]


class DefaultWait(wait_base):
    """5, 10, 20, 40 … minutes: 5 * 2^(attempt-1), capped at 24 hours, ±10 % so that failures at once do not retry at once."""

    FIRST = 300.0
    CAP = 86400.0

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        """Seconds until the attempt after `retry_state.attempt_number`; never more than the cap."""
        doublings = min(max(retry_state.attempt_number - 1, 0), 60)
        middle = min(self.FIRST * 2**doublings, self.CAP)
        return random.uniform(0.9 * middle, min(1.1 * middle, self.CAP))  # noqa: S311 - spreads load, guards nothing

    def __repr__(self) -> str:
        return "DefaultWait()"


DEFAULT_WAIT = DefaultWait()


@dataclass(frozen=True)
class RetryPolicy:
    """Whether and when a failed job runs again.

    Raises ConfigurationError for a field that can never work.
    """

    wait: Wait = field(default=DEFAULT_WAIT)
    """How long until the next attempt: any tenacity wait, or a fixed number of seconds. It is asked once a failure, with
    the attempt's number and its error. Change it when the default (5, 10, 20 … minutes) is too slow or too eager."""
    max_attempts: int | None = None
    """How many attempts a job gets when neither it nor its task says; None: as the engine says."""
    retry_on: ErrorTypes = (Exception,)
    """The errors after which it is tried again; any other buries the job at once."""
    give_up_on: ErrorTypes = ()
    """Errors after which trying again is hopeless; they win over `retry_on`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "wait", _checked_wait(self.wait))
        for name in ("retry_on", "give_up_on"):
            object.__setattr__(self, name, _checked_types(name, getattr(self, name)))
        n = self.max_attempts
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
            raise ConfigurationError(f"max_attempts={n!r}: give a whole number of 1 or more, or None for the engine's")

    def delay(self, attempt: int, error: BaseException) -> float | None:
        """Seconds from the failure of attempt number `attempt` (1 for the first) to the next; None: give up on this error.

        How many attempts there are is the job's, not asked here. An exception group is judged by what is in it: one
        error of `give_up_on` is enough to give up, one of `retry_on` to try again. A wait that raises, or gives
        something else than seconds, is logged and the default wait stands in: a bug in it loses no job.
        """
        kinds = list(_leaves(error))
        if any(isinstance(e, self.give_up_on) for e in kinds) or not any(isinstance(e, self.retry_on) for e in kinds):
            return None
        state = _state(attempt, error)
        try:
            return _seconds(self.wait(state) if callable(self.wait) else self.wait)
        except Exception:
            logger.exception("the wait %r failed for attempt %d; the default wait is used instead", self.wait, attempt)
            return DEFAULT_WAIT(state)


def as_policy(value: RetryPolicy | Wait | None) -> RetryPolicy:
    """The policy that `retry=` means: a policy itself, one with this wait, or the default for None.

    Raises ConfigurationError for anything else.
    """
    if value is None:
        return DEFAULT_POLICY
    if isinstance(value, RetryPolicy):
        return value
    return RetryPolicy(wait=value)


def _checked_wait(wait: Any) -> Any:
    if isinstance(wait, (stop_base, retry_base, tenacity.BaseRetrying)):
        raise ConfigurationError(
            f"retry={wait!r}: give a tenacity wait; when to stop is max_attempts=, on which errors is RetryPolicy(retry_on=…)"
        )
    if isinstance(wait, (int, float, dt.timedelta)):
        try:
            return _seconds(wait)
        except ValueError as error:
            raise ConfigurationError(f"retry={wait!r}: {error}") from error
    if isinstance(wait, type) or not callable(wait):
        raise ConfigurationError(f"retry={wait!r}: give a RetryPolicy, a tenacity wait such as wait_fixed(60), or seconds")
    return wait


def _checked_types(name: str, types: Any) -> tuple[type[BaseException], ...]:
    found = types if isinstance(types, tuple) else (types,)
    for kind in found:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ConfigurationError(f"{name}={types!r}: give a tuple of exception classes")
    return found


def _seconds(value: Any) -> float:
    if isinstance(value, dt.timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"a wait is a number of seconds, not {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"a wait is a finite number of seconds, 0 or more, not {value!r}")
    return float(value)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The error, and what is in it when it is a group."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)


def _state(attempt: int, error: BaseException) -> tenacity.RetryCallState:
    """What tenacity shows its waits after a failed attempt."""
    state = tenacity.RetryCallState(_RETRYING, None, (), {})
    state.attempt_number = attempt
    state.outcome = tenacity.Future(attempt)
    state.outcome.set_exception(error)
    state.outcome_timestamp = state.start_time
    return state


_RETRYING = tenacity.Retrying()

DEFAULT_POLICY = RetryPolicy()
"""What holds when neither the engine nor the task says."""
