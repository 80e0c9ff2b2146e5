"""How partitions are cut and which ones an asset needs of the asset above it.

A partition is one trading day of one venue; models have one a week. Dagster's mappings and the
functions of `trader_pipelines.core.weeks` say the same twice, for the UI and for the code that
reads: a test holds them against each other.
"""

from datetime import date, datetime, timedelta

import dagster as dg

from trader_pipelines.core.holidays import years
from trader_pipelines.core.instruments import UTC_DAYS, VenueSpec
from trader_pipelines.core.sessions import non_sessions
from trader_pipelines.core.weeks import whole_weeks

#: A range backfill is cut into runs of this many partitions.
DAYS_A_RUN = 100
WEEKS_A_RUN = 13

_WEEKENDS = "0 0 * * 0,6"

_FORMAT = "%Y-%m-%d"


def daily(venue: VenueSpec) -> dg.TimeWindowPartitionsDefinition:
    """Trading days from the first on which the venue has a symbol.

    A session is named by its local day, and its partition is there from the midnight UTC after
    that day on: in New York that is the evening of the session.
    """
    first = venue.first_day
    if venue.calendar == UTC_DAYS:
        return dg.DailyPartitionsDefinition(start_date=first.isoformat(), timezone="UTC")
    # Up to a fixed day, so that the definition is the same every time it is loaded.
    closed = non_sessions(venue.calendar, first, date(max(years(venue.calendar)), 12, 31))
    holidays = [datetime(d.year, d.month, d.day) for d in closed if d.weekday() < 5]  # noqa: DTZ001
    return dg.TimeWindowPartitionsDefinition(
        start=first.isoformat(),
        fmt=_FORMAT,
        timezone="UTC",
        cron_schedule="0 0 * * *",
        exclusions=[_WEEKENDS, *holidays],
    )


def weekly(venue: VenueSpec) -> dg.WeeklyPartitionsDefinition:
    """Weeks from Monday on, of which the venue has every trading day."""
    return dg.WeeklyPartitionsDefinition(
        start_date=first_week(venue).isoformat(), timezone="UTC", day_offset=1
    )


def first_week(venue: VenueSpec) -> date:
    """The first week of which the venue has every trading day."""
    first = venue.first_day
    return whole_weeks(first, first + timedelta(days=13), venue.calendar)[0]


def same_day() -> dg.TimeWindowPartitionMapping:
    """Day from day."""
    return _mapping(0, 0)


def day_and_day_before() -> dg.TimeWindowPartitionMapping:
    """Day from day and the trading day before it, whose tail warms the look-backs."""
    return _mapping(-1, 0)


def weeks_back(weeks: int) -> dg.TimeWindowPartitionMapping:
    """Week from the days of it and of the weeks before it, `weeks` in all.

    Where the first of these weeks begins with a holiday, Dagster counts the session before it in.
    """
    return _mapping(1 - weeks, 0)


def last_whole_week(venue: VenueSpec) -> dg.TimeWindowPartitionMapping:
    """Day from the last week that was over before it began.

    Dagster counts in partitions of the day, and no number of sessions is always a week. Where
    weeks have holidays the mapping is wider by the weeks beside it, so that a backfill never
    comes to a day before its champion was decided; what is read is `core.weeks.champion_week`.
    """
    return _mapping(-7, -7) if venue.calendar == UTC_DAYS else _mapping(-5, -1)


def _mapping(start: int, end: int) -> dg.TimeWindowPartitionMapping:
    # A venue's first days have nothing before them.
    return dg.TimeWindowPartitionMapping(
        start_offset=start, end_offset=end, allow_nonexistent_upstream_partitions=True
    )
