"""Dollar bars equal the sequential definition, also where totals exceed 64 bits."""

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.dollar_bars import (
    closing_trades,
    dollar_bar_schema,
    dollar_bars,
    threshold,
)
from trader_pipelines_tests.core.made_bars import an_instrument, at, random_trades, tape, trades_of


def sequential(notional: list[int], least: int) -> list[int]:
    """The definition, one trade after the other: rows that close a bar."""
    rows, total = [], 0
    for row, value in enumerate(notional):
        total += value
        if total >= least:
            rows.append(row)
            total = 0
    return rows


def running(notional: list[int]) -> pl.Series:
    return pl.Series(notional, dtype=pl.Int128).cum_sum()


def test_dollar_bars_by_hand_close_with_the_trade_that_reaches_the_threshold():
    # Prices in cents, sizes in thousandths: 10 dollars, 15, 5, 40, 1.
    trades = trades_of(
        (1, 1.0, 1_000, 1_000, 1, 1),
        (2, 2.0, 1_500, 1_000, -1, 2),
        (3, 70.0, 500, 1_000, 1, 1),
        (4, 71.0, 2_000, 2_000, -1, 1),
        (5, 72.0, 100, 1_000, 0, 3),
    )
    bars = dollar_bars(trades, an_instrument(dollar_bar="20"))
    assert bars.schema == dollar_bar_schema(an_instrument())
    # 10 + 15 closes; its 5 too many are not carried, or 5 + 5 + 40 would have closed earlier.
    assert bars["prints"].to_list() == [2, 2, 1]
    assert bars["complete"].to_list() == [True, True, False]
    assert bars["ts_open"].to_list() == [at(0, 0, 1), at(0, 1, 10), at(0, 1, 12)]
    assert bars["ts_close"].to_list() == [at(0, 0, 2), at(0, 1, 11), at(0, 1, 12)]
    assert bars.select("open", "high", "low", "close").rows() == [
        (1_000, 1_500, 1_000, 1_500),
        (500, 2_000, 500, 2_000),
        (100, 100, 100, 100),
    ]
    assert bars.select("volume", "buy_volume", "sell_volume").rows() == [
        (2_000, 1_000, 1_000),
        (3_000, 1_000, 2_000),
        (1_000, 0, 0),
    ]
    assert bars["notional"].to_list() == [Decimal(25), Decimal(45), Decimal(1)]
    assert bars["vwap"].to_list() == [12.5, 15.0, 1.0]
    assert bars["trades"].to_list() == [3, 2, 3]


def test_dollar_bars_a_day_that_ends_on_the_threshold_has_no_unfinished_bar():
    trades = trades_of((1, 1.0, 1_000, 1_000, 1, 1), (2, 2.0, 1_000, 1_000, 1, 1))
    bars = dollar_bars(trades, an_instrument(dollar_bar="20"))
    assert bars.select("prints", "complete").rows() == [(2, True)]


def test_dollar_bars_a_day_below_the_threshold_is_one_unfinished_bar():
    trades = trades_of((1, 1.0, 1_000, 1_000, 1, 1), (2, 2.0, 1_000, 1_000, 1, 1))
    bars = dollar_bars(trades, an_instrument(dollar_bar="20.000001"))
    assert bars.select("prints", "complete").rows() == [(2, False)]


def test_dollar_bars_without_trades_are_an_empty_frame_of_the_schema():
    bars = dollar_bars(trades_of(), an_instrument())
    assert bars.height == 0
    assert bars.schema == dollar_bar_schema(an_instrument())


def test_dollar_bars_rows_out_of_order_go_by_id():
    trades = trades_of(*((i, i, 1_000 + i, 1_000, 1, 1) for i in range(1, 40)))
    instrument = an_instrument(dollar_bar="55")
    assert dollar_bars(trades.reverse(), instrument).equals(dollar_bars(trades, instrument))


@pytest.mark.parametrize(
    ("dollar_bar", "scaled"),
    [("1000000", 10**11), ("0.000001", 1), ("0.000011", 2), ("0.00001", 1), ("0", 1)],
)
def test_threshold_is_the_least_integer_that_reaches_it(dollar_bar: str, scaled: int):
    assert threshold(an_instrument(dollar_bar=dollar_bar)) == scaled


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=80), st.integers(1, 120))
def test_closing_trades_small_equal_the_sequential_definition(notional: list[int], least: int):
    assert closing_trades(running(notional), least) == sequential(notional, least)


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.integers(1, 2**64), st.integers(1, 9), st.integers(2**60, 2**63)),
        min_size=1,
        max_size=60,
    ),
    st.one_of(st.integers(1, 2**66), st.integers(2**62 - 2, 2**62 + 2), st.integers(1, 2**20)),
)
def test_closing_trades_beyond_64_bits_equal_the_sequential_definition(
    notional: list[int], least: int
):
    assert closing_trades(running(notional), least) == sequential(notional, least)


def test_dollar_bars_of_blocks_of_five_million_shares_at_five_thousand_dollars_are_exact():
    fine = an_instrument(tick="0.000001", lot="0.000001", dollar_bar="50000000")
    price, size = 5_000_000_001, 5_000_000_000_001
    rows = [(2 * n, n * 1.0, price + n, size, 1, 1) for n in range(4)]
    rows += [(2 * n + 1, n + 0.5, price, 1_000_000 * n, -1, 1) for n in range(1, 4)]
    bars = dollar_bars(trades_of(*sorted(rows)), fine)
    # Each block is a bar; some dollars between them are not.
    assert bars["prints"].to_list() == [1, 1, 2, 2, 1]
    assert bars["complete"].to_list() == [True, True, True, True, False]
    exact = [row[2] * row[3] for row in sorted(rows)]
    kept = [exact[0], exact[1], exact[2] + exact[3], exact[4] + exact[5], exact[6]]
    assert [int(value.scaleb(12)) for value in bars["notional"]] == kept
    assert min(kept[:-1]) > 2**63


def test_closing_trades_are_not_a_running_total_cut_at_multiples():
    notional = [7] * 12
    assert sequential(notional, 10) == [1, 3, 5, 7, 9, 11]
    assert closing_trades(running(notional), 10) == [1, 3, 5, 7, 9, 11]
    multiples = [total // 10 for total in running(notional)]
    assert multiples[-1] == 8


@settings(deadline=None)
@given(random_trades(), st.integers(1, 10**8))
def test_dollar_bars_hold_every_trade_once_and_only_the_last_is_unfinished(
    trades: pl.DataFrame, dollars: int
):
    instrument = an_instrument(dollar_bar=str(dollars))
    bars = dollar_bars(trades, instrument)
    sizes = trades.select(
        volume=pl.col("size").sum(),
        buy_volume=pl.col("size").filter(pl.col("side") == 1).sum(),
        sell_volume=pl.col("size").filter(pl.col("side") == -1).sum(),
        trades=pl.col("fills").cast(pl.Int64).sum(),
        prints=pl.len().cast(pl.Int64),
    )
    assert bars.select(pl.col(sizes.columns).sum()).equals(sizes)
    assert bars["complete"][:-1].all()
    assert (bars.filter("complete")["notional"] >= dollars).all()
    assert (bars.filter(~pl.col("complete"))["notional"] < dollars).all()


@pytest.mark.parametrize(("symbol", "lot"), [("BTCUSDT", "0.000001"), ("ETHUSDT", "0.00001")])
def test_dollar_bars_of_the_2020_11_01_tape_equal_the_sequential_definition(
    market_data: Path, symbol: str, lot: str
):
    instrument = an_instrument(lot=lot, dollar_bar="100000")
    trades = tape(market_data, symbol, instrument)
    notional = [price * size for price, size in trades.select("price", "size").rows()]
    closing = sequential(notional, threshold(instrument))
    bars = dollar_bars(trades, instrument)
    complete = bars.filter("complete")
    assert complete.height == len(closing) > 30
    assert complete["ts_close"].equals(trades["ts_event"][closing], check_names=False)
    assert complete["close"].equals(trades["price"][closing], check_names=False)
    starts = [0, *(row + 1 for row in closing)][: bars.height]
    assert bars["ts_open"].equals(trades["ts_event"][starts], check_names=False)
    assert bars["open"].equals(trades["price"][starts], check_names=False)
