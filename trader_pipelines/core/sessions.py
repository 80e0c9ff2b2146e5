"""Sessions of an exchange: which days have one, and between which nanoseconds it lies."""

from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from trader_pipelines.core import holidays
from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.instruments import UTC_DAYS
from trader_pipelines.core.trades import NS_PER_DAY, utc_day_bounds

#: Hours of extended trading in New York, as Alpaca's data has them.
#: https://docs.alpaca.markets/docs/orders-at-alpaca#extended-hours-trading
_EXTENDED = {"XNYS": ("America/New_York", time(4), time(20))}
_EARLY_CLOSE = time(13)
_EARLY_END = time(17)
_EPOCH = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))


@cache
def _calendar(name: str, first: date, last: date) -> Any:
    import exchange_calendars

    return exchange_calendars.get_calendar(name, start=first, end=last)


def _covering(name: str, first: date, last: date) -> Any:
    """A calendar of whole decades, so that neighbouring questions share one."""
    low, high = first.year // 10 * 10, last.year // 10 * 10 + 9
    return _calendar(name, date(max(low, 1990), 1, 1), date(high, 12, 31))


@cache
def _hours(name: str, decade: int) -> dict[date, tuple[int, int]]:
    """Opening and close of every session of ten years."""
    first = date(decade, 1, 1)
    schedule = _covering(name, first, first).schedule
    opens, closes = (
        schedule[column].dt.as_unit("ns").astype("int64") for column in ("open", "close")
    )
    return dict(zip(schedule.index.date, zip(opens, closes, strict=True), strict=True))


def sessions(calendar: str, first: date, last: date) -> tuple[date, ...]:
    """Days with a session, both ends included, ascending.

    Parameters
    ----------
    calendar : str
        A name of exchange_calendars: ``XNYS``.
    """
    known = holidays.years(calendar)
    if first.year in known and last.year in known:
        closed = holidays.holidays(calendar)
        days = (first + timedelta(days=n) for n in range((last - first).days + 1))
        return tuple(day for day in days if day.weekday() < 5 and day not in closed)
    found = _covering(calendar, first, last).sessions
    return tuple(day for day in found.date.tolist() if first <= day <= last)


def non_sessions(calendar: str, first: date, last: date) -> tuple[date, ...]:
    """Days without a session, both ends included, ascending: weekends and holidays."""
    trading = set(sessions(calendar, first, last))
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return tuple(day for day in days if day not in trading)


def session_bounds(calendar: str, day: date, *, extended: bool = True) -> tuple[int, int]:
    """First nanosecond of a session, and the first one after it, since the epoch (UTC).

    Parameters
    ----------
    extended : bool
        With the hours before the opening and after the close, where the calendar has them:
        04:00 to 20:00 in New York, to 17:00 on half days.

    Raises
    ------
    MissingDataError
        On a day without a session.
    """
    hours = _hours(calendar, day.year // 10 * 10).get(day)
    if hours is None:
        raise MissingDataError(
            f"{calendar} has no session on {day}, a {day:%A}",
            where=f"calendar {calendar}, day {day}",
            remedy="ask for a day on which the exchange is open",
        )
    opened, closed = hours
    if not extended or calendar not in _EXTENDED:
        return opened, closed
    zone_name, begin, end = _EXTENDED[calendar]
    zone = ZoneInfo(zone_name)
    local_close = (_EPOCH + timedelta(microseconds=closed // 1000)).astimezone(zone).time()
    end = _EARLY_END if local_close <= _EARLY_CLOSE else end
    return _at(day, begin, zone), _at(day, end, zone)


def day_bounds(calendar: str, day: date) -> tuple[int, int]:
    """First nanosecond of a venue's trading day and the first one after it (UTC, epoch).

    Parameters
    ----------
    calendar : str
        `UTC_DAYS`, or a calendar of exchange_calendars; then the extended session.

    Raises
    ------
    MissingDataError
        On a day without a session.
    """
    return utc_day_bounds(day) if calendar == UTC_DAYS else session_bounds(calendar, day)


def trading_days(calendar: str, first: date, last: date) -> tuple[date, ...]:
    """Trading days of a calendar, both ends included, ascending."""
    if calendar != UTC_DAYS:
        return sessions(calendar, first, last)
    return tuple(first + timedelta(days=n) for n in range((last - first).days + 1))


def previous_day(calendar: str, day: date) -> date:
    """The trading day before `day`: of a Monday of New York the Friday, holidays left out."""
    # No exchange of a calendar here has ever been closed for longer than a fortnight.
    return trading_days(calendar, day - timedelta(days=15), day - timedelta(days=1))[-1]


def zone_of(calendar: str) -> str:
    """The time zone that the clocks of a calendar's venues show, by its IANA name."""
    return "UTC" if calendar == UTC_DAYS else _EXTENDED[calendar][0]


def days_of(calendar: str, stamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """The trading day that each stamp belongs to, as days since 1970-01-01.

    An extended session lies within one local date of its exchange, though not within one UTC day:
    in winter New York's ends at 01:00 UTC of the next.

    Parameters
    ----------
    stamps : ndarray of int64, shape (n,)
        Nanoseconds since the epoch, UTC.
    """
    if calendar == UTC_DAYS or not stamps.size:
        return stamps // NS_PER_DAY
    import polars as pl

    zone = zone_of(calendar)
    local = pl.from_epoch(pl.Series(stamps), "ns").dt.replace_time_zone("UTC")
    days = local.dt.convert_time_zone(zone).dt.date().cast(pl.Int32)
    return days.to_numpy().astype(np.int64)


def _at(day: date, moment: time, zone: ZoneInfo) -> int:
    return (datetime.combine(day, moment, zone) - _EPOCH) // timedelta(microseconds=1) * 1000
