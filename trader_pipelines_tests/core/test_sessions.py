"""Sessions of the New York exchange: holidays, half days, and the days clocks change."""

from datetime import UTC, date, datetime, timedelta

import exchange_calendars
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.holidays import years
from trader_pipelines.core.instruments import UTC_DAYS
from trader_pipelines.core.sessions import (
    day_bounds,
    days_of,
    non_sessions,
    previous_day,
    session_bounds,
    sessions,
    trading_days,
    zone_of,
)


def utc(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / 1e9, UTC):%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("day", "regular", "extended"),
    [
        # Summer and winter time in New York.
        (date(2024, 7, 9), ("07-09 13:30", "07-09 20:00"), ("07-09 08:00", "07-10 00:00")),
        (date(2024, 1, 9), ("01-09 14:30", "01-09 21:00"), ("01-09 09:00", "01-10 01:00")),
        # The Friday before and the Monday after each change of the clocks.
        (date(2024, 3, 8), ("03-08 14:30", "03-08 21:00"), ("03-08 09:00", "03-09 01:00")),
        (date(2024, 3, 11), ("03-11 13:30", "03-11 20:00"), ("03-11 08:00", "03-12 00:00")),
        (date(2024, 11, 1), ("11-01 13:30", "11-01 20:00"), ("11-01 08:00", "11-02 00:00")),
        (date(2024, 11, 4), ("11-04 14:30", "11-04 21:00"), ("11-04 09:00", "11-05 01:00")),
        # Half days: before Independence Day, after Thanksgiving.
        (date(2024, 7, 3), ("07-03 13:30", "07-03 17:00"), ("07-03 08:00", "07-03 21:00")),
        (date(2024, 11, 29), ("11-29 14:30", "11-29 18:00"), ("11-29 09:00", "11-29 22:00")),
    ],
)
def test_session_bounds_in_new_york_are_told_in_utc(
    day: date, regular: tuple[str, str], extended: tuple[str, str]
) -> None:
    assert tuple(map(utc, session_bounds("XNYS", day, extended=False))) == regular
    assert tuple(map(utc, session_bounds("XNYS", day))) == extended


@pytest.mark.parametrize("day", [date(2024, 7, 4), date(2024, 12, 25), date(2024, 7, 6)])
def test_session_bounds_without_a_session_is_typed(day: date) -> None:
    with pytest.raises(MissingDataError, match=f"XNYS has no session on {day}"):
        session_bounds("XNYS", day)


def test_sessions_and_the_other_days_are_all_days() -> None:
    first, last = date(2019, 12, 20), date(2020, 1, 10)
    trading, others = sessions("XNYS", first, last), non_sessions("XNYS", first, last)
    assert sorted((*trading, *others)) == [first + timedelta(days=n) for n in range(22)]
    assert others == (
        *(date(2019, 12, d) for d in (21, 22, 25, 28, 29)),
        *(date(2020, 1, d) for d in (1, 4, 5)),
    )


def test_sessions_of_a_year_are_252() -> None:
    assert len(sessions("XNYS", date(2024, 1, 1), date(2024, 12, 31))) == 252


def test_sessions_of_the_table_are_those_of_exchange_calendars() -> None:
    known = years("XNYS")
    assert (known[0], known[-1]) == (2010, 2039)
    first, last = date(known[0], 1, 1), date(known[-1], 12, 31)
    theirs = exchange_calendars.get_calendar("XNYS", start=first, end=last).sessions
    assert list(sessions("XNYS", first, last)) == theirs.date.tolist()


def test_sessions_of_years_outside_the_table_come_from_exchange_calendars() -> None:
    # The exchange was closed for four sessions in September 2001.
    found = sessions("XNYS", date(2001, 9, 10), date(2001, 9, 17))
    assert found == (date(2001, 9, 10), date(2001, 9, 17))
    assert previous_day("XNYS", date(2001, 9, 17)) == date(2001, 9, 10)
    assert sessions("XNYS", date(2039, 12, 30), date(2040, 1, 3)) == (
        date(2039, 12, 30),
        date(2040, 1, 3),
    )


@pytest.mark.parametrize(
    ("day", "before"),
    [
        (date(2024, 7, 9), date(2024, 7, 8)),
        (date(2024, 7, 8), date(2024, 7, 5)),
        (date(2024, 7, 5), date(2024, 7, 3)),
        (date(2024, 1, 2), date(2023, 12, 29)),
        (date(2012, 10, 31), date(2012, 10, 26)),
    ],
    ids=str,
)
def test_previous_day_of_a_session_is_the_session_before(day: date, before: date) -> None:
    assert previous_day("XNYS", day) == before
    assert previous_day(UTC_DAYS, day) == day - timedelta(days=1)


@settings(deadline=None)
@given(number=st.integers(0, 2_700), share=st.floats(0, 1))
def test_days_of_any_moment_of_a_session_is_that_session(number: int, share: float) -> None:
    day = sessions("XNYS", date(2016, 1, 4), date(2026, 12, 31))[number]
    low, high = day_bounds("XNYS", day)
    stamp = min(low + int(share * (high - low)), high - 1)
    (found,) = days_of("XNYS", np.array([stamp]))
    assert date(1970, 1, 1) + timedelta(days=int(found)) == day


def test_clocks_are_those_of_the_exchange() -> None:
    assert (zone_of("XNYS"), zone_of(UTC_DAYS)) == ("America/New_York", "UTC")


def test_trading_days_of_a_market_that_never_closes_are_all_days() -> None:
    assert trading_days(UTC_DAYS, date(2024, 7, 3), date(2024, 7, 7)) == tuple(
        date(2024, 7, d) for d in range(3, 8)
    )
    assert trading_days("XNYS", date(2024, 7, 3), date(2024, 7, 7)) == (
        date(2024, 7, 3),
        date(2024, 7, 5),
    )
