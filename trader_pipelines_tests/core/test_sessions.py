"""Sessions of the New York exchange: holidays, half days, and the days clocks change."""

from datetime import UTC, date, datetime, timedelta

import pytest

from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.sessions import non_sessions, session_bounds, sessions


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
