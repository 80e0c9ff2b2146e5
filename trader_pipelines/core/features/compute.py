"""Features of a day's bars, each known when its bar closes."""

from collections.abc import Sequence

import polars as pl

from trader_pipelines.core.errors import SettingsError
from trader_pipelines.core.features.feature import BAR_COLUMNS, Feature
from trader_pipelines.core.features.registry import FEATURES, max_look_back
from trader_pipelines.core.instruments import UTC_DAYS
from trader_pipelines.core.sessions import zone_of
from trader_pipelines.core.trades import NS_PER_DAY


def feature_schema(features: Sequence[Feature] = FEATURES) -> pl.Schema:
    """Columns of computed features: `ts` in nanoseconds UTC, then one Float64 a feature."""
    return pl.Schema(
        {
            "ts": pl.Datetime("ns", "UTC"),
            **{feature.name: pl.Float64() for feature in features},
        }
    )


def compute_features(
    bars: pl.DataFrame,
    warm_up: pl.DataFrame | None = None,
    features: Sequence[Feature] = FEATURES,
    calendar: str = UTC_DAYS,
) -> pl.DataFrame:
    """Every feature of a day, for those bars at which all of them are known.

    Parameters
    ----------
    bars : DataFrame
        Minute bars of one instrument and day, of `trader_pipelines.core.bars.bar_schema`.
    warm_up : DataFrame or None
        Bars that came just before, of the same schema, usually the previous trading day's; its tail
        goes in front, so that a day starts warm. Look-backs count bars: the last bar before and
        the first one of the day are neighbours, be there a night or a weekend between them.
    features : sequence of Feature
        Which; by default all.
    calendar : str
        Of the venue: its exchange's clock tells the time of day, whatever summer time does to UTC.

    Returns
    -------
    DataFrame
        Of `feature_schema`. `ts` is the bar's `ts_close`, the moment at which the values are
        known. Rows of `bars` only, and of these only where every value is finite, which all are
        from the `max_look_back`-th bar on: formulas define what an empty minute and a flat price
        give.

    Raises
    ------
    SettingsError
        When the warm-up's grid of prices or sizes is not that of the bars.
    ValueError
        When the warm-up is not over before the first bar.
    """
    values = feature_values(bars, warm_up, features, calendar)
    return values.filter(pl.all_horizontal(pl.exclude("ts").is_finite()))


def feature_values(
    bars: pl.DataFrame,
    warm_up: pl.DataFrame | None = None,
    features: Sequence[Feature] = FEATURES,
    calendar: str = UTC_DAYS,
) -> pl.DataFrame:
    """As `compute_features`, but a row for each of `bars`: NaN where a value is not known yet."""
    if bars.is_empty():
        return feature_schema(features).to_frame()
    tail = _tail(bars, warm_up, max_look_back(features) - 1)
    numbers = pl.col(BAR_COLUMNS).to_physical().cast(pl.Float64).fill_null(float("nan"))
    local = pl.col("ts_close").dt.convert_time_zone(zone_of(calendar)).dt.replace_time_zone(None)
    clock = (local.to_physical() % NS_PER_DAY).cast(pl.Float64).alias("clock")
    return (
        pl.concat([tail, bars])
        .select(pl.col("ts_close"), clock, numbers)
        .select(
            pl.col("ts_close").alias("ts"),
            *(feature.expr.alias(feature.name) for feature in features),
        )
        .slice(tail.height)
    )


def _tail(bars: pl.DataFrame, warm_up: pl.DataFrame | None, most: int) -> pl.DataFrame:
    if warm_up is None or warm_up.is_empty():
        return bars.clear()
    if warm_up.schema["notional"] != bars.schema["notional"]:
        raise SettingsError(
            "the bars before are on another grid of prices and sizes than the day's: "
            f"notional is {warm_up.schema['notional']}, the day's {bars.schema['notional']}",
            where=f"bars up to {warm_up['ts_close'][-1]}, tick_size and lot_size in the universe",
            remedy="materialize the earlier day's bars again with the universe of today",
        )
    if warm_up["ts_close"][-1] > bars["ts_open"][0]:
        raise ValueError(
            f"warm-up ends at {warm_up['ts_close'][-1]}, after the day's first bar began at "
            f"{bars['ts_open'][0]}"
        )
    return warm_up.tail(most)
