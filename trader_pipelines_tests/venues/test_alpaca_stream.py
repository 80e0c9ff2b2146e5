"""Alpaca's stream, frame by frame: exact numbers, revisions, what is refused, what is complained."""

from datetime import date
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines.core.errors import (
    ConnectionLimitError,
    EntitlementError,
    KeyRefusedError,
    TraderError,
    VenueUnreachableError,
)
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.venues.alpaca_rows import Row
from trader_pipelines.venues.stream_alpaca import AlpacaFeed, Heard, Revision

AAPL = Instrument("alpaca", "AAPL", Decimal("0.0001"), Decimal("0.0001"), date(2010, 1, 1))
BTC = Instrument("coins", "BTCUSD", Decimal("0.01"), Decimal("0.000000001"), date(2020, 1, 1))
NS = 1_711_645_140_114_612_043
TRADE: dict[str, Any] = {"T": "t", "S": "AAPL", "i": 4617, "x": "V", "p": 171.24, "s": 100}


def packed(*messages: Any) -> tuple[int, bytes]:
    stamped = [
        {**m, "t": msgpack.Timestamp.from_unix_nano(m["t"])}
        if isinstance(m, dict) and isinstance(m.get("t"), int)
        else m
        for m in messages
    ]
    return 7, msgpack.packb(stamped)


def heard(*frames: tuple[int, bytes]) -> Heard:
    return AlpacaFeed().decode(frames, {"AAPL": AAPL, "BTC/USD": BTC})


def test_decode_equity_trade_keeps_every_digit() -> None:
    told = heard(packed({**TRADE, "t": NS, "c": ["@"], "z": "C"}))
    assert told.rows == {"AAPL": [(Row(NS, "V", 4617, "", 1_712_400, 1_000_000, 0), 7)]}
    assert (told.refused, told.fault) == ([], None)


def test_decode_crypto_trade_has_side_big_id_and_fine_size() -> None:
    trade = {"T": "t", "S": "BTC/USD", "i": (1 << 61) + 7, "p": 64012.5, "s": 3e-08, "tks": "S"}
    told = heard(packed({**trade, "t": NS}))
    assert told.rows["BTCUSD"] == [(Row(NS, "", (1 << 61) + 7, "", 6_401_250, 30, -1), 7)]


@given(st.integers(1, 10**9), st.integers(1, 10**7))
def test_decode_any_price_of_the_grid_comes_back_exactly(price: int, size: int) -> None:
    trade = {**TRADE, "p": price / 10**4, "s": size / 10**4, "t": NS}
    ((row, _),) = heard(packed(trade)).rows["AAPL"]
    assert (row.price, row.size) == (price, size)


def test_decode_cancellation_and_correction_name_the_trade() -> None:
    cancel = {"T": "x", "S": "AAPL", "i": 5, "x": "V", "p": 1.0, "s": 1, "a": "C", "t": NS}
    correct = {"T": "c", "S": "AAPL", "x": "Q", "oi": 6, "ci": 9, "cp": 1.0, "cs": 1, "t": NS}
    told = heard(packed(cancel, correct))
    assert told.revisions == {"AAPL": [Revision(NS, "V", 5), Revision(NS, "Q", 6)]}
    assert not told.refused


def test_decode_control_messages_say_nothing() -> None:
    told = heard(packed({"T": "success", "msg": "x"}, {"T": "subscription"}, {"T": "s"}))
    assert told == Heard()


GOOD = {**TRADE, "t": NS}


@pytest.mark.parametrize(
    "message",
    [
        {**GOOD, "p": 0},
        {**GOOD, "p": -1.5},
        {**GOOD, "p": "171.24"},
        {**GOOD, "p": float("nan")},
        {**GOOD, "p": 171.24001},
        {**GOOD, "s": None},
        {**GOOD, "i": "4617"},
        {**GOOD, "i": True},
        {**GOOD, "t": "2024-03-28T16:59:00Z"},
        {**GOOD, "t": 12},
        {**GOOD, "S": "MSFT"},
        {**GOOD, "tks": "X"},
        {"S": "AAPL"},
        {"T": "q", "S": "AAPL"},
        {"T": "x", "S": "AAPL", "t": NS},
        7,
        None,
    ],
    ids=repr,
)
def test_decode_message_that_is_no_trade_is_refused_and_others_stay(message: Any) -> None:
    told = heard(packed(GOOD, message, {**GOOD, "i": 4618}))
    assert len(told.refused) == 1
    assert [row.number for row, _ in told.rows["AAPL"]] == [4617, 4618]


@pytest.mark.parametrize(
    "data", [b"", b"\x91", packed(GOOD)[1][:20], msgpack.packb({"T": "t"}), b"[]", b"\xc1"]
)
def test_decode_frame_that_is_none_is_refused_with_its_time(data: bytes) -> None:
    told = heard((11, data), packed(GOOD))
    assert [at for at, _ in told.refused] == [11]
    assert len(told.rows["AAPL"]) == 1


@pytest.mark.parametrize(
    ("said", "kind", "retry"),
    [
        ("auth failed", KeyRefusedError, False),
        ("not authenticated", KeyRefusedError, False),
        ("insufficient subscription", EntitlementError, False),
        ("symbol limit exceeded", EntitlementError, False),
        ("connection limit exceeded", ConnectionLimitError, True),
        ("slow client", VenueUnreachableError, True),
        ("internal error", VenueUnreachableError, True),
    ],
)
def test_decode_error_of_the_venue_is_typed(
    said: str, kind: type[TraderError], retry: bool
) -> None:
    fault = heard(packed({"T": "error", "code": 400, "msg": said})).fault
    assert type(fault) is kind
    assert fault is not None
    assert fault.retry is retry


def test_feed_repr_shows_neither_key_nor_secret() -> None:
    told = repr(AlpacaFeed("alpaca", "the-key", "the-secret"))
    assert "the-key" not in told
    assert "the-secret" not in told


@pytest.mark.parametrize(
    ("feed", "address"),
    [
        (AlpacaFeed(), "wss://stream.data.alpaca.markets/v2/sip"),
        (AlpacaFeed(feed="iex"), "wss://stream.data.alpaca.markets/v2/iex"),
        (AlpacaFeed(crypto=True), "wss://stream.data.alpaca.markets/v1beta3/crypto/us"),
    ],
)
def test_feed_addresses_are_alpacas(feed: AlpacaFeed, address: str) -> None:
    assert feed.address == address
