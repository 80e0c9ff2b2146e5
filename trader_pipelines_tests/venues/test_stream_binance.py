"""Binance's frames: exact trades, and everything else refused without an error."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.venues.stream_binance import BinanceFeed

FEED = BinanceFeed("ws://127.0.0.1:1/ws")
BTC = Instrument("binance", "BTCUSDT", Decimal("0.01"), Decimal("0.00001"), date(2017, 8, 17))
NOW = 1_770_000_000_123_456  # microseconds, 2026


def message(**told: Any) -> dict[str, Any]:
    return {
        "e": "aggTrade",
        "E": NOW + 5,
        "s": "BTCUSDT",
        "a": 10,
        "p": "65000.10000000",
        "q": "0.00123000",
        "f": 100,
        "l": 102,
        "T": NOW,
        "m": True,
        "M": True,
    } | told


def decoded(*messages: Any) -> Any:
    frames = [(7, each if isinstance(each, str) else json.dumps(each)) for each in messages]
    return FEED.decode(frames, {"BTCUSDT": BTC})


def row(*messages: Any) -> tuple[int, ...]:
    trades = decoded(*messages).prints["BTCUSDT"].trades
    return tuple(column.to_physical()[0] for column in trades.get_columns())


def test_url_asks_for_microseconds_as_rest_and_archive_have_them() -> None:
    assert FEED.url == "ws://127.0.0.1:1/ws?timeUnit=MICROSECOND"
    assert BinanceFeed("wss://host/ws?a=b").url == "wss://host/ws?a=b&timeUnit=MICROSECOND"


def test_decode_trade_is_exact() -> None:
    assert row(message()) == (10, NOW * 1_000, 6_500_010, 123, -1, 3)
    assert row(message(m=False))[4] == 1


def test_decode_stamp_of_milliseconds_or_before_2025_is_as_fine_as_the_archive() -> None:
    assert row(message(T=NOW // 1_000, E=NOW // 1_000))[1] == NOW // 1_000 * 1_000_000
    old = 1_704_153_600_123_456  # 2024: the archive has milliseconds
    assert row(message(T=old, E=old))[1] == old // 1_000 * 1_000_000


def test_decode_id_of_the_raw_space_is_doubtful() -> None:
    told = decoded(message(), message(a=100)).prints["BTCUSDT"]
    assert told.doubtful.tolist() == [False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        '{"e":"aggTrade","E":17',
        "null",
        "[]",
        "7",
        {"e": "serverShutdown", "E": NOW},
        message(s="ETHUSDT"),
        message(a="10"),
        message(a=-1),
        message(a=True),
        message(f=103),
        message(p="65000.101"),
        message(p="-1"),
        message(p="nan"),
        message(q="0.00000000"),
        message(q=0.00123),
        message(T=17),
        message(T=NOW / 10),
        message(m=1),
        message(a=[10]),
        message(s=["BTCUSDT"]),
        "[" * 100_000,
        message(T=NOW - 3 * 86_400 * 10**6),
        message(m="true"),
        {key: value for key, value in message().items() if key != "l"},
    ],
)
def test_decode_no_trade_is_refused_and_its_neighbours_are_kept(wrong: Any) -> None:
    told = decoded(message(), wrong, message(a=11, f=103, l=103))
    assert told.prints["BTCUSDT"].trades["id"].to_list() == [10, 11]
    assert len(told.refused) == 1
    assert told.fault is None


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_decode_any_text_is_never_a_trade_and_never_an_error(text: str) -> None:
    told = decoded(text, message())
    assert told.prints["BTCUSDT"].trades["id"].to_list() == [10]


def test_decode_answers_to_what_we_sent_are_no_trades_and_a_complaint_is_a_fault() -> None:
    told = decoded({"result": None, "id": 1}, {"result": ["btcusdt@aggTrade"], "id": 2})
    assert (told.prints, told.refused, told.fault) == ({}, (), None)
    fault = decoded({"error": {"code": 2, "msg": "Invalid request"}, "id": 1}).fault
    assert fault is not None
    assert "Invalid request" in str(fault)
    assert fault.retry
