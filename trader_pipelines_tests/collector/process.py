"""A collector of the test exchange: quick to lose patience, and the process that tests kill."""

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from trader_pipelines.cli.collect import print_line
from trader_pipelines.collector.collect import collect
from trader_pipelines.collector.options import Options
from trader_pipelines.collector.running import Report, run
from trader_pipelines.collector.source import Source
from trader_pipelines.collector.status import Status
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES
from trader_pipelines.venues.binance import Binance
from trader_pipelines.venues.budget import Budget
from trader_pipelines.venues.patience import Patience
from trader_pipelines.venues.stream_binance import BinanceFeed

FAST = Options(
    batch_seconds=0.05,
    silence=1.0,
    back_off=0.02,
    back_off_cap=0.2,
    grace=0.05,
    quiet=0.2,
    quiet_cap=0.4,
    report=0.05,
)


def instruments(symbols: Iterable[str]) -> list[Instrument]:
    grid = Decimal("0.00000001")
    return [Instrument("binance", symbol, grid, grid, date(2017, 1, 1)) for symbol in symbols]


def source(port: int) -> Source:
    """The product's own stream and REST client, impatient and without a limit."""
    rest = Binance(
        url=f"http://127.0.0.1:{port}/api/v3",
        patience=Patience(attempts=3, longest_wait=0.01, timeout=1.0),
        budget=Budget("binance", 10**9, usual_hold=0.02),
    )

    def refill(instrument: Instrument, first: int, last: int) -> pl.DataFrame:
        return pl.concat([TRADES.to_frame(), *rest.fetch_ids(instrument, first, last)])

    return Source(BinanceFeed(f"ws://127.0.0.1:{port}/ws"), refill)


def main(arguments: Mapping[str, Any]) -> int:
    """Collect until a signal; the database's address, a secret, comes by the environment."""
    options = Options(**arguments["options"]) if "options" in arguments else FAST

    async def collecting(stop: asyncio.Event, report: Report) -> Status:
        return await collect(
            source(int(arguments["port"])),
            instruments(arguments["symbols"]),
            os.environ["TRADER_DATABASE_URL"],
            stop=stop,
            report=report,
            options=options,
            begin=arguments.get("begin"),
        )

    print_line(run(collecting, print_line))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(json.loads(sys.argv[1])))
