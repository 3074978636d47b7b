"""When a failed job runs again."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

import pytest
import tenacity
from naming import told

from qengine.errors import ConfigurationError
from qengine.retry import DEFAULT_POLICY, DEFAULT_WAIT, RetryPolicy, as_policy

ERROR = ConnectionError("451")


class TestTheDefault:
    @pytest.mark.parametrize(("attempt", "middle"), [(1, 300), (2, 600), (3, 1200), (4, 2400), (5, 4800), (9, 76800)])
    def test_it_doubles_from_five_minutes_with_a_tenth_of_jitter(self, attempt: int, middle: float) -> None:
        delays = [DEFAULT_POLICY.delay(attempt, ERROR) for _ in range(200)]
        assert all(d is not None and 0.9 * middle <= d <= 1.1 * middle for d in delays)
        assert len(set(delays)) > 100

    @pytest.mark.parametrize("attempt", [10, 11, 100, 10**6])
    def test_it_is_a_day_at_most(self, attempt: int) -> None:
        delays = [DEFAULT_POLICY.delay(attempt, ERROR) for _ in range(200)]
        assert all(d is not None and 0.9 * 86400 <= d <= 86400 for d in delays)
        assert len(set(delays)) > 100

    def test_it_has_a_name(self) -> None:
        assert repr(DEFAULT_WAIT) == "DefaultWait()"


class TestWaits:
    @pytest.mark.parametrize(
        ("wait", "attempt", "delay"),
        [
            (tenacity.wait_fixed(7), 1, 7.0),
            (tenacity.wait_none(), 3, 0.0),
            (tenacity.wait_exponential(multiplier=2), 4, 16.0),
            (tenacity.wait_incrementing(start=1, increment=2), 3, 5.0),
            (tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(9)), 2, 9.0),
            (tenacity.wait_fixed(1) + tenacity.wait_fixed(2), 1, 3.0),
            (tenacity.wait_fixed(dt.timedelta(minutes=1)), 1, 60.0),
            (12, 1, 12.0),
            (0.5, 1, 0.5),
            (0, 1, 0.0),
            (dt.timedelta(minutes=2), 1, 120.0),
            (lambda state: state.attempt_number * 10, 3, 30.0),
            (lambda state: dt.timedelta(seconds=5), 3, 5.0),
        ],
        ids=told,
    )
    def test_any_wait_is_asked(self, wait: Any, attempt: int, delay: float) -> None:
        assert as_policy(wait).delay(attempt, ERROR) == delay

    def test_random_waits_stay_within_their_bounds(self) -> None:
        policy = as_policy(tenacity.wait_exponential(multiplier=5, max=3600) + tenacity.wait_random(0, 1))
        assert all(5 <= (policy.delay(1, ERROR) or 0) <= 6 for _ in range(50))

    def test_a_wait_sees_the_attempt_and_the_error(self) -> None:
        seen: list[tenacity.RetryCallState] = []

        def wait(state: tenacity.RetryCallState) -> float:
            seen.append(state)
            return 1

        RetryPolicy(wait=wait).delay(4, ERROR)
        (state,) = seen
        assert state.attempt_number == 4
        assert state.outcome is not None
        assert state.outcome.exception() is ERROR
        assert state.seconds_since_start == 0
        state.get_fn_name()

    def test_nothing_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("time.sleep", lambda _: pytest.fail("slept"))
        assert as_policy(tenacity.wait_fixed(3600)).delay(1, ERROR) == 3600

    @pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -1, None, "soon", True, dt.timedelta(seconds=-1)])
    def test_a_wait_that_gives_nonsense_is_replaced_and_logged(self, nonsense: Any, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.ERROR, "qengine.retry"):
            delay = RetryPolicy(wait=lambda state: nonsense).delay(1, ERROR)
        assert delay is not None
        assert 270 <= delay <= 330
        assert "default wait" in caplog.text

    def test_a_wait_that_raises_is_replaced_and_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        def wait(state: tenacity.RetryCallState) -> float:
            raise ZeroDivisionError

        delay = RetryPolicy(wait=wait).delay(2, ERROR)
        assert delay is not None
        assert 540 <= delay <= 660
        assert "ZeroDivisionError" in caplog.text


class TestWhichErrors:
    POLICY = RetryPolicy(wait=1, retry_on=(OSError, LookupError), give_up_on=(KeyError,))

    @pytest.mark.parametrize(
        ("error", "again"),
        [
            (ConnectionError(), True),
            (IndexError(), True),
            (KeyError(), False),
            (ValueError(), False),
            (ExceptionGroup("tasks", [ConnectionError()]), True),
            (ExceptionGroup("tasks", [ExceptionGroup("inner", [IndexError()])]), True),
            (ExceptionGroup("tasks", [ConnectionError(), KeyError()]), False),
            (ExceptionGroup("tasks", [ValueError()]), False),
        ],
        ids=told,
    )
    def test_those_of_retry_on_but_not_of_give_up_on(self, error: Exception, again: bool) -> None:
        assert self.POLICY.delay(1, error) == (1 if again else None)

    def test_by_default_every_exception(self) -> None:
        assert RetryPolicy(wait=1).delay(1, Exception()) == 1
        assert RetryPolicy(wait=1).delay(1, ExceptionGroup("", [ValueError()])) == 1
        assert RetryPolicy(wait=1).delay(1, KeyboardInterrupt()) is None

    def test_the_number_of_attempts_is_the_jobs(self) -> None:
        assert RetryPolicy(wait=1, max_attempts=2).delay(7, ERROR) == 1

    def test_one_class_without_a_tuple(self) -> None:
        assert RetryPolicy(retry_on=OSError).retry_on == (OSError,)


class TestAsPolicy:
    def test_nothing_is_the_default(self) -> None:
        assert as_policy(None) is DEFAULT_POLICY

    def test_a_policy_is_itself(self) -> None:
        policy = RetryPolicy(wait=1)
        assert as_policy(policy) is policy

    @pytest.mark.parametrize(
        "value",
        ["5m", [1], object(), True, -1, float("nan"), dt.timedelta(-1), tenacity.wait_fixed, Exception],
        ids=told,
    )
    def test_anything_else_is_refused(self, value: Any) -> None:
        with pytest.raises(ConfigurationError, match="retry="):
            as_policy(value)

    @pytest.mark.parametrize(
        "value",
        [
            tenacity.stop_after_attempt(3),
            tenacity.retry_if_exception_type(OSError),
            tenacity.Retrying(),
            tenacity.AsyncRetrying(),
        ],
    )
    def test_the_other_parts_of_tenacity_are_told_where_they_belong(self, value: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"max_attempts=.*retry_on"):
            as_policy(value)

    @pytest.mark.parametrize("count", [0, -1, 1.5, True, "3"])
    def test_a_number_of_attempts_that_cannot_be(self, count: Any) -> None:
        with pytest.raises(ConfigurationError, match="max_attempts="):
            RetryPolicy(max_attempts=count)

    @pytest.mark.parametrize("kinds", ["OSError", (OSError, "x"), OSError(), int, None])
    @pytest.mark.parametrize("name", ["retry_on", "give_up_on"])
    def test_what_is_no_exception_class(self, name: str, kinds: Any) -> None:
        with pytest.raises(ConfigurationError, match=f"{name}="):
            RetryPolicy(**{name: kinds})
