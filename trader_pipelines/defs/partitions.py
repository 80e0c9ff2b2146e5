"""How partitions are cut and which ones an asset needs of the asset above it.

A partition is one trading day of one venue; models have one a week. Dagster's mappings and the
functions of `trader_pipelines.core.weeks` say the same twice, for the UI and for the code that
reads: a test holds them against each other.
"""

import dagster as dg

from trader_pipelines.core.instruments import VenueSpec

#: A range backfill is cut into runs of this many partitions.
DAYS_A_RUN = 100
WEEKS_A_RUN = 13


def daily(venue: VenueSpec) -> dg.DailyPartitionsDefinition:
    """UTC days from the first on which the venue has a symbol."""
    return dg.DailyPartitionsDefinition(start_date=venue.first_day.isoformat(), timezone="UTC")


def weekly(venue: VenueSpec) -> dg.WeeklyPartitionsDefinition:
    """Weeks from Monday on, of which the venue has every day."""
    return dg.WeeklyPartitionsDefinition(
        start_date=venue.first_day.isoformat(), timezone="UTC", day_offset=1
    )


def same_day() -> dg.TimeWindowPartitionMapping:
    """Day from day."""
    return _mapping(0, 0)


def day_and_day_before() -> dg.TimeWindowPartitionMapping:
    """Day from day and the one before it, whose tail warms the look-backs."""
    return _mapping(-1, 0)


def weeks_back(weeks: int) -> dg.TimeWindowPartitionMapping:
    """Week from the days of it and of the weeks before it, `weeks` in all."""
    return _mapping(1 - weeks, 0)


def last_whole_week() -> dg.TimeWindowPartitionMapping:
    """Day from the last week that was over before it began."""
    return _mapping(-7, -7)


def _mapping(start: int, end: int) -> dg.TimeWindowPartitionMapping:
    # A venue's first days have nothing before them.
    return dg.TimeWindowPartitionMapping(
        start_offset=start, end_offset=end, allow_nonexistent_upstream_partitions=True
    )
