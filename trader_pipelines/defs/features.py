"""Features known in time, and labels: what the market did next."""

import dagster as dg
import polars as pl

from trader_pipelines.core.certificates import Status, worst
from trader_pipelines.core.features import FEATURES, compute_features, feature_version
from trader_pipelines.core.features.compute import feature_schema
from trader_pipelines.core.instruments import VenueSpec
from trader_pipelines.core.labels import LABELS, triple_barrier
from trader_pipelines.defs import partitions
from trader_pipelines.defs.pictures import table
from trader_pipelines.defs.work import (
    RESEARCH,
    Symbols,
    checked,
    common,
    readable_failures,
    schema,
    stored,
    tell,
)
from trader_pipelines.platform import Platform
from trader_pipelines.steps.bars import MINUTE
from trader_pipelines.steps.features import (
    FEATURES_SET,
    LABELS_SET,
    LABELS_VERSION,
    bars_of,
    faults,
)
from trader_pipelines.stores import datasets
from trader_pipelines.stores.datasets import Key, Lineage

GROUP = "features"

FEATURE_COLUMNS = {
    "ts": "the moment at which every value is known, UTC",
    **{f.name: f"{f.formula} [{f.unit}; {f.look_back} bars; {f.source}]" for f in FEATURES},
}
LABEL_COLUMNS = {
    "ts": "when the decision could be taken, UTC",
    "label": "1 up, -1 down, 0 exactly flat",
    "touched": "the barrier that was reached first: upper, lower, both within one bar, or time",
    "exit_return": "log return from the decision to the exit",
    "ts_exit": "when the label became known, UTC",
}


def features(venue: VenueSpec) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Features and labels of a venue, and the check for look-ahead."""
    shared = common(venue, GROUP, RESEARCH, partitions.daily(venue))

    @dg.asset(
        name=FEATURES_SET,
        code_version=feature_version(),
        deps=[dg.AssetDep([venue.name, "bars"], partition_mapping=partitions.day_and_day_before())],
        description=f"{len(FEATURES)} features of minute bars, each from the registry with "
        "formula, unit, look-back and source. The trading day before warms the look-backs.",
        metadata={"dagster/column_schema": schema(feature_schema(), FEATURE_COLUMNS)},
        kinds={"parquet", "polars"},
        **shared,
    )
    def build_features(
        context: dg.AssetExecutionContext, config: Symbols, platform: dg.ResourceParam[Platform]
    ) -> None:
        root = platform.cold
        with readable_failures(), platform.connect() as connection:
            for day, instruments in stored(connection, venue, MINUTE, context, config):
                rows, frames = [], []
                for instrument in instruments:
                    key = Key(FEATURES_SET, venue.name, instrument.symbol, day)
                    bars, warm_up, entries = bars_of(connection, platform, key)
                    frame = compute_features(bars, warm_up, calendar=venue.calendar)
                    status = worst(Status(entry.status) for entry in entries)
                    inputs = {f"{MINUTE} {entry.day}": entry.sha256 for entry in entries}
                    synthetic = any(entry.synthetic for entry in entries)
                    lineage = Lineage(feature_version(), status, synthetic, inputs)
                    datasets.put(connection, root, key, frame, lineage)
                    frames.append(frame)
                    rows.append(
                        {
                            "symbol": instrument.symbol,
                            "rows": frame.height,
                            "first": str(frame["ts"].min())[:19] if frame.height else None,
                            "warm from the day before": len(entries) > 1,
                            "built on": str(status),
                        }
                    )
                tell(
                    context,
                    platform,
                    day,
                    rows,
                    count=sum(frame.height for frame in frames),
                    distribution=table(distribution(pl.concat(frames))),
                )

    @dg.asset(
        name=LABELS_SET,
        code_version=LABELS_VERSION,
        deps=[dg.AssetDep([venue.name, "bars"], partition_mapping=partitions.same_day())],
        description="Triple-barrier labels: which of an upper, a lower and a time barrier the "
        "price reached first. They never cross the day's end.",
        metadata={"dagster/column_schema": schema(LABELS, LABEL_COLUMNS)},
        kinds={"parquet", "polars"},
        **shared,
    )
    def build_labels(
        context: dg.AssetExecutionContext, config: Symbols, platform: dg.ResourceParam[Platform]
    ) -> None:
        settings = platform.settings
        with readable_failures(), platform.connect() as connection:
            for day, instruments in stored(connection, venue, MINUTE, context, config):
                rows, count = [], 0
                for instrument in instruments:
                    place = (venue.name, instrument.symbol, day)
                    bars, entry = datasets.get(connection, platform.cold, Key(MINUTE, *place))
                    frame = triple_barrier(
                        bars, settings.label_horizon, settings.label_width, settings.label_look_back
                    )
                    lineage = Lineage(
                        f"{LABELS_VERSION}-{settings.label_horizon}m-{settings.label_width}"
                        f"-{settings.label_look_back}",
                        entry.status,
                        entry.synthetic,
                        {MINUTE: entry.sha256},
                    )
                    datasets.put(connection, platform.cold, Key(LABELS_SET, *place), frame, lineage)
                    count += frame.height
                    share = frame.select(
                        up=(pl.col("label") == 1).mean(),
                        down=(pl.col("label") == -1).mean(),
                        flat=(pl.col("label") == 0).mean(),
                        timed_out=(pl.col("touched").cast(pl.String) == "time").mean(),
                    ).row(0, named=True)
                    rows.append(
                        {"symbol": instrument.symbol, "rows": frame.height, **share}
                        | {"built on": entry.status}
                    )
                tell(
                    context,
                    platform,
                    day,
                    rows,
                    count=count,
                    horizon_minutes=settings.label_horizon,
                    width=settings.label_width,
                )

    @dg.asset_check(
        asset=build_features,
        name="finite_and_known_in_time",
        blocking=True,
        description="Every stored value is finite, equals what the bars give now, and does not "
        "change when the future is cut off or poisoned.",
    )
    def finite_and_known_in_time(
        context: dg.AssetCheckExecutionContext,
        config: Symbols,
        platform: dg.ResourceParam[Platform],
    ) -> dg.AssetCheckResult:
        audited, wrong = 0, []
        with readable_failures(), platform.connect() as connection:
            for day, instrument in checked(connection, venue, FEATURES_SET, context, config):
                key = Key(FEATURES_SET, venue.name, instrument.symbol, day)
                audited += 1
                wrong += [
                    {"symbol": instrument.symbol, "day": day.isoformat(), "what": what}
                    for what in faults(connection, platform, key)
                ]
        return dg.AssetCheckResult(
            passed=not wrong,
            description=f"{len(FEATURES)} features of {audited} symbol-days audited, "
            f"{len(wrong)} faults",
            metadata={"audited": audited, "faults": table(wrong[:50])},
        )

    return [build_features, build_labels, finite_and_known_in_time]


def distribution(frame: pl.DataFrame) -> list[dict[str, object]]:
    """Mean, deviation and range of every feature, for a person."""
    return [
        {
            "feature": name,
            "mean": frame[name].mean(),
            "deviation": frame[name].std(),
            "least": frame[name].min(),
            "most": frame[name].max(),
        }
        for name in frame.columns[1:]
    ]
