"""What a late or corrected trade touches is built again: those partitions, and nothing else."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING

import dagster as dg

from trader_pipelines.core.instruments import VenueSpec
from trader_pipelines.core.sessions import previous_day, trading_days
from trader_pipelines.core.weeks import champion_week, training_days
from trader_pipelines.defs.narrowing import Steps, busy, request, under_way
from trader_pipelines.platform import Platform

if TYPE_CHECKING:
    import psycopg
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as Job,
    )

    from trader_pipelines.stores.stale import StaleDay

#: A late or corrected day is one run a day; more than this many wait for the next tick.
_RUNS_A_TICK = 30


def rebuilding(
    venue: VenueSpec, own: "Mapping[str, Job]", narrowable: Steps
) -> list[dg.SensorDefinition]:
    """Sensors that ask for what is stale; off until somebody turns them on in the UI."""

    @dg.sensor(
        name=f"{venue.name}_new_ticks",
        job=own["rebuild"],
        minimum_interval_seconds=30,
        description="Builds again what rests on trades that are new or have changed: of these "
        "symbols, from the first stage that does not rest on what is there now.",
    )
    def new_ticks(
        context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]
    ) -> dg.SensorResult:
        with platform.connect() as connection:
            seen = Seen.now(connection, venue, context.cursor)
            found = stale_days(connection, venue, seen.days)
        running = under_way(context.instance, venue)
        groups: dict[tuple[date, tuple[str, ...]], list[StaleDay]] = {}
        for one in found:
            groups.setdefault((one.day, one.stages), []).append(one)
        # What a run is building just now is not stale for long.
        free = [place for place in groups if not busy(running, place[0])][:_RUNS_A_TICK]
        requests = [
            request(
                venue,
                narrowable,
                day,
                stages,
                [one.symbol for one in groups[day, stages]],
                # One state of a day is asked for once.
                f"{day}:{stages[0]}:{_hash(groups[day, stages])}",
            )
            for day, stages in free
        ]
        # What is left for later is looked for again, from where this look began; and a run that is
        # under way may yet crown somebody.
        done = len(requests) == len(groups) and not running
        return dg.SensorResult(
            requests,
            skip_reason=None if requests else "nothing is stale that no run is building",
            cursor=seen.cursor if done else context.cursor,
        )

    @dg.sensor(
        name=f"{venue.name}_new_lessons",
        job=own["week"],
        minimum_interval_seconds=60,
        description="Learns again from a week whose features or labels have changed since, once "
        "its days are settled; one week after the other, as a champion is held against the last.",
    )
    def new_lessons(
        context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]
    ) -> dg.SensorResult:
        from trader_pipelines.stores import stale

        back = platform.settings.training_weeks
        with platform.connect() as connection:
            seen = Seen.now(connection, venue, context.cursor)
            windows = {}
            for week in stale.learned_weeks(connection, venue.name):
                within = training_days(week, back, venue.calendar)
                if seen.days is None or week in seen.days or not seen.days.isdisjoint(within):
                    windows[week] = within
            ends = {week: (within[0], within[-1]) for week, within in windows.items()}
            found = [
                (week, f"{week}:{state}")
                for week, state in stale.weeks(connection, venue.name, ends)
            ]
            # A week whose run failed is not asked for again, and stands in nobody's way.
            found = [(week, key) for week, key in found if not _tried(context.instance, key)]
            unsettled = stale_days(connection, venue, set(windows[found[0][0]])) if found else []
        if not found:
            return dg.SensorResult(
                skip_reason="every week was learned from the features that are there",
                cursor=seen.cursor if not under_way(context.instance, venue) else context.cursor,
            )
        week, key = found[0]
        # Signals rest on weeks, and no week on signals.
        if under_way(context.instance, venue) or any(
            one.stages != ("signals",) for one in unsettled
        ):
            return dg.SensorResult(
                skip_reason=f"days that the week of {week} learns from are not settled",
                cursor=context.cursor,
            )
        asked = dg.RunRequest(run_key=key, partition_key=week.isoformat())
        return dg.SensorResult([asked], cursor=context.cursor)

    return [new_ticks, new_lessons]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a sensor has to look at: all there is, or what was committed since its last look.

    Parameters
    ----------
    days : set of date or None
        Days and weeks; None for all.
    cursor : str
        To be remembered when nothing is left to do of them.
    """

    days: set[date] | None
    cursor: str

    @classmethod
    def now(cls, connection: "psycopg.Connection", venue: VenueSpec, cursor: str | None) -> "Seen":
        """Compare with the remembered cursor; another champion or universe starts over."""
        from trader_pipelines.stores import stale

        symbols = ",".join(sorted(venue.instruments))
        told = f"{stale.speakers(connection, venue.name)} {symbols}"
        mark = hashlib.sha256(told.encode()).hexdigest()[:16]
        since, _, before = (cursor or "0:").partition(":")
        days, newest = stale.touched(connection, venue.name, int(since) if before == mark else 0)
        return cls(set(days) if before == mark else None, f"{newest}:{mark}")


def stale_days(
    connection: "psycopg.Connection", venue: VenueSpec, days: set[date] | None = None
) -> "list[StaleDay]":
    """Stages of certified symbol-days of the universe that are to be built again.

    Parameters
    ----------
    days : set of date, optional
        Only these, and the trading days after them, which they warm up.
    """
    from trader_pipelines.stores import stale

    certified = stale.certified_days(connection, venue.name)
    if not certified:
        return []
    earlier = previous_day(venue.calendar, certified[0])
    known = (earlier, *trading_days(venue.calendar, certified[0], certified[-1]))
    before = {
        day: ahead for ahead, day in pairwise(known) if days is None or day in days or ahead in days
    }
    calendar = stale.Calendar(
        list(before), list(before.values()), [champion_week(day) for day in before]
    )
    return stale.days(connection, venue.name, list(venue.instruments), calendar)


def _tried(instance: dg.DagsterInstance, run_key: str) -> bool:
    return bool(instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": run_key}), limit=1))


def _hash(found: "list[StaleDay]") -> str:
    told = " ".join(f"{one.symbol}:{one.state}" for one in found)
    return hashlib.sha256(told.encode()).hexdigest()[:32]
