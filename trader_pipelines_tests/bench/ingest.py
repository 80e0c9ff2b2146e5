"""A day of the public archive into hot ticks, certified, against a plain COPY of its rows."""

import statistics
import tempfile
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.platform import Platform
from trader_pipelines.steps import ticks
from trader_pipelines.stores import database
from trader_pipelines.venues.archive import BinanceArchive
from trader_pipelines.venues.synthetic import Synthetic
from trader_pipelines_tests.bench.hot import DAY, empty, plain_copy, seconds, server
from trader_pipelines_tests.tapes import write_csv

ROWS = 1_000_000
PAIRS = 5
BTC = Instrument("binance", "BTCUSDT", Decimal("0.01"), Decimal("0.00001"), date(2017, 8, 17))


def run() -> dict[str, float]:
    """Ingest one day of 1,000,000 trades from a zip of Binance's layout.

    Its text is as Binance writes it: no header, eight decimals, milliseconds; made of synthetic
    trades. Ours is from the zip and its checksum to the commit of rows and certificate.

    Returns
    -------
    dict
        ``archive_ingest_vs_copy``: time of that over the time of COPY BINARY of the same rows into
        a table without a key, the median of alternating pairs; ``archive_ingest_s``.
    """
    with tempfile.TemporaryDirectory(prefix="trader-bench-") as told, server() as url:
        base = Path(told)
        trades = _archive(base)
        platform = Platform({"home": base / "home", "database_url": url})
        source = BinanceArchive(str(base))
        ratios, taken = [], []
        with database.connect(url) as connection:
            connection.autocommit = True
            peer = plain_copy(connection, trades)

            def ingest() -> None:
                certificate = ticks.ingest(connection, platform, source, BTC, DAY)
                assert (certificate.count, certificate.missing) == (ROWS, ())

            for _ in range(PAIRS + 1):
                empty(connection)
                connection.execute("truncate certificates, outages")
                plain = peer()
                taken.append(seconds(ingest))
                ratios.append(taken[-1] / plain)
    return {
        "archive_ingest_vs_copy": statistics.median(ratios[1:]),
        "archive_ingest_s": statistics.median(taken[1:]),
    }


def _archive(base: Path) -> pl.DataFrame:
    """Write the day below `base`; its trades."""
    source = Synthetic(seed=7, effect=0.3, trades_per_day=ROWS * 6 // 5)
    made = source.fetch_day(replace(BTC, venue="synthetic"), DAY).trades.head(ROWS)
    assert made.height == ROWS
    milliseconds = made["ts_event"].dt.timestamp("ms")
    last = made["fills"].cast(pl.Int64).cum_sum()
    table = pl.DataFrame(
        [
            made["id"],
            _decimal(made["price"], BTC.price_scale),
            _decimal(made["size"], BTC.size_scale),
            (last - made["fills"] + 1).alias("first"),
            last.alias("last"),
            milliseconds,
            pl.Series("maker", ["False", "True"]).gather((made["side"] < 0).cast(pl.UInt32)),
            pl.repeat("True", ROWS, eager=True).alias("best"),
        ]
    )
    write_csv(base, BTC.symbol, DAY, table.write_csv(include_header=False).encode())
    return made.with_columns(milliseconds.cast(pl.Datetime("ms", "UTC")).dt.cast_time_unit("ns"))


def _decimal(values: pl.Series, scale: int) -> pl.Series:
    """Plain text with eight decimals."""
    whole, part = values // 10**scale, values % 10**scale
    tail = part.cast(pl.String).str.zfill(scale).str.pad_end(8, "0")
    text: pl.Series = whole.cast(pl.String) + "." + tail
    return text
