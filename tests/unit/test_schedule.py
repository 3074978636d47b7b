"""Fire times, and what becomes of those that passed unnoticed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from qengine.errors import ConfigurationError
from qengine.schedule import CatchUp, next_fire, plan, validate

BERLIN = ZoneInfo("Europe/Berlin")


def utc(*fields: int) -> dt.datetime:
    return dt.datetime(*fields, tzinfo=dt.UTC)


def berlin(*fields: int, fold: int = 0) -> dt.datetime:
    return dt.datetime(*fields, tzinfo=BERLIN, fold=fold)


def fires(cron: str, tz: str, after: dt.datetime, count: int) -> list[dt.datetime]:
    found = []
    for _ in range(count):
        after = next_fire(cron, tz, after)
        found.append(after)
    return found


class TestValidate:
    @pytest.mark.parametrize(
        "cron", ["* * * * *", "*/5 8-18 * * 1-6", "0 0 29 2 *", "0 9 * * MON-FRI", "30 * * * * *", "0 0 L * *"]
    )
    def test_what_can_fire(self, cron: str) -> None:
        validate(cron, "Europe/Berlin")

    @pytest.mark.parametrize(
        "cron",
        ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "a b c d e", "0 0 30 2 *", "@daily", None, 5],
    )
    def test_what_cannot(self, cron: Any) -> None:
        with pytest.raises(ConfigurationError, match="cron") as caught:
            validate(cron, "UTC")
        assert repr(cron) in str(caught.value)

    def test_what_never_fires(self) -> None:
        with pytest.raises(ConfigurationError, match=r"'0 0 \*/31 \* MON#5' never fires"):
            validate("0 0 */31 * MON#5", "UTC")  # the first of a month is never its fifth Monday

    @pytest.mark.parametrize("tz", ["", "Mars/Olympus", "../etc/passwd", "/etc/passwd", "Europe", None, 5, "\0"])
    def test_what_is_no_time_zone(self, tz: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"tz .* is not a known time zone"):
            validate("* * * * *", tz)


class TestNextFire:
    def test_it_is_after_and_in_utc(self) -> None:
        at = utc(2024, 1, 1, 12, 0)
        assert next_fire("0 12 * * *", "UTC", at) == utc(2024, 1, 2, 12)
        assert next_fire("0 12 * * *", "UTC", at - dt.timedelta(microseconds=1)) == at
        found = next_fire("0 12 * * *", "Europe/Berlin", berlin(2024, 7, 1, 0, 0))
        assert found == utc(2024, 7, 1, 10)
        assert found.tzinfo is dt.UTC

    def test_business_hours(self) -> None:
        saturday_evening = berlin(2024, 6, 1, 18, 55)
        assert next_fire("*/5 8-18 * * 1-6", "Europe/Berlin", saturday_evening) == berlin(2024, 6, 3, 8, 0)

    def test_a_time_that_the_clocks_leave_out_fires_right_after_the_gap(self) -> None:
        # 2024-03-31: 02:00 becomes 03:00 in Berlin.
        found = fires("30 2 * * *", "Europe/Berlin", berlin(2024, 3, 30, 12), 2)
        assert found == [berlin(2024, 3, 31, 3, 0), berlin(2024, 4, 1, 2, 30)]

    def test_a_time_that_the_clocks_repeat_fires_once(self) -> None:
        # 2024-10-27: 03:00 becomes 02:00 in Berlin.
        found = fires("30 2 * * *", "Europe/Berlin", berlin(2024, 10, 26, 12), 2)
        assert found == [utc(2024, 10, 27, 0, 30), utc(2024, 10, 28, 1, 30)]

    @pytest.mark.parametrize("minute", [0, 15, 30, 45, 59])
    @pytest.mark.parametrize("fold", [0, 1])
    def test_from_within_the_repeated_hour_nothing_fires_again(self, minute: int, fold: int) -> None:
        inside = dt.datetime(2024, 10, 27, 2, minute, tzinfo=BERLIN, fold=fold).astimezone(dt.UTC)
        found = next_fire("30 2 * * *", "Europe/Berlin", inside)
        assert found == (utc(2024, 10, 27, 0, 30) if inside < utc(2024, 10, 27, 0, 30) else utc(2024, 10, 28, 1, 30))

    @pytest.mark.parametrize(("start", "hours"), [(utc(2024, 3, 30, 23), 6), (utc(2024, 10, 26, 22), 6)])
    def test_frequent_ones_go_by_real_time_through_both(self, start: dt.datetime, hours: int) -> None:
        found = fires("*/20 * * * *", "Europe/Berlin", start, hours * 3)
        assert found == [start + dt.timedelta(minutes=20 * n) for n in range(1, hours * 3 + 1)]

    def test_they_grow_strictly_through_a_year(self) -> None:
        for cron in ("30 2 * * *", "0 */2 * * *", "15 1-4 * * *", "*/30 2 * * *"):
            found = fires(cron, "Europe/Berlin", utc(2024, 3, 25), 400)
            assert found == sorted(set(found))


@dataclass(frozen=True)
class Plan:
    cron: str
    tz: str
    catch_up: CatchUp
    next_fire: dt.datetime


HOURLY = Plan("0 * * * *", "UTC", "one", utc(2024, 1, 1, 10))


def planned(
    catch_up: CatchUp, now: dt.datetime, schedule: Plan = HOURLY, limit: int = 100
) -> tuple[list[dt.datetime], dt.datetime]:
    return plan(replace(schedule, catch_up=catch_up), now, limit)


@pytest.mark.parametrize("catch_up", ["skip", "one", "all"])
class TestOnTime:
    def test_before_its_time_nothing_is_due(self, catch_up: CatchUp) -> None:
        assert planned(catch_up, utc(2024, 1, 1, 9, 59, 59)) == ([], utc(2024, 1, 1, 10))

    @pytest.mark.parametrize("late", [0, 1, 60])
    def test_within_a_minute_it_fires(self, catch_up: CatchUp, late: int) -> None:
        assert planned(catch_up, utc(2024, 1, 1, 10) + dt.timedelta(seconds=late)) == ([utc(2024, 1, 1, 10)], utc(2024, 1, 1, 11))

    def test_a_planned_time_that_is_not_of_the_expression_still_counts(self, catch_up: CatchUp) -> None:
        odd = replace(HOURLY, next_fire=utc(2024, 1, 1, 10, 30))
        assert planned(catch_up, utc(2024, 1, 1, 10, 30), odd) == ([utc(2024, 1, 1, 10, 30)], utc(2024, 1, 1, 11))


class TestMissed:
    LATE = utc(2024, 1, 1, 13, 5)

    def test_skip_drops_all(self) -> None:
        assert planned("skip", self.LATE) == ([], utc(2024, 1, 1, 14))

    def test_skip_keeps_the_latest_when_it_is_on_time(self) -> None:
        assert planned("skip", utc(2024, 1, 1, 13, 1)) == ([utc(2024, 1, 1, 13)], utc(2024, 1, 1, 14))

    def test_skip_drops_one_that_is_late_by_more_than_a_minute(self) -> None:
        assert planned("skip", utc(2024, 1, 1, 10, 1, 1)) == ([], utc(2024, 1, 1, 11))

    def test_one_fires_the_latest(self) -> None:
        assert planned("one", self.LATE) == ([utc(2024, 1, 1, 13)], utc(2024, 1, 1, 14))

    def test_all_fires_each(self) -> None:
        assert planned("all", self.LATE) == ([utc(2024, 1, 1, h) for h in (10, 11, 12, 13)], utc(2024, 1, 1, 14))

    def test_all_goes_on_where_the_limit_stopped_it(self) -> None:
        times, following = planned("all", self.LATE, limit=3)
        assert (times, following) == ([utc(2024, 1, 1, h) for h in (10, 11, 12)], utc(2024, 1, 1, 13))
        rest = planned("all", self.LATE, replace(HOURLY, next_fire=following), limit=3)
        assert rest == ([utc(2024, 1, 1, 13)], utc(2024, 1, 1, 14))

    def test_several_within_the_minute_are_missed_but_the_last(self) -> None:
        seconds = Plan("*/10 * * * * *", "UTC", "skip", utc(2024, 1, 1))
        assert planned("skip", utc(2024, 1, 1, 0, 0, 35), seconds) == ([utc(2024, 1, 1, 0, 0, 30)], utc(2024, 1, 1, 0, 0, 40))

    @pytest.mark.parametrize("catch_up", ["skip", "one"])
    @pytest.mark.parametrize("cron", ["* * * * *", "0 3 * * *", "0 0 1 1 *", "0 0 29 2 *"])
    def test_years_are_not_walked_through(self, catch_up: CatchUp, cron: str) -> None:
        start, now = utc(2013, 1, 1), utc(2024, 5, 17, 12, 0, 30)
        began = dt.datetime.now(dt.UTC)
        times, following = planned(catch_up, now, Plan(cron, "Europe/Berlin", catch_up, start))
        assert dt.datetime.now(dt.UTC) - began < dt.timedelta(seconds=2)
        assert following == next_fire(cron, "Europe/Berlin", now)
        assert all(time <= now and next_fire(cron, "Europe/Berlin", time) > now for time in times)
        assert times or catch_up == "skip"

    def test_only_the_planned_time_itself_was_missed(self) -> None:
        rare = Plan("0 0 29 2 *", "UTC", "one", utc(2020, 2, 29))
        assert planned("one", utc(2023, 1, 1), rare) == ([utc(2020, 2, 29)], utc(2024, 2, 29))

    def test_through_a_change_of_clocks(self) -> None:
        night = Plan("30 2 * * *", "Europe/Berlin", "all", utc(2024, 10, 26, 0, 30))
        times, following = planned("all", utc(2024, 10, 28, 12), night)
        assert times == [utc(2024, 10, 26, 0, 30), utc(2024, 10, 27, 0, 30), utc(2024, 10, 28, 1, 30)]
        assert following == utc(2024, 10, 29, 1, 30)
