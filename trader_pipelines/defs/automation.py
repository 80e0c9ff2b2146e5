"""What runs by itself: a day is closed, a week is learned from, new ticks are built upon."""

from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from trader_pipelines.core.instruments import VenueSpec
from trader_pipelines.core.weeks import week_of
from trader_pipelines.platform import Platform
from trader_pipelines.steps.bars import MINUTE
from trader_pipelines.steps.ticks import COLD

if TYPE_CHECKING:
    # Dagster does not export the name of what its own `define_asset_job` returns.
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as Job,
    )

#: Hour (UTC) at which the day before is whole: a generator's at once, an archive's by the morning.
_DAY_CLOSES_AT = {
    "synthetic": 0,
    "binance_archive": 8,
    "binance_rest": 0,
    "ccxt": 0,
    "alpaca": 6,
    "alpaca_crypto": 0,
}

TICKS = ("hot_ticks", "cold_ticks")
BUILT = ("bars", "features", "labels", "signals")
LEARNED = ("training_set", "candidate_model", "champion_model")

#: A late or corrected day is one run a day; more than this many wait for the next tick.
_RUNS_A_TICK = 30


def jobs(venue: VenueSpec) -> "dict[str, Job]":
    """The venue's jobs: its day, what is built on ticks that are there, and its week."""

    def job(name: str, stages: tuple[str, ...], doing: str) -> "Job":
        return dg.define_asset_job(
            f"{venue.name}_{name}",
            selection=dg.AssetSelection.assets(*[[venue.name, stage] for stage in stages]),
            description=doing,
            tags={"venue": venue.name},
        )

    return {
        "day": job("day", (*TICKS, *BUILT), "A day's trades in, its signals out."),
        "rebuild": job("rebuild", (*TICKS[1:], *BUILT), "What rests on ticks that have changed."),
        "week": job("week", LEARNED, "A week's model, judged and crowned or not."),
    }


def automation(
    venue: VenueSpec, own: "dict[str, Job]"
) -> tuple[list[dg.ScheduleDefinition], list[dg.SensorDefinition]]:
    """Schedules and sensors of a venue; all are off until somebody turns them on in the UI."""
    hour = _DAY_CLOSES_AT[venue.source]

    @dg.schedule(
        name=f"{venue.name}_close_day",
        job=own["day"],
        cron_schedule=f"10 {hour} * * *",
        execution_timezone="UTC",
        description="Closes the venue's day that is just over.",
    )
    def close_day(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _closed(venue, context.scheduled_execution_time.date() - timedelta(days=1))

    @dg.schedule(
        name=f"{venue.name}_learn",
        job=own["week"],
        cron_schedule=f"40 {hour} * * 1",
        execution_timezone="UTC",
        description="Learns from the week that is just over, after its Sunday was closed.",
    )
    def learn(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        monday = week_of(context.scheduled_execution_time.date())
        return _closed(venue, monday - timedelta(weeks=1))

    @dg.sensor(
        name=f"{venue.name}_new_ticks",
        job=own["rebuild"],
        minimum_interval_seconds=30,
        description="Builds again what rests on a day whose trades are new or have changed.",
    )
    def new_ticks(
        platform: dg.ResourceParam[Platform],
    ) -> dg.SensorResult | dg.SkipReason:
        from trader_pipelines.stores import datasets

        with platform.connect() as connection:
            stale = datasets.stale_days(connection, venue.name, MINUTE, COLD)
        if not stale:
            return dg.SkipReason("everything is built on the trades that are there")
        # What is asked for is told from the state itself, so no cursor can miss a late commit; the
        # run key keeps one state of a day from being asked for twice.
        return dg.SensorResult(
            [
                dg.RunRequest(run_key=f"{day}:{state}", partition_key=day.isoformat())
                for day, state in stale[:_RUNS_A_TICK]
            ]
        )

    return [close_day, learn], [new_ticks]


def _closed(venue: VenueSpec, key: date) -> dg.RunRequest | dg.SkipReason:
    """Run the partition that is just over, once the venue has one."""
    if key < venue.first_day:
        return dg.SkipReason(f"{venue.name} begins on {venue.first_day}")
    return dg.RunRequest(run_key=key.isoformat(), partition_key=key.isoformat())
