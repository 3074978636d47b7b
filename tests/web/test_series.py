"""The numbers that the charts draw."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qengine.backends.inspection import WAIT_BOUNDS, Activity
from qengine.web.series import DAY, HOUR, beginning, quantile, series

NOW = 1_772_357_430.0  # 30 s past a minute, and past a quarter of an hour


def bins(**counts: int) -> list[int]:
    """Counts by number of bin: b0=3 is three in the first."""
    found = [0] * (len(WAIT_BOUNDS) + 1)
    for name, count in counts.items():
        found[int(name[1:])] = count
    return found


@pytest.mark.parametrize(
    ("counts", "share", "seconds"),
    [
        ([], 0.5, None),
        (bins(), 0.5, None),
        (bins(b0=1), 0.5, 0.0005),
        (bins(b0=1), 1.0, 0.001),
        (bins(b1=4), 0.5, 0.0015),
        (bins(b1=4), 0.25, 0.00125),
        (bins(b0=50, b8=50), 0.5, 0.001),
        (bins(b0=50, b8=50), 0.99, 0.494),
        (bins(b0=1, b18=1), 0.99, 7200.0),
        ([0, 7], 0.99, 0.00199),  # a backend may leave out the bins at the end
    ],
)
def test_quantile(counts: list[int], share: float, seconds: float | None) -> None:
    found = quantile(counts, share)
    assert found == (None if seconds is None else pytest.approx(seconds))


@given(
    st.lists(st.integers(0, 50), max_size=len(WAIT_BOUNDS) + 1),
    st.floats(0.01, 1.0),
)
def test_a_quantile_lies_in_the_bin_of_its_rank(counts: list[int], share: float) -> None:
    found = quantile(counts, share)
    if found is None:
        assert not sum(counts)
        return
    values = sorted(bound for bound, count in zip((*WAIT_BOUNDS, float("inf")), counts, strict=False) for _ in range(count))
    # The end of the bin in which the value of this rank is.
    rank = share * len(values)
    end = next(value for place, value in enumerate(values, 1) if place >= rank)
    bounds = (0.0, *WAIT_BOUNDS, float("inf"))
    assert bounds[bounds.index(end) - 1] <= found <= end


def test_slots_are_filled_by_their_beginning() -> None:
    minute = int(NOW // 60) * 60
    found = series(
        [
            Activity(60, minute, "", "mail", completed=3, failed=1, waits=bins(b0=4)),
            Activity(60, minute, "", "page", completed=3, dead=1, other=5, waits=bins(b8=4)),
            Activity(60, minute - 59 * 60, "", "mail", dead=2, waits=()),
            Activity(60, minute - 60 * 60, "", "mail", completed=100),  # before the hour
            Activity(60, minute + 60, "", "mail", completed=100),  # a worker whose clock is ahead
            Activity(900, minute - 60, "", "mail", completed=100),  # of another kind
        ],
        NOW,
        HOUR,
    )
    assert (found.step, len(found.start), found.start[0], found.start[-1]) == (60, 60, minute - 59 * 60, minute)
    assert found.completed == (0,) * 59 + (6,)
    assert found.failed == (2,) + (0,) * 58 + (2,)
    assert found.failure_rate == (100.0,) + (None,) * 58 + (25.0,)
    assert found.p50 == (None,) * 59 + (0.001,)
    assert found.p99[-1] == pytest.approx(0.494)
    assert found.totals == (6, 4)


def test_a_day_has_quarters_of_an_hour() -> None:
    first = beginning(NOW, DAY)
    found = series([Activity(900, first, "", "mail", completed=1)], NOW, DAY)
    assert (len(found.start), found.start[0], found.start[-1]) == (96, first, int(NOW // 900) * 900)
    assert found.start[1] - found.start[0] == 900
    assert found.completed == (1,) + (0,) * 95


def test_more_bins_than_are_known_harm_nothing() -> None:
    minute = int(NOW // 60) * 60
    found = series([Activity(60, minute, "", "mail", completed=1, waits=[*bins(b0=1), 7, 7])], NOW, HOUR)
    assert found.p99[-1] == pytest.approx(0.00099)


def test_a_series_is_plain_json() -> None:
    found = series([], NOW, HOUR).as_dict()
    assert json.loads(json.dumps(found)) == {name: value if name == "step" else list(value) for name, value in found.items()}
