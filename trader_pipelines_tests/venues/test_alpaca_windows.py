"""Alpaca's windows, bars of many symbols, and whether a stored day still is what it says."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from trader_pipelines.core.errors import TraderError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.venues.alpaca_bars import Bar, same_vwap
from trader_pipelines.venues.alpaca_rows import Row, merged, settle
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.venues import alpaca_exchange as made
from trader_pipelines_tests.venues.rest_exchange import Asked

TRADES, BARS = "alpaca.stocks.trades", "alpaca.stocks.bars"
MINUTE = 60_000_000_000
BEGIN = 1_720_533_600_000_000_000
GRID = Decimal("0.01"), Decimal("0.0001")
STOCKS = [Instrument("alpaca", f"SYA{c}", *GRID, date(2010, 1, 1)) for c in "ABC"]


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    # Three symbols, 2,400 trades each within 40 minutes.
    tape = "alpaca=synthetic:3:3:2400:2024-07-09T14:00"
    with running_exchange([tape], request_limit=10**9) as running:
        yield running


@pytest.fixture
def asked(exchange: Running) -> Any:
    """Sets the exchange's faults and forgets what it counted."""

    def reset(*faults: dict[str, Any]) -> Asked:
        exchange.tell("reset", limits=True, replay=True, faults=list(faults))
        return Asked(exchange)

    reset()
    return reset


def stored(exchange: Running, stock: Instrument) -> pl.DataFrame:
    """The day as REST has it now."""
    return made.alpaca(exchange).fetch_day(stock, made.DAY).trades


def test_minute_bars_of_many_symbols_are_one_request(exchange: Running, asked: Any) -> None:
    wanted = {stock: stored(exchange, stock) for stock in STOCKS}
    counted = asked()
    bars = made.alpaca(exchange).minute_bars(STOCKS, BEGIN, BEGIN + 30 * MINUTE)
    assert counted.of(BARS) == 1
    for stock in STOCKS:
        assert list(bars[stock]) == [BEGIN + at * MINUTE for at in range(30)]
        first = wanted[stock].filter(pl.col("ts_event").dt.epoch("ns") < BEGIN + MINUTE)
        assert bars[stock][BEGIN][:2] == (first.height, first["size"].sum())


@pytest.mark.parametrize("kind", ["expired_token", "cut", "truncate", "status", "hang"])
def test_minute_bars_under_faults_are_the_same(exchange: Running, asked: Any, kind: str) -> None:
    venue = made.alpaca(exchange)
    wanted = venue.minute_bars(STOCKS, BEGIN, BEGIN + 40 * MINUTE)
    asked({"kind": kind, "on": BARS, "times": 2, "seconds": 0.01})
    assert venue.minute_bars(STOCKS, BEGIN, BEGIN + 40 * MINUTE) == wanted


def test_window_rows_and_bars_agree(exchange: Running, asked: Any) -> None:
    counted = asked()
    low, high = BEGIN + 5 * MINUTE, BEGIN + 7 * MINUTE
    window = made.alpaca(exchange).window(STOCKS[0], low, high, [])
    day = stored(exchange, STOCKS[0]).filter(
        pl.col("ts_event").dt.epoch("ns").is_between(low, high, closed="left")
    )
    assert settle(window.rows).trades.equals(day)
    assert window.agreed.agrees
    assert list(window.bars) == [low, low + MINUTE]
    assert (counted.of(TRADES), counted.of(BARS)) != (0, 0)


def test_window_page_that_lost_a_row_is_asked_again(exchange: Running, asked: Any) -> None:
    asked({"kind": "missing_rows", "on": TRADES, "times": 2})
    window = made.alpaca(exchange).window(STOCKS[0], BEGIN, BEGIN + 3 * MINUTE, [])
    assert window.agreed.agrees
    assert len(window.rows) == sum(bar.fills for bar in window.bars.values())


def test_window_after_a_failure_goes_on_with_the_pages_that_came(
    exchange: Running, asked: Any
) -> None:
    low, high = BEGIN, BEGIN + 40 * MINUTE
    kept: list[Row] = []
    # The third page and all tries for it fail.
    asked({"kind": "status", "on": TRADES, "at": list(range(3, 40))})
    with pytest.raises(TraderError) as caught:
        made.alpaca(exchange).window(STOCKS[0], low, high, kept)
    assert caught.value.retry
    assert len(kept) == 2 * made.PAGE
    counted = asked()
    window = made.alpaca(exchange).window(STOCKS[0], low, high, kept)
    assert len(window.rows) == 2_400
    assert counted.of(TRADES) == 1
    assert merged([window.rows]) == window.rows


def test_recheck_unchanged_day_is_one_request_and_false(exchange: Running, asked: Any) -> None:
    trades = stored(exchange, STOCKS[0])
    counted = asked()
    assert made.alpaca(exchange).recheck(STOCKS[0], made.DAY, trades) is False
    assert (counted.of(BARS), counted.of(TRADES)) == (1, 0)


@pytest.mark.parametrize("kind", ["cancel", "correct"])
def test_recheck_day_revised_afterwards_is_true(exchange: Running, asked: Any, kind: str) -> None:
    trades = stored(exchange, STOCKS[0])
    asked({"kind": kind, "ids": [1000], "symbol": "SYAA"})
    venue = made.alpaca(exchange)
    assert venue.recheck(STOCKS[0], made.DAY, trades) is True
    assert venue.recheck(STOCKS[0], made.DAY, stored(exchange, STOCKS[0])) is False
    assert venue.recheck(STOCKS[1], made.DAY, stored(exchange, STOCKS[1])) is False


@pytest.mark.parametrize("gone", [slice(1, None), slice(0, -1), slice(0, 0)])
def test_recheck_day_that_lacks_trades_is_true(exchange: Running, asked: Any, gone: slice) -> None:
    asked()
    trades = stored(exchange, STOCKS[0])[gone]
    assert made.alpaca(exchange).recheck(STOCKS[0], made.DAY, trades) is True


def test_recheck_day_with_a_trade_that_the_venue_lacks_is_true(
    exchange: Running, asked: Any
) -> None:
    asked()
    trades = stored(exchange, STOCKS[0])
    late = trades[-1:].with_columns(pl.col("id") + 1, pl.col("ts_event").dt.offset_by("1h"))
    assert made.alpaca(exchange).recheck(STOCKS[0], made.DAY, pl.concat([trades, late])) is True


def test_bar_without_average_price_is_compared_by_count_and_size() -> None:
    assert same_vwap(Bar(1, 10, ""), 123, STOCKS[0])
    assert same_vwap(Bar(1, 10, "1.23"), 1230, STOCKS[0])
    assert not same_vwap(Bar(1, 10, "1.24"), 1230, STOCKS[0])
