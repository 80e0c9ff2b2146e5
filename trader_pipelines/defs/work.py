"""What every asset body shares: its narrowing, its partitions, its report and its failures."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, TypedDict

import dagster as dg
import psycopg

from trader_pipelines.core.errors import MissingDataError, TraderError
from trader_pipelines.core.instruments import Instrument, VenueSpec
from trader_pipelines.defs import partitions
from trader_pipelines.defs.pictures import table
from trader_pipelines.platform import Platform
from trader_pipelines.stores import datasets, manifest
from trader_pipelines.venues.days import check_listed

MARKET_DATA, RESEARCH = "team:market-data", "team:research"

#: Ranges of up to this many partitions get a picture each; of longer ones only the last.
PICTURES_A_RUN = 7

#: How many mistakes of one kind a failure spells out.
_MOST_TOLD = 10


class Symbols(dg.Config):
    """Narrows a run to some symbols of the venue; empty means all of the day's universe."""

    symbols: list[str] = []


Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


class Common(TypedDict):
    """Arguments of ``dg.asset`` that every asset of a stage shares."""

    key_prefix: str
    group_name: str
    owners: list[str]
    partitions_def: dg.TimeWindowPartitionsDefinition
    backfill_policy: dg.BackfillPolicy
    tags: dict[str, str]


def common(
    venue: VenueSpec, group: str, owner: str, cut: dg.TimeWindowPartitionsDefinition
) -> Common:
    """What all assets of a stage have in common, as arguments of ``dg.asset``."""
    weekly = isinstance(cut, dg.WeeklyPartitionsDefinition)
    return {
        "key_prefix": venue.name,
        "group_name": group,
        "owners": [owner],
        "partitions_def": cut,
        "backfill_policy": dg.BackfillPolicy.multi_run(
            partitions.WEEKS_A_RUN if weekly else partitions.DAYS_A_RUN
        ),
        "tags": {"synthetic": "true"} if venue.synthetic else {},
    }


def days(context: Context) -> list[date]:
    """The run's partitions as dates; weeks by their Monday.

    Raises
    ------
    MissingDataError
        When the run's range ends on a day without a session: Dagster would go on to the next one.
    """
    op = (
        context.op_execution_context
        if isinstance(context, dg.AssetCheckExecutionContext)
        else context
    )
    keys = [date.fromisoformat(key) for key in op.partition_keys]
    last = op.run.tags.get("dagster/asset_partition_range_end")
    if last is not None and keys[-1] > (asked := date.fromisoformat(last)):
        raise MissingDataError(
            f"there is no session on {asked}, a {asked:%A}; the next one is that of {keys[-1]}",
            where=f"run {op.run.run_id[:8]}, end of the range of partitions",
            remedy="end the range on a day on which the exchange is open",
        )
    return keys


def has_partitions(context: dg.AssetCheckExecutionContext) -> bool:
    """Whether a check runs with its asset's partitions; executed on its own it has none."""
    return any(name.startswith("dagster/") and "partition" in name for name in context.run.tags)


def listed(
    venue: VenueSpec, context: Context, config: Symbols
) -> Iterator[tuple[date, Instrument]]:
    """Day by day, the instruments of that day's universe that the run is about.

    Raises
    ------
    UnknownSymbolError
        A symbol that the run was narrowed to is in the universe on none of its days.
    """
    wanted = days(context)
    for symbol in config.symbols:
        instrument = venue.instrument(symbol)
        if not any(instrument.listed_on(day) for day in wanted):
            check_listed(venue.name, instrument, wanted[-1])
    for day in wanted:
        for instrument in venue.on(day, tuple(config.symbols)):
            yield day, instrument


def stored(
    connection: psycopg.Connection,
    venue: VenueSpec,
    dataset: str,
    context: Context,
    config: Symbols,
) -> Iterator[tuple[date, list[Instrument]]]:
    """Day by day, the instruments for which the asset above has committed a frame.

    Raises
    ------
    MissingDataError
        A symbol that the run was narrowed to, or a whole day, has none.
    """
    wanted = days(context)
    there = datasets.symbols(connection, dataset, venue.name, wanted)
    for day in wanted:
        names = config.symbols or there[day] or [i.symbol for i in venue.on(day)][:1]
        for name in names:
            if name not in there[day]:
                datasets.entry(connection, datasets.Key(dataset, venue.name, name, day))
        yield day, [venue.instrument(name) for name in names]


def checked(
    connection: psycopg.Connection,
    venue: VenueSpec,
    dataset: str,
    context: dg.AssetCheckExecutionContext,
    config: Symbols,
) -> Iterator[tuple[date, Instrument]]:
    """What a check is about: the run's partitions, or all there is when it is executed alone.

    Raises
    ------
    MissingDataError
        See `stored`.
    """
    if has_partitions(context):
        for day, instruments in stored(connection, venue, dataset, context, config):
            for instrument in instruments:
                yield day, instrument
    else:
        for entry in manifest.get_datasets(connection, dataset, venue.name):
            yield entry.day, venue.instrument(entry.symbol)


def tell(
    context: dg.AssetExecutionContext,
    platform: Platform,
    day: date,
    rows: Sequence[Mapping[str, Any]],
    *,
    count: int,
    **more: dg.MetadataValue | str | int | float | bool,
) -> None:
    """Attach what a person wants to see to the partition of `day`: a table by symbol and more."""
    metadata = {
        "dagster/partition_row_count": count,
        "by symbol": table(rows),
        **{name.replace("_", " "): value for name, value in more.items()},
    }
    context.add_asset_metadata(metadata, partition_key=day.isoformat())
    stage = context.asset_key.path[-1]
    context.log.info(f"{stage} {day}: {count:,} rows, {len(rows)} symbols")
    platform.progress(stage, day.isoformat())


def drawn(context: Context, day: date) -> bool:
    """Whether the partition of `day` gets a picture in this run."""
    wanted = days(context)
    return len(wanted) <= PICTURES_A_RUN or day == wanted[-1]


@contextmanager
def readable_failures() -> Iterator[None]:
    """Turn a user's mistake into a failure that the run's page shows: what, where and remedy.

    Only what may pass by itself is retried.
    """
    try:
        yield
    except TraderError as error:
        raise failure([error]) from None


def failure(errors: Sequence[TraderError]) -> dg.Failure:
    """One failure of a run for one or several errors."""
    told = "\n".join(f"{type(error).__name__}: {error}" for error in errors[:_MOST_TOLD])
    rest = f"\nand {len(errors) - _MOST_TOLD} more" if len(errors) > _MOST_TOLD else ""
    rows = [
        {"error": type(e).__name__, "what": e.what, "where": e.where, "remedy": e.remedy}
        for e in errors[:_MOST_TOLD]
    ]
    return dg.Failure(
        description=told + rest,
        metadata={
            "what": errors[0].what,
            "where": errors[0].where,
            "remedy": errors[0].remedy,
            "errors": table(rows),
        },
        allow_retries=all(error.retry for error in errors),
    )


def schema(columns: Mapping[str, Any], descriptions: Mapping[str, str]) -> dg.TableSchema:
    """Column schema of an asset, as Dagster shows it.

    Raises
    ------
    KeyError
        A column without a description: everything that is kept is explained.
    """
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name, str(dtype), description=descriptions[name])
            for name, dtype in columns.items()
        ]
    )
