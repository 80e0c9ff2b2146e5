"""Which days a week's model learns from, and which week's model a day is traded with.

Weeks start on Monday, UTC, and are named by it.
"""

from datetime import date, timedelta


def week_of(day: date) -> date:
    """The Monday of a day's week."""
    return day - timedelta(days=day.weekday())


def training_days(week: date, weeks: int) -> tuple[date, ...]:
    """Days that the model of `week` learns from: that week and the ones before, `weeks` in all."""
    first = week - timedelta(weeks=weeks - 1)
    return tuple(first + timedelta(days=n) for n in range(7 * weeks))


def champion_week(day: date) -> date:
    """The week whose champion speaks on `day`: the last one that was over before the day began."""
    return week_of(day) - timedelta(weeks=1)


def whole_weeks(first: date, last: date) -> tuple[date, ...]:
    """Weeks that lie wholly within the days from `first` to `last`."""
    monday = week_of(first + timedelta(days=6))
    count = max(0, ((last - monday).days + 1) // 7)
    return tuple(monday + timedelta(weeks=n) for n in range(count))
