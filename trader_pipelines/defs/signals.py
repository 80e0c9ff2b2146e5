"""Signals: the champion's calibrated probability for every minute, with all it rests on."""

import dagster as dg
import polars as pl

from trader_pipelines.core.instruments import VenueSpec
from trader_pipelines.core.learning.model import Model
from trader_pipelines.core.signals import SIGNALS
from trader_pipelines.defs import partitions
from trader_pipelines.defs.pictures import probabilities
from trader_pipelines.defs.work import (
    RESEARCH,
    Symbols,
    common,
    drawn,
    readable_failures,
    schema,
    stored,
    tell,
)
from trader_pipelines.platform import Platform
from trader_pipelines.steps.features import FEATURES_SET
from trader_pipelines.steps.signals import SIGNALS_SET, SIGNALS_VERSION, champion, speak
from trader_pipelines.stores.datasets import Key
from trader_pipelines.stores.models_table import ModelRow

GROUP = "signals"

COLUMNS = {
    "ts": "when the decision could be taken: all it rests on was known, UTC",
    "symbol": "the symbol",
    "probability": "of going up within the horizon, given that it moves; calibrated",
    "side": "the likelier one: buy or sell",
    "edge": "probability less one half",
    "horizon_minutes": "how far ahead the probability looks",
    "ts_expiry": "ts and the horizon, UTC",
    "model_version": "names training snapshot, parameters and code",
    "source": "where the trades came from",
    "synthetic": "whether any of it was never printed by a venue",
    "certificate_status": "of the day's trades",
    "feature_version": "of the features' code",
}


def signals(venue: VenueSpec) -> list[dg.AssetsDefinition]:
    """The signals of a venue."""

    @dg.asset(
        name=SIGNALS_SET,
        kinds={"parquet", "scikitlearn"},
        code_version=SIGNALS_VERSION,
        deps=[
            dg.AssetDep([venue.name, FEATURES_SET], partition_mapping=partitions.same_day()),
            dg.AssetDep(
                [venue.name, "champion_model"], partition_mapping=partitions.last_whole_week(venue)
            ),
        ],
        description="A calibrated probability, side and horizon for every minute, by the champion "
        "of the last whole week before the day; none while there is no champion.",
        metadata={"dagster/column_schema": schema(SIGNALS, COLUMNS)},
        **common(venue, GROUP, RESEARCH, partitions.daily(venue)),
    )
    def build(
        context: dg.AssetExecutionContext, config: Symbols, platform: dg.ResourceParam[Platform]
    ) -> None:
        loaded: dict[str, tuple[ModelRow, Model]] = {}
        with readable_failures(), platform.connect() as connection:
            for day, instruments in stored(connection, venue, FEATURES_SET, context, config):
                speaker = champion(connection, platform, venue, day, loaded)
                keys = [Key(SIGNALS_SET, venue.name, i.symbol, day) for i in instruments]
                frames = {key.symbol: speak(connection, platform, key, speaker) for key in keys}
                drawing = {}
                if drawn(context, day):
                    series = {
                        symbol: (frame["ts"].to_numpy(), frame["probability"].to_numpy())
                        for symbol, frame in frames.items()
                        if frame.height
                    }
                    title = f"{venue.name} {day}: probability of up"
                    title += " (synthetic)" if venue.synthetic else ""
                    drawing["probabilities"] = probabilities(series, title)
                tell(
                    context,
                    platform,
                    day,
                    [last_row(symbol, frame) for symbol, frame in frames.items()],
                    count=sum(frame.height for frame in frames.values()),
                    champion=speaker[0].version if speaker else "none",
                    synthetic=venue.synthetic,
                    **drawing,
                )

    return [build]


def last_row(symbol: str, frame: pl.DataFrame) -> dict[str, object]:
    """The day's last signal of a symbol, for a person."""
    if frame.is_empty():
        return {"symbol": symbol, "signals": 0}
    last = frame.row(-1, named=True)
    return {
        "symbol": symbol,
        "side": last["side"],
        "probability": last["probability"],
        "at": str(last["ts"])[11:16],
        "horizon min": last["horizon_minutes"],
        "model": last["model_version"],
        "trades": last["certificate_status"],
        "synthetic": last["synthetic"],
        "signals": frame.height,
    }
