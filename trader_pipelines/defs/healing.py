"""Healing in Dagster: a run that fetches what is missing, who asks for it, and the days' joins."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from trader_pipelines.core.certificates import Certificate, describe_ranges
from trader_pipelines.core.errors import TraderError
from trader_pipelines.core.healing import gap_between
from trader_pipelines.core.instruments import Instrument, VenueSpec
from trader_pipelines.core.sessions import previous_day, trading_days
from trader_pipelines.defs.narrowing import Steps, busy, request, under_way
from trader_pipelines.defs.pictures import table
from trader_pipelines.defs.work import Symbols, days, has_partitions, readable_failures
from trader_pipelines.platform import Platform
from trader_pipelines.steps.heal import heal
from trader_pipelines.steps.recheck import recheck
from trader_pipelines.steps.ticks import ingest
from trader_pipelines.stores import manifest
from trader_pipelines.venues.base import Venue

if TYPE_CHECKING:
    import psycopg
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as Job,
    )

STAGE = "hot_ticks"

#: A day that is to be healed is one run; more than this many wait for the next tick.
_RUNS_A_TICK = 30


class Ticks(Symbols):
    """What a run does with its days: fetch them, or only what is missing or has changed."""

    heal: bool = False
    recheck: bool = False


def bring(
    connection: "psycopg.Connection",
    platform: Platform,
    venue: VenueSpec,
    source: Venue,
    instrument: Instrument,
    day: date,
    config: Ticks,
    say: Callable[[str], None],
) -> tuple[Certificate | None, list[TraderError]]:
    """Bring a symbol's day in, heal it, or hold it against the venue again.

    Parameters
    ----------
    say : callable
        Told who was asked for what is missing, and what came.

    Returns
    -------
    Certificate or None, list of TraderError
        None when there is nothing to recheck; errors of sources that did not answer.
    """
    if config.heal:
        report = heal(connection, platform, venue, instrument, day)
        for one in report.asked:
            say(f"{instrument.id} on {day}: {one.told['source']}: {one.told['answered']}")
        if report.outage:
            say(f"{instrument.id} on {day}: an outage, nobody has {report.lacks}")
        return report.certificate, report.errors
    if config.recheck:
        rechecked = recheck(connection, platform, venue, instrument, day)
        if rechecked and rechecked.differed:
            say(f"{instrument.id} on {day}: the venue tells it otherwise now; fetched again")
        return (rechecked.certificate if rechecked else None), []
    return ingest(connection, platform, source, instrument, day), []


def healing(venue: VenueSpec, own: "Mapping[str, Job]", narrowable: Steps) -> dg.SensorDefinition:
    """The sensor that asks for what is due to be healed; off until somebody turns it on."""

    @dg.sensor(
        name=f"{venue.name}_heal",
        job=own["heal"],
        minimum_interval_seconds=60,
        description="Has missing ids asked for again, of exactly the symbols and days that lack "
        "them or got rows since; what nobody has again after TRADER_HEAL_AGAIN_HOURS.",
    )
    def heal_sensor(
        context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]
    ) -> dg.SensorResult | dg.SkipReason:
        from trader_pipelines.steps.due import due

        with platform.connect() as connection:
            found = due(connection, platform, venue, datetime.now(UTC))
        running = under_way(context.instance, venue)
        by_day: dict[date, dict[str, str]] = {}
        for one in found:
            if not busy(running, one.day):
                by_day.setdefault(one.day, {})[one.symbol] = one.state
        requests = [
            request(
                venue,
                narrowable,
                day,
                (STAGE,),
                sorted(states),
                f"{day}:{' '.join(states.values())}",
                heal=True,
            )
            for day, states in list(by_day.items())[:_RUNS_A_TICK]
        ]
        if requests:
            return dg.SensorResult(requests)
        return dg.SkipReason("nothing is missing that could be asked for now")

    return heal_sensor


def rechecking(
    venue: VenueSpec, own: "Mapping[str, Job]", narrowable: Steps
) -> dg.ScheduleDefinition:
    """The daily look at closed days; off until somebody turns it on."""

    @dg.schedule(
        name=f"{venue.name}_recheck",
        job=own["heal"],
        cron_schedule="20 12 * * *",
        execution_timezone="UTC",
        description="Holds the last closed days (TRADER_RECHECK_DAYS) against the venue's own bars "
        "as they are now; a day with late or corrected trades is fetched again.",
    )
    def recheck_schedule(
        context: dg.ScheduleEvaluationContext, platform: dg.ResourceParam[Platform]
    ) -> list[dg.RunRequest]:
        moment = context.scheduled_execution_time.astimezone(UTC)
        last = moment.date() - timedelta(days=1)
        wide = timedelta(days=2 * platform.settings.recheck_days + 15)
        closed = trading_days(venue.calendar, last - wide, last)[-platform.settings.recheck_days :]
        return [
            request(
                venue,
                narrowable,
                day,
                (STAGE,),
                [one.symbol for one in venue.on(day)],
                f"{moment.date()}:{day}",
                recheck=True,
            )
            for day in closed
            if venue.on(day)
        ]

    return recheck_schedule


def days_join(venue: VenueSpec) -> dg.AssetChecksDefinition:
    """The check that no id is lost between two days."""

    @dg.asset_check(
        asset=dg.AssetKey([venue.name, STAGE]),
        name="days_join",
        description="Where a venue counts its trades, the first id of a day follows the last one "
        "of the day before. Ids between them are missing like any others, and are healed.",
    )
    def check(
        context: dg.AssetCheckExecutionContext,
        config: Symbols,
        platform: dg.ResourceParam[Platform],
    ) -> dg.AssetCheckResult:
        with readable_failures(), platform.connect() as connection:
            counts = bool(platform.healers(venue))
            wanted = days(context) if has_partitions(context) else []
            first = previous_day(venue.calendar, min(wanted)) if wanted else date.min
            last = _following(venue, max(wanted)) if wanted else date.max
            found = (
                manifest.get_certificates(
                    connection, venue.name, symbols=config.symbols or None, first=first, last=last
                )
                if counts
                else []
            )
        return _joined(venue, found)

    return check


def _following(venue: VenueSpec, day: date) -> date:
    return trading_days(venue.calendar, day + timedelta(days=1), day + timedelta(days=15))[0]


def _joined(venue: VenueSpec, certificates: list[Certificate]) -> dg.AssetCheckResult:
    by_place = {(one.symbol, one.day): one for one in certificates}
    pairs, apart = 0, []
    for one in certificates:
        before = by_place.get((one.symbol, previous_day(venue.calendar, one.day)))
        if before is None:
            continue
        pairs += 1
        if gap := gap_between(before, one):
            apart.append(
                {
                    "symbol": one.symbol,
                    "between": f"{before.day} and {one.day}",
                    "missing": describe_ranges([gap]),
                }
            )
    told = [f"{row['symbol']} lacks {row['missing']} between {row['between']}" for row in apart]
    return dg.AssetCheckResult(
        passed=not apart,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(told[:5]) or f"{pairs} pairs of days join",
        metadata={"pairs": pairs, "apart": table(apart)},
    )
