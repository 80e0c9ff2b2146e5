"""Which days a week's model learns from, and which week's model a day is traded with.

Weeks start on Monday and are named by it, also where that is a holiday. Days are trading days of
the venue's calendar, see `trader_pipelines.core.sessions`.
"""

from datetime import date, timedelta
from itertools import groupby

from trader_pipelines.core.instruments import UTC_DAYS
from trader_pipelines.core.sessions import trading_days


def week_of(day: date) -> date:
    """The Monday of a day's week."""
    return day - timedelta(days=day.weekday())


def training_days(week: date, weeks: int, calendar: str = UTC_DAYS) -> tuple[date, ...]:
    """Days that the model of `week` learns from: that week and the ones before, `weeks` in all."""
    return trading_days(calendar, week - timedelta(weeks=weeks - 1), week + timedelta(days=6))


def champion_week(day: date) -> date:
    """The week whose champion speaks on `day`: the last one that was over before the day began."""
    return week_of(day) - timedelta(weeks=1)


def whole_weeks(first: date, last: date, calendar: str = UTC_DAYS) -> tuple[date, ...]:
    """Weeks of which every trading day lies within the days from `first` to `last`."""
    days = trading_days(calendar, week_of(first), week_of(last) + timedelta(days=6))
    return tuple(
        week
        for week, within in groupby(days, week_of)
        if all(first <= day <= last for day in within)
    )
