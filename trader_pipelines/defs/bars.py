"""Bars: minute bars and dollar bars from cold ticks, and the proof that they add up."""

import dagster as dg

from trader_pipelines.core.bars import bar_schema, minute_bars, reconcile
from trader_pipelines.core.dollar_bars import dollar_bars
from trader_pipelines.core.instruments import VenueSpec
from trader_pipelines.defs import partitions
from trader_pipelines.defs.pictures import price_and_volume, table
from trader_pipelines.defs.work import (
    MARKET_DATA,
    Symbols,
    checked,
    common,
    drawn,
    readable_failures,
    schema,
    stored,
    tell,
)
from trader_pipelines.platform import Platform
from trader_pipelines.steps.bars import BARS_VERSION, DOLLAR, MINUTE
from trader_pipelines.steps.ticks import COLD
from trader_pipelines.stores import datasets
from trader_pipelines.stores.datasets import Key, Lineage

GROUP = "bars"

COLUMNS = {
    "ts_open": "start of the bar, UTC",
    "ts_close": "end of the bar: the moment from which it is known, UTC",
    "open": "first price, scaled by the symbol's price scale",
    "high": "highest price, scaled",
    "low": "lowest price, scaled",
    "close": "last price, scaled",
    "volume": "base quantity traded, scaled by the symbol's size scale",
    "buy_volume": "of it with a buyer as aggressor",
    "sell_volume": "of it with a seller as aggressor",
    "notional": "sum of price times size, quote units, exact",
    "vwap": "volume-weighted average price, quote units",
    "trades": "single trades, as venues count them",
    "prints": "rows they came in",
}


def bars(venue: VenueSpec) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """The bars of a venue and their check."""
    example = next(iter(venue.instruments.values()))

    @dg.asset(
        name="bars",
        kinds={"parquet", "polars"},
        code_version=BARS_VERSION,
        deps=[dg.AssetDep([venue.name, COLD], partition_mapping=partitions.same_day())],
        description="Minute bars with VWAP, trade count, buy and sell volume, equal to the venue's "
        "own to the last digit; and dollar bars, one for each notional that the universe names.",
        metadata={"dagster/column_schema": schema(bar_schema(example), COLUMNS)},
        **common(venue, GROUP, MARKET_DATA, partitions.daily(venue)),
    )
    def build(
        context: dg.AssetExecutionContext, config: Symbols, platform: dg.ResourceParam[Platform]
    ) -> None:
        root = platform.cold
        with readable_failures(), platform.connect() as connection:
            for day, instruments in stored(connection, venue, COLD, context, config):
                rows, shown = [], {}
                for instrument in instruments:
                    place = (venue.name, instrument.symbol, day)
                    trades, ticks = datasets.get(connection, root, Key(COLD, *place))
                    inputs = {COLD: str(ticks.content_hash)}
                    lineage = Lineage(BARS_VERSION, ticks.status, ticks.synthetic, inputs)
                    by_minute = minute_bars(trades, instrument)
                    by_dollar = dollar_bars(trades, instrument)
                    about = {
                        "price_scale": str(instrument.price_scale),
                        "size_scale": str(instrument.size_scale),
                    }
                    for dataset, frame in ((DOLLAR, by_dollar), (MINUTE, by_minute)):
                        datasets.put(
                            connection, root, Key(dataset, *place), frame, lineage, about=about
                        )
                    shown[instrument.symbol] = by_minute
                    rows.append(
                        {
                            "symbol": instrument.symbol,
                            "minute bars": by_minute.height,
                            "dollar bars": by_dollar.height,
                            "trades": trades.height,
                            "built on": ticks.status,
                        }
                    )
                more = {}
                if drawn(context, day):
                    scales = {i.symbol: (i.price_scale, i.size_scale) for i in instruments}
                    title = f"{venue.name} {day}" + (" (synthetic)" if venue.synthetic else "")
                    more["price_and_volume"] = price_and_volume(shown, scales, title)
                count = sum(frame.height for frame in shown.values())
                tell(context, platform, day, rows, count=count, **more)

    @dg.asset_check(
        asset=build,
        name="bars_reconcile_with_ticks",
        blocking=True,
        description="Volume, sides, notional, trade counts and price range of the stored bars are "
        "those of the stored ticks, exactly; the grid of minutes has no hole.",
    )
    def bars_reconcile_with_ticks(
        context: dg.AssetCheckExecutionContext,
        config: Symbols,
        platform: dg.ResourceParam[Platform],
    ) -> dg.AssetCheckResult:
        root = platform.cold
        compared, wrong = 0, []
        with readable_failures(), platform.connect() as connection:
            for day, instrument in checked(connection, venue, MINUTE, context, config):
                place = (venue.name, instrument.symbol, day)
                frame, _ = datasets.get(connection, root, Key(MINUTE, *place))
                trades, _ = datasets.get(connection, root, Key(COLD, *place))
                compared += 1
                wrong += [
                    {"symbol": instrument.symbol, "day": day.isoformat(), "what": what}
                    for what in reconcile(frame, trades)
                ]
        return dg.AssetCheckResult(
            passed=not wrong,
            description=f"{compared} symbol-days compared, {len(wrong)} things do not add up",
            metadata={"compared": compared, "wrong": table(wrong)},
        )

    return [build, bars_reconcile_with_ticks]
