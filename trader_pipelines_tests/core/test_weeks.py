"""Weeks of UTC days and of sessions: what a week learns from, and whose model a day is given."""

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.instruments import UTC_DAYS
from trader_pipelines.core.sessions import trading_days
from trader_pipelines.core.weeks import champion_week, training_days, week_of, whole_weeks

CALENDARS = (UTC_DAYS, "XNYS")
A_DAY = st.dates(date(2012, 1, 1), date(2030, 12, 31))


@settings(deadline=None)
@given(first=A_DAY, length=st.integers(0, 80), calendar=st.sampled_from(CALENDARS))
def test_whole_weeks_are_those_without_a_trading_day_outside(
    first: date, length: int, calendar: str
) -> None:
    last = first + timedelta(days=length)
    mondays = (week_of(first) + timedelta(weeks=n) for n in range(14))
    wanted = []
    for monday in mondays:
        days = trading_days(calendar, monday, monday + timedelta(days=6))
        if days[0] >= first and days[-1] <= last:
            wanted.append(monday)
    assert list(whole_weeks(first, last, calendar)) == wanted


@pytest.mark.parametrize(
    ("first", "last", "weeks"),
    [
        # From Monday to Friday is a whole week of sessions, and none of seven days.
        (date(2024, 7, 8), date(2024, 7, 12), [date(2024, 7, 8)]),
        # A week that begins on a holiday has its Monday for a name.
        (date(2024, 1, 16), date(2024, 1, 19), [date(2024, 1, 15)]),
        (date(2024, 1, 17), date(2024, 1, 19), []),
    ],
)
def test_whole_weeks_of_sessions_need_no_weekend(
    first: date, last: date, weeks: list[date]
) -> None:
    assert list(whole_weeks(first, last, "XNYS")) == weeks
    assert whole_weeks(first, last) == ()


def test_training_days_of_sessions_leave_holidays_out() -> None:
    found = training_days(date(2024, 1, 15), 2, "XNYS")
    assert found == (
        *(date(2024, 1, d) for d in range(8, 13)),
        *(date(2024, 1, d) for d in range(16, 20)),
    )
    assert training_days(date(2024, 1, 15), 2) == tuple(date(2024, 1, d) for d in range(8, 22))


@settings(deadline=None)
@given(day=A_DAY)
def test_champion_week_is_over_before_the_day(day: date) -> None:
    week = champion_week(day)
    assert week.weekday() == 0
    assert timedelta(days=7) <= day - week < timedelta(days=14)
