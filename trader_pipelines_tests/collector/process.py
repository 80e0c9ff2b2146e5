"""A collector of the test exchange: REST by a plain loop, and the process that tests kill."""

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from trader_pipelines.collector.collect import run
from trader_pipelines.collector.options import Options
from trader_pipelines.collector.refilling import Refill
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES
from trader_pipelines.venues.stream import nanoseconds, scaled
from trader_pipelines.venues.stream_binance import BinanceFeed

FAST = Options(
    batch_seconds=0.05,
    silence=1.0,
    back_off=0.02,
    back_off_cap=0.2,
    grace=0.05,
    quiet=0.2,
    quiet_cap=0.4,
    report=0.1,
)


def instruments(symbols: Iterable[str]) -> list[Instrument]:
    grid = Decimal("0.00000001")
    return [Instrument("binance", symbol, grid, grid, date(2017, 1, 1)) for symbol in symbols]


def feed(port: int) -> BinanceFeed:
    return BinanceFeed(url=f"ws://127.0.0.1:{port}/ws")


def rest(port: int) -> Refill:
    """Pages by id, straight from the venue's endpoint through the real client."""
    import ccxt

    client: Any = ccxt.binance(
        {
            "urls": {"api": {"public": f"http://127.0.0.1:{port}/api/v3"}},
            "enableRateLimit": False,
            "timeout": 3000,
        }
    )

    def refill(instrument: Instrument, first: int, last: int) -> pl.DataFrame:
        rows: list[tuple[int, ...]] = []
        at = first
        while at <= last:
            ask = {"symbol": instrument.symbol, "fromId": at, "limit": 1000}
            page = client.public_get_aggtrades(ask)
            rows += [
                (
                    int(row["a"]),
                    nanoseconds(int(row["T"])),
                    scaled(row["p"], instrument.price_scale),
                    scaled(row["q"], instrument.size_scale),
                    -1 if row["m"] else 1,
                    int(row["l"]) - int(row["f"]) + 1,
                )
                for row in page
            ]
            if len(page) < 1000:
                break
            at = int(page[-1]["a"]) + 1
        inside = [row for row in rows if first <= row[0] <= last]
        names = dict.fromkeys(TRADES, pl.Int64)
        return pl.DataFrame(inside, schema=names, orient="row").cast(TRADES)

    return refill


def main(arguments: Mapping[str, Any]) -> int:
    port = int(arguments["port"])
    options = Options(**arguments["options"]) if "options" in arguments else FAST
    return run(
        feed(port),
        instruments(arguments["symbols"]),
        arguments["database_url"],
        rest(port),
        options=options,
        begin=arguments.get("begin"),
    )


if __name__ == "__main__":
    raise SystemExit(main(json.loads(sys.argv[1])))
