"""Minute bars equal the venue's own, and disagreement with the trades is named."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.bars import NS_PER_MINUTE, bar_schema, minute_bars, reconcile
from trader_pipelines.core.certificates import missing_ranges
from trader_pipelines.core.errors import BadTradeError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines_tests.core.made_bars import (
    an_instrument,
    at,
    random_trades,
    tape,
    trades_of,
)

QUANTITIES = ("volume", "buy_volume", "sell_volume", "notional", "trades", "prints")


def test_minute_bars_by_hand_are_exact():
    trades = trades_of(
        (1, 60.0, 10_000, 500, 1, 1),
        (2, 61.5, 10_010, 250, -1, 3),
        (3, 119.999, 9_990, 250, 0, 1),
        (4, 120.0, 9_995, 1_000, 1, 2),
    )
    bars = minute_bars(trades, an_instrument())
    assert bars.schema == bar_schema(an_instrument())
    assert bars["ts_open"].to_list() == [at(0, 1), at(0, 2)]
    assert bars["ts_close"].to_list() == [at(0, 2), at(0, 3)]
    assert bars["open"].to_list() == [10_000, 9_995]
    assert bars["high"].to_list() == [10_010, 9_995]
    assert bars["low"].to_list() == [9_990, 9_995]
    assert bars["close"].to_list() == [9_990, 9_995]
    assert bars["volume"].to_list() == [1_000, 1_000]
    assert bars["buy_volume"].to_list() == [500, 1_000]
    assert bars["sell_volume"].to_list() == [250, 0]
    # 100.00 * 0.5 + 100.10 * 0.25 + 99.90 * 0.25 = 100 and 99.95 * 1
    assert [str(value) for value in bars["notional"]] == ["100.00000", "99.95000"]
    assert bars["vwap"].to_list() == [100.0, 99.95]
    assert bars["trades"].to_list() == [5, 2]
    assert bars["prints"].to_list() == [3, 1]


def test_minute_bars_without_trades_are_an_empty_frame_of_the_schema():
    bars = minute_bars(trades_of(), an_instrument())
    assert bars.height == 0
    assert bars.schema == bar_schema(an_instrument())


def test_minute_bars_quiet_minutes_between_trades_repeat_the_close_and_nothing_is_added_outside():
    trades = trades_of(
        (1, 190.0, 10_000, 5, 1, 1), (2, 195.0, 10_300, 5, 1, 1), (3, 400.0, 9, 1, 1, 1)
    )
    bars = minute_bars(trades, an_instrument())
    assert bars["ts_open"].to_list() == [at(0, 3), at(0, 4), at(0, 5), at(0, 6)]
    filled = bars[1:3]
    for name in ("open", "high", "low", "close"):
        assert filled[name].to_list() == [10_300, 10_300]
    assert filled["vwap"].to_list() == [103.0, 103.0]
    for name in QUANTITIES:
        assert [int(value) for value in filled[name]] == [0, 0]


def test_minute_bars_stamps_stepping_back_take_first_and_last_price_by_id():
    trades = trades_of((1, 5.0, 300, 1, 1, 1), (2, 4.0, 200, 1, 1, 1), (3, 4.5, 100, 1, 1, 1))
    bars = minute_bars(trades, an_instrument())
    assert bars.select("open", "close").rows() == [(300, 100)]
    assert minute_bars(trades.reverse(), an_instrument()).equals(bars)


def test_minute_bars_a_late_stamp_of_an_earlier_minute_keeps_the_grid_ascending():
    trades = trades_of((1, 61.0, 300, 1, 1, 1), (2, 59.0, 200, 1, 1, 1))
    bars = minute_bars(trades, an_instrument())
    assert bars["ts_open"].to_list() == [at(0, 0), at(0, 1)]
    assert bars["close"].to_list() == [200, 300]


def test_minute_bars_notional_beyond_64_bits_is_exact():
    price, size = 4_000_000_000_000_000_003, 1_000_000_000_000_000_007
    trades = trades_of((1, 0.0, price, size, 1, 1), (2, 1.0, price, size, -1, 1))
    bars = minute_bars(trades, an_instrument())
    assert Fraction(bars["notional"][0]) * 10**5 == 2 * price * size
    assert reconcile(bars, trades) == []


def test_minute_bars_of_a_block_of_five_million_shares_at_five_thousand_dollars_are_exact():
    # Six decimals of price and of size, as the consolidated tape may have them.
    fine = an_instrument(tick="0.000001", lot="0.000001")
    price, size = 5_000_000_001, 5_000_000_000_001
    trades = trades_of((1, 0.0, price, size, 1, 1), (2, 1.0, price + 1, size, -1, 1))
    bars = minute_bars(trades, fine)
    assert price * size > 2**63
    assert Fraction(bars["notional"][0]) * 10**12 == price * size + (price + 1) * size
    assert bars["volume"].to_list() == [2 * size]
    assert bars["vwap"].to_list() == [5000.0000015]
    assert reconcile(bars, trades) == []


def test_minute_bars_of_the_most_that_can_be_kept_are_exact_and_one_lot_more_is_refused():
    price, size = 2**63 - 1, 2**62
    rows = [(1, 0.0, price, size, 1, 1), (2, 1.0, price, size - 1, -1, 1)]
    trades = trades_of(*rows)
    bars = minute_bars(trades, an_instrument())
    assert bars["volume"].to_list() == [2**63 - 1]
    assert Fraction(bars["notional"][0]) * 10**5 == price * (2**63 - 1)
    assert reconcile(bars, trades) == []
    with pytest.raises(BadTradeError, match=f"2 trades add up to {2**63} lots of 0.001"):
        minute_bars(trades_of(rows[0], (2, 1.0, price, size, -1, 1)), an_instrument())


@settings(deadline=None)
@given(random_trades(top=10**12))
def test_minute_bars_of_random_trades_equal_a_plain_loop(trades: pl.DataFrame):
    bars = minute_bars(trades, an_instrument())
    rows = [dict(zip(bars.columns, row, strict=True)) for row in bars.rows()]
    assert [_as_integers(row) for row in rows] == _plain_loop(trades)
    assert reconcile(bars, trades) == []


@settings(deadline=None)
@given(random_trades(top=10**12))
def test_minute_bars_vwap_is_the_nearest_float_within_the_range(trades: pl.DataFrame):
    for low, high, vwap, notional, volume, close in (
        minute_bars(trades, an_instrument())
        .select("low", "high", "vwap", "notional", "volume", "close")
        .rows()
    ):
        assert low / 100 <= vwap <= high / 100
        exact = Fraction(notional) * 1000 / volume if volume else Fraction(close, 100)
        assert abs(Fraction(vwap) - exact) <= exact * Fraction(1, 10**15)


def test_minute_bars_vwap_of_a_single_price_is_that_price_to_the_last_bit():
    rng = np.random.default_rng(1)
    prices, sizes = (rng.integers(10**7, 10**12, 500).tolist() for _ in range(2))
    rows = ((i, i * 60.0, prices[i], sizes[i], 1, 1) for i in range(500))
    bars = minute_bars(trades_of(*rows), an_instrument())
    assert bars["vwap"].to_list() == [price / 100 for price in prices]


@pytest.mark.parametrize(
    ("symbol", "lot", "minutes"),
    [("BTCUSDT", "0.000001", 60), ("ETHUSDT", "0.00001", 59)],
)
def test_minute_bars_of_the_2020_11_01_tape_equal_the_venues_own(
    market_data: Path, symbol: str, lot: str, minutes: int
):
    instrument = an_instrument(lot=lot)
    trades = tape(market_data, symbol, instrument)
    bars = minute_bars(trades, instrument)
    assert missing_ranges(trades["id"].to_numpy()) == ()
    venue = (
        pl.read_parquet(market_data / "bars/binance_spot_1m_tick_days/bars.parquet")
        .filter(pl.col("symbol") == symbol)
        .select(
            pl.col("ts").cast(pl.Datetime("ns", "UTC")).alias("ts_open"),
            (pl.col("open", "high", "low", "close") * 10**instrument.price_scale)
            .round()
            .cast(pl.Int64),
            (pl.col("volume") * 10**instrument.size_scale).round().cast(pl.Int64),
        )
    )
    full = _full_minutes(trades, bars)
    assert full.height >= minutes
    assert full.select(venue.columns).equals(
        venue.join(full.select("ts_open"), on="ts_open", how="semi")
    )
    assert reconcile(bars, trades) == []


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "vwap", *QUANTITIES])
@pytest.mark.parametrize("row", [0, 1, 3])
def test_reconcile_one_wrong_value_is_named(column: str, row: int):
    trades = trades_of(
        (1, 1.0, 10_000, 500, 1, 1),
        (2, 2.0, 10_020, 500, -1, 1),
        (3, 3.0, 9_990, 500, 1, 1),
        (4, 61.0, 10_010, 300, -1, 2),
        (5, 62.0, 10_015, 200, 1, 2),
        (6, 185.0, 10_015, 200, 1, 2),
    )
    bars = minute_bars(trades, an_instrument())
    assert reconcile(bars, trades) == []
    changed = pl.when(pl.int_range(pl.len()) == row).then(pl.col(column) + 1).otherwise(column)
    wrong = bars.with_columns(changed.cast(bars.schema[column]).alias(column))
    assert reconcile(wrong, trades) == [column]


def test_reconcile_two_bars_swapped_are_named_though_the_totals_agree():
    trades = trades_of((1, 1.0, 100, 5, 1, 1), (2, 61.0, 100, 7, 1, 1), (3, 121.0, 100, 5, 1, 1))
    bars = minute_bars(trades, an_instrument())
    swapped = bars.with_columns(volume=pl.Series([7, 5, 5]))
    assert reconcile(swapped, trades) == ["volume"]


def test_reconcile_a_trade_lost_from_the_middle_is_noticed():
    trades = trades_of((1, 1.0, 100, 5, 1, 2), (2, 2.0, 100, 7, -1, 1), (3, 61.0, 100, 5, 1, 1))
    bars = minute_bars(trades, an_instrument())
    assert reconcile(bars, trades.filter(pl.col("id") != 2)) == [
        "volume",
        "sell_volume",
        "notional",
        "trades",
        "prints",
    ]


@pytest.mark.parametrize("rows", [[0, 2], [1, 0, 2], [0, 1], [1, 2], [0, 1, 1, 2], []])
def test_reconcile_a_grid_that_is_not_the_trades_minutes_is_named(rows: list[int]):
    trades = trades_of((1, 1.0, 100, 5, 1, 1), (2, 121.0, 100, 7, 1, 1))
    bars = minute_bars(trades, an_instrument())
    assert reconcile(bars[rows], trades) == ["ts_open"]


def test_reconcile_bars_of_no_trades_are_named():
    trades = trades_of((1, 1.0, 100, 5, 1, 1))
    bars = minute_bars(trades, an_instrument())
    assert reconcile(bars, trades.clear()) == ["ts_open"]
    assert reconcile(bars.clear(), trades.clear()) == []


@settings(deadline=None)
@given(st.sampled_from(["0.01", "1", "0.00000001", "0.05"]), st.sampled_from(["0.001", "1"]))
def test_bar_schema_notional_keeps_every_digit_of_the_grid(tick: str, lot: str):
    instrument = an_instrument(tick, lot)
    trades = trades_of((1, 0.0, 3, 7, 1, 1))
    notional = minute_bars(trades, instrument)["notional"][0]
    assert notional == 21 * instrument_unit(instrument)


def instrument_unit(instrument: Instrument) -> Fraction:
    return Fraction(1, 10 ** (instrument.price_scale + instrument.size_scale))


def _as_integers(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: row[name] for name in row if name not in {"vwap", "ts_close", "notional"}}
    return {**kept, "notional": Fraction(row["notional"]) * 10**5}


def _plain_loop(trades: pl.DataFrame) -> list[dict[str, Any]]:
    by_minute: dict[int, list[dict[str, int]]] = {}
    for trade in trades.with_columns(pl.col("ts_event").to_physical()).to_dicts():
        by_minute.setdefault(trade["ts_event"] // NS_PER_MINUTE, []).append(trade)
    rows: list[dict[str, Any]] = []
    for minute in range(min(by_minute), max(by_minute) + 1) if by_minute else []:
        inside = by_minute.get(minute, [])
        prices = [trade["price"] for trade in inside] or [rows[-1]["close"]]
        rows.append(
            {
                "ts_open": pl.Series([minute * NS_PER_MINUTE])
                .cast(pl.Datetime("ns", "UTC"))
                .item(),
                "open": prices[0],
                "high": max(prices),
                "low": min(prices),
                "close": prices[-1],
                "volume": sum(trade["size"] for trade in inside),
                "buy_volume": sum(t["size"] for t in inside if t["side"] == 1),
                "sell_volume": sum(t["size"] for t in inside if t["side"] == -1),
                "trades": sum(trade["fills"] for trade in inside),
                "prints": len(inside),
                "notional": sum(trade["price"] * trade["size"] for trade in inside),
            }
        )
    return rows


def _full_minutes(trades: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    # The recorder was cut by the hour: a tape that begins or ends within 0.1 s of a full minute has
    # all of it, as the venue's own bars confirm; one that begins 2.5 s into it has not.
    slack = pl.duration(milliseconds=100)
    first, last = trades["ts_event"][0], trades["ts_event"][-1]
    return bars.filter(pl.col("ts_open") >= first - slack, pl.col("ts_close") <= last + slack)
