"""What runs by the clock: a day is closed, a week is learned from."""

from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import dagster as dg

from trader_pipelines.core.instruments import UTC_DAYS, VenueSpec
from trader_pipelines.core.sessions import trading_days, zone_of
from trader_pipelines.core.weeks import week_of
from trader_pipelines.defs.partitions import first_week

if TYPE_CHECKING:
    # Dagster does not export the name of what its own `define_asset_job` returns.
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as Job,
    )

#: When a day is whole: a generator's at once, an archive's by the next morning, UTC. Sessions close
#: on the exchange's own clock, the same evening: Alpaca's free plan tells nothing of the last 15
#: minutes, and the extended session of New York ends at 20:00.
_DAY_CLOSES_AT = {
    "synthetic": time(0, 10),
    "binance_archive": time(8, 10),
    "binance_rest": time(0, 10),
    "ccxt": time(0, 10),
    "alpaca": time(20, 30),
    "alpaca_crypto": time(0, 10),
}
#: When, on Mondays, the week that is over is learned from: after its Sunday was closed; of sessions
#: before the next one begins.
_WEEK_CLOSES_AT = {source: at.replace(minute=40) for source, at in _DAY_CLOSES_AT.items()}
_WEEK_CLOSES_AT["alpaca"] = time(0, 40)

TICKS = ("hot_ticks", "cold_ticks")
BUILT = ("bars", "features", "labels", "signals")
LEARNED = ("training_set", "candidate_model", "champion_model")


def jobs(venue: VenueSpec) -> "dict[str, Job]":
    """The venue's jobs: its day, what is built on ticks that are there, and its week."""

    def job(
        name: str, stages: tuple[str, ...], doing: str, config: dict[str, Any] | None = None
    ) -> "Job":
        return dg.define_asset_job(
            f"{venue.name}_{name}",
            selection=dg.AssetSelection.assets(*[[venue.name, stage] for stage in stages]),
            description=doing,
            config=config,
            tags={"venue": venue.name},
        )

    return {
        "day": job("day", (*TICKS, *BUILT), "A day's trades in, its signals out."),
        "rebuild": job("rebuild", (*TICKS[1:], *BUILT), "What rests on ticks that have changed."),
        "week": job("week", LEARNED, "A week's model, judged and crowned or not."),
        "heal": job(
            "heal",
            TICKS[:1],
            "What a day's certificate names as missing, asked for again.",
            {"ops": {f"{venue.name}__{TICKS[0]}": {"config": {"heal": True}}}},
        ),
    }


def automation(venue: VenueSpec, own: "dict[str, Job]") -> list[dg.ScheduleDefinition]:
    """Schedules of a venue; all are off until somebody turns them on in the UI."""
    zone = zone_of(venue.calendar)
    closes, learns = _DAY_CLOSES_AT[venue.source], _WEEK_CLOSES_AT[venue.source]
    utc_days = venue.calendar == UTC_DAYS

    def local_day(context: dg.ScheduleEvaluationContext) -> date:
        return context.scheduled_execution_time.astimezone(ZoneInfo(zone)).date()

    @dg.schedule(
        name=f"{venue.name}_close_day",
        job=own["day"],
        cron_schedule=f"{closes.minute} {closes.hour} * * {'*' if utc_days else '1-5'}",
        execution_timezone=zone,
        description="Closes the venue's trading day that is just over.",
    )
    def close_day(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        day = local_day(context)
        day -= timedelta(days=1 if utc_days else 0)
        if not trading_days(venue.calendar, day, day):
            return dg.SkipReason(f"{venue.calendar} has no session on {day}")
        return _closed(venue, day, venue.first_day)

    @dg.schedule(
        name=f"{venue.name}_learn",
        job=own["week"],
        cron_schedule=f"{learns.minute} {learns.hour} * * 1",
        execution_timezone=zone,
        description="Learns from the week that is just over, after its last day was closed.",
    )
    def learn(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        week = week_of(local_day(context)) - timedelta(weeks=1)
        return _closed(venue, week, first_week(venue))

    return [close_day, learn]


def _closed(venue: VenueSpec, key: date, first: date) -> dg.RunRequest | dg.SkipReason:
    """Run the partition that is just over, once the venue has one."""
    if key < first:
        return dg.SkipReason(f"{venue.name} begins on {venue.first_day}")
    return dg.RunRequest(run_key=key.isoformat(), partition_key=key.isoformat())
