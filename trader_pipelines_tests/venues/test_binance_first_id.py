"""Where a live collector begins: the first id of a day that need not be over."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from trader_pipelines.core.errors import BadAnswerError, UnknownSymbolError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.venues import rest_exchange as rest

BASE = 1_000_000


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running_exchange([rest.MADE_UP], weight_limit=10**9) as running:
        yield running


def test_first_id_of_a_day_with_trades_takes_one_request(exchange: Running) -> None:
    exchange.tell("reset", limits=True, faults=[])
    assert rest.binance(exchange).first_id(rest.SYMBOL, rest.DAY) == BASE
    assert rest.Asked(exchange).of("binance.aggTrades") == 1


def test_first_id_of_a_day_without_a_trade_yet_is_the_next_one(exchange: Running) -> None:
    exchange.tell("reset", limits=True, faults=[])
    after = rest.DAY + timedelta(days=1)
    assert rest.binance(exchange).first_id(rest.SYMBOL, after) == BASE + 3_500
    assert rest.Asked(exchange).of("binance.aggTrades") == 2


def test_first_id_of_a_page_that_is_empty_against_the_latest_trade_is_not_believed(
    exchange: Running,
) -> None:
    fault = {"kind": "empty_page", "on": "binance.aggTrades", "times": 1}
    exchange.tell("reset", limits=True, faults=[fault])
    with pytest.raises(BadAnswerError) as told:
        rest.binance(exchange).first_id(rest.SYMBOL, rest.DAY)
    assert told.value.retry


def test_first_id_of_an_unknown_symbol_is_a_typed_error(exchange: Running) -> None:
    exchange.tell("reset", limits=True, faults=[])
    symbol = rest.SYMBOL
    nope = Instrument("binance", "NOPE", symbol.tick_size, symbol.lot_size, symbol.since)
    with pytest.raises(UnknownSymbolError):
        rest.binance(exchange).first_id(nope, rest.DAY)
