"""Trades against a venue's bars, and one source against another."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.reconciliation import (
    KLINES,
    by_minute,
    reconcile_sources,
    reconcile_with_klines,
)
from trader_pipelines.core.trades import TRADES
from trader_pipelines_tests import tapes

START = datetime(2024, 1, 2, tzinfo=UTC)
COIN = Instrument("v", "X", Decimal("0.01"), Decimal("0.1"), START.date())


def trades(seconds: list[int]) -> pl.DataFrame:
    rows = [
        (n, START + timedelta(seconds=s), 100 + n, 10 + n, 1 if n % 2 else -1, 1 + n % 3)
        for n, s in enumerate(sorted(seconds))
    ]
    columns = dict(zip(TRADES, zip(*rows, strict=True), strict=True)) if rows else {}
    return pl.DataFrame(columns, schema=None if rows else TRADES).cast(TRADES)


@given(st.lists(st.integers(0, 600), max_size=30), st.data())
def test_reconcile_a_lost_trade_is_seen_in_its_minute(
    seconds: list[int], data: st.DataObject
) -> None:
    whole = trades(seconds)
    assert reconcile_with_klines(whole, by_minute(whole), COIN).agrees
    if whole.height:
        lost = data.draw(st.integers(0, whole.height - 1))
        seen = reconcile_with_klines(whole.filter(pl.col("id") != lost), by_minute(whole), COIN)
        row = whole.row(lost, named=True)
        bought = row["size"] if row["side"] > 0 else 0
        minute = row["ts_event"].replace(second=0)
        assert seen.differing.rows() == [(minute, -row["fills"], -row["size"], -bought)]
        assert seen.told()["klines_lacking"] == f"{minute:%H:%M}"


def test_reconcile_minutes_without_a_trade_may_be_told_or_not() -> None:
    ours = trades([5, 130])
    empty = pl.DataFrame(
        {"minute": [START + timedelta(minutes=1)], "fills": [0], "size": [0], "bought": [0]}
    ).cast(KLINES)
    assert reconcile_with_klines(ours, pl.concat([by_minute(ours), empty]), COIN).agrees


def test_reconcile_taker_side_is_compared_where_it_is_told() -> None:
    ours = trades([5, 6])
    turned = ours.with_columns(-pl.col("side"))
    assert reconcile_with_klines(turned, by_minute(ours), COIN).differing.height == 1
    untold = by_minute(ours).with_columns(bought=pl.lit(None, pl.Int64))
    assert reconcile_with_klines(turned, untold, COIN).agrees


def test_reconcile_many_lacking_minutes_names_twenty() -> None:
    ours = trades([60 * n for n in range(25)])
    told = reconcile_with_klines(ours.clear(), by_minute(ours), COIN).told()
    assert told["klines_minutes_differing"] == 25
    assert str(told["klines_lacking"]).startswith("00:00 00:01")
    assert str(told["klines_lacking"]).endswith("00:19 and 5 more")


def test_reconcile_wrong_schema_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match=r"X\.V: trades or klines are not of their schema"):
        reconcile_with_klines(trades([1]).drop("side"), by_minute(trades([1])), COIN)


def test_reconcile_real_trades_equal_the_venues_real_bars(market_data: Path) -> None:
    """Every full minute of Binance's own tape against Binance's own minute bars."""
    bars = pl.read_parquet(market_data / "bars" / "binance_spot_1m_tick_days" / "bars.parquet")
    day = datetime(2020, 11, 1, tzinfo=UTC).date()
    instrument = tapes.INSTRUMENTS["BTCUSDT"]
    rows = tapes.tape(market_data, "BTCUSDT", day)
    ours = pl.DataFrame(
        {
            "id": [t.id for t in rows],
            "ts_event": [t.ms * 1_000_000 for t in rows],
            "price": [int(Decimal(t.price).scaleb(instrument.price_scale)) for t in rows],
            "size": [int(Decimal(t.size).scaleb(instrument.size_scale)) for t in rows],
            "side": [-1 if t.buyer_maker else 1 for t in rows],
            "fills": [t.last - t.first + 1 for t in rows],
        }
    ).cast(TRADES)
    minutes = by_minute(ours)[1:-1]
    theirs = real_bars(bars, instrument).join(minutes.select("minute"), on="minute", how="semi")
    assert theirs.height == minutes.height
    assert theirs["size"].to_list() == minutes["size"].to_list()


def real_bars(bars: pl.DataFrame, instrument: Instrument) -> pl.DataFrame:
    at = next(name for name in bars.columns if bars.schema[name].is_temporal())
    one = bars.filter(pl.col("symbol") == instrument.symbol) if "symbol" in bars.columns else bars
    scale = 10**instrument.size_scale
    stamp = pl.col(at).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    return one.select(minute=stamp, size=(pl.col("volume") * scale).round().cast(pl.Int64)).sort(
        "minute"
    )


def test_reconcile_sources_counts_what_differs() -> None:
    left = trades([1, 2, 3, 4])
    right = left.filter(pl.col("id") != 0).with_columns(
        size=pl.when(pl.col("id") == 2).then(99).otherwise("size").cast(pl.Int64)
    )
    found = reconcile_sources(left, right)
    assert (found.only_left, found.only_right, found.differing, found.common) == (1, 0, 1, 3)
    assert not found.agrees
    assert reconcile_sources(left, left).agrees
    assert found.told() == {
        "rest_archive_common": 3,
        "rest_only": 1,
        "archive_only": 0,
        "rest_archive_differing": 1,
    }
