"""Alpaca's endpoints and streams, asked and heard by the real alpaca-py."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import DataFeed
from alpaca.data.historical import (
    CryptoHistoricalDataClient,
    NewsClient,
    StockHistoricalDataClient,
)
from alpaca.data.live import CryptoDataStream, NewsDataStream, StockDataStream
from alpaca.data.requests import (
    CryptoBarsRequest,
    CryptoTradesRequest,
    NewsRequest,
    StockBarsRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import GetCalendarRequest

from trader_pipelines_tests.exchange import tapes
from trader_pipelines_tests.exchange.alpaca_rest import parse_time, stamps
from trader_pipelines_tests.exchange.formats import load
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.exchange_tests.conftest import KEYS

START, END = datetime(2013, 10, 7, tzinfo=UTC), datetime(2013, 10, 10, tzinfo=UTC)
HEADERS = {"APCA-API-KEY-ID": "test-key", "APCA-API-SECRET-KEY": "test-secret"}


@pytest.fixture(scope="module")
def alpaca(ibm_tape: Path, btc_tape: Path, news_file: Path) -> Iterator[Running]:
    tape_list = [ibm_tape, ibm_tape.with_name("AIG_trades_20131007_09.parquet")]
    with running_exchange(
        [*tape_list, f"crypto={btc_tape}"], news=news_file, request_limit=100_000
    ) as running:
        yield running


def stocks(running: Running, **keys: Any) -> StockHistoricalDataClient:
    return StockHistoricalDataClient(
        **(keys or KEYS), url_override=running.urls["alpaca"], raw_data=True
    )


def trades_of(running: Running, *symbols: str, **more: Any) -> dict[str, list[dict[str, Any]]]:
    asked = StockTradesRequest(
        symbol_or_symbols=list(symbols), start=START, end=END, feed=DataFeed.SIP, **more
    )
    return dict(stocks(running).get_stock_trades(asked))


def test_stock_trades_paged_equal_the_tape(alpaca: Running, ibm_tape: Path) -> None:
    (tape,) = load(str(ibm_tape))
    alpaca.tell("reset")
    rows = trades_of(alpaca, "IBM")["IBM"]
    assert [row["i"] for row in rows] == tape.number.tolist()
    assert [parse_time(row["t"]) for row in rows] == tape.ts.tolist()
    assert [round(row["p"] * 1e8) for row in rows] == tape.price.tolist()
    assert [row["s"] for row in rows] == tape.size.tolist()
    assert [row["x"] for row in rows] == [chr(place) for place in tape.place.tolist()]
    assert alpaca.ask("state")["requests"] == {"alpaca.stocks.trades": -(-len(tape) // 10_000)}


def test_stock_trades_of_two_symbols_come_symbol_by_symbol(alpaca: Running) -> None:
    both = trades_of(alpaca, "IBM", "AIG")
    assert {symbol: len(rows) for symbol, rows in both.items()} == {"AIG": 120_701, "IBM": 84_716}
    first = requests.get(
        f"{alpaca.urls['alpaca']}/v2/stocks/trades?symbols=IBM,AIG&start=2013-10-07&end=2013-10-10"
        "&limit=10000",
        headers=HEADERS,
        timeout=10,
    ).json()
    assert list(first["trades"]) == ["AIG"]
    assert first["next_page_token"]


def test_stock_trades_descending_are_the_same_backwards(alpaca: Running) -> None:
    rows = trades_of(alpaca, "IBM", sort="desc")["IBM"]
    assert [row["i"] for row in rows] == [row["i"] for row in trades_of(alpaca, "IBM")["IBM"]][::-1]


def test_stock_trades_exact_duplicates_are_kept(alpaca: Running) -> None:
    rows = trades_of(alpaca, "IBM")["IBM"]
    told = {(r["t"], r["p"], r["s"], r["x"]) for r in rows}
    assert len(rows) - len(told) > 1000


def test_stock_trades_of_an_unknown_symbol_are_none(alpaca: Running) -> None:
    assert trades_of(alpaca, "ZZZZ") == {}


def test_stock_bars_volume_is_that_of_the_tape(alpaca: Running, ibm_tape: Path) -> None:
    (tape,) = load(str(ibm_tape))
    asked = StockBarsRequest(
        symbol_or_symbols="IBM", timeframe=TimeFrame.Minute, start=START, end=END, feed=DataFeed.SIP
    )
    rows = dict(stocks(alpaca).get_stock_bars(asked))["IBM"]
    minutes = tape.ts // (60 * 10**9) * 60 * 10**9
    by_minute = (
        pl.DataFrame({"t": minutes, "v": tape.size}).group_by("t").agg(pl.sum("v"), n=pl.len())
    ).sort("t")
    assert [parse_time(row["t"]) for row in rows] == by_minute["t"].to_list()
    assert [row["v"] for row in rows] == by_minute["v"].to_list()
    assert [row["n"] for row in rows] == by_minute["n"].to_list()


def test_stock_day_bars_begin_at_midnight_in_new_york(alpaca: Running) -> None:
    asked = StockBarsRequest(
        symbol_or_symbols="IBM", timeframe=TimeFrame.Day, start=START, end=END, feed=DataFeed.SIP
    )
    rows = dict(stocks(alpaca).get_stock_bars(asked))["IBM"]
    assert [row["t"] for row in rows] == [f"2013-10-0{d}T04:00:00Z" for d in (7, 8, 9)]


def test_crypto_trades_without_keys_keep_ids_nanoseconds_and_side(
    alpaca: Running, btc_tape: Path
) -> None:
    (tape,) = load(f"crypto={btc_tape}")
    client = CryptoHistoricalDataClient(url_override=alpaca.urls["alpaca"], raw_data=True)
    asked = CryptoTradesRequest(
        symbol_or_symbols="BTC/USDT",
        start=datetime(2020, 11, 1, tzinfo=UTC),
        end=datetime(2020, 11, 2, tzinfo=UTC),
    )
    rows = dict(client.get_crypto_trades(asked))["BTC/USDT"]
    assert [row["i"] for row in rows] == tape.number.tolist()
    assert [parse_time(row["t"]) for row in rows] == tape.ts.tolist()
    assert [row["tks"] == "B" for row in rows] == (tape.side > 0).tolist()
    assert [round(row["s"] * 1e8) for row in rows] == tape.size.tolist()


def test_crypto_bars_volume_is_that_of_the_tape(alpaca: Running, btc_tape: Path) -> None:
    (tape,) = load(f"crypto={btc_tape}")
    client = CryptoHistoricalDataClient(url_override=alpaca.urls["alpaca"], raw_data=True)
    asked = CryptoBarsRequest(
        symbol_or_symbols="BTC/USDT",
        timeframe=TimeFrame.Hour,
        start=datetime(2020, 11, 1, tzinfo=UTC),
        end=datetime(2020, 11, 2, tzinfo=UTC),
    )
    rows = dict(client.get_crypto_bars(asked))["BTC/USDT"]
    assert sum(round(row["v"] * 1e8) for row in rows) == int(tape.size.sum())
    assert sum(row["n"] for row in rows) == len(tape)


def test_news_pages_by_symbol_latest_first(alpaca: Running, news_file: Path) -> None:
    import json

    items = json.loads(news_file.read_text())
    client: Any = NewsClient(**KEYS, url_override=alpaca.urls["alpaca"])
    asked = NewsRequest(
        start=datetime(2020, 1, 1, tzinfo=UTC), end=datetime(2026, 1, 1, tzinfo=UTC)
    )
    found = client.get_news(asked).data["news"]
    assert sorted(item.id for item in found) == sorted(item["id"] for item in items)
    assert [i.updated_at for i in found] == sorted((i.updated_at for i in found), reverse=True)
    tesla = NewsRequest(symbols="TSLA", start=asked.start, end=asked.end)
    assert {i.id for i in client.get_news(tesla).data["news"]} == {
        item["id"] for item in items if "TSLA" in item["symbols"]
    }


def test_calendar_has_holidays_and_half_days(alpaca: Running) -> None:
    client: Any = TradingClient(
        KEYS["api_key"], KEYS["secret_key"], url_override=alpaca.urls["alpaca"]
    )
    days = client.get_calendar(GetCalendarRequest(start=date(2013, 11, 25), end=date(2013, 12, 2)))
    told = [(day.date.isoformat(), day.close.hour) for day in days]
    assert told == [
        ("2013-11-25", 16),
        ("2013-11-26", 16),
        ("2013-11-27", 16),
        ("2013-11-29", 13),
        ("2013-12-02", 16),
    ]


@pytest.mark.parametrize(
    ("path", "keys", "status", "words"),
    [
        ("v2/stocks/trades?symbols=IBM", ("wrong", "wrong"), 403, "forbidden."),
        ("v2/calendar", ("wrong", "wrong"), 401, "unauthorized"),
        (
            "v2/stocks/trades?symbols=IBM&feed=sip",
            ("basic-key", "basic-secret"),
            403,
            "subscription does not permit querying recent SIP data",
        ),
        ("v2/stocks/trades?symbols=IBM&page_token=%21", None, 422, "invalid page_token"),
        ("v2/stocks/trades?symbols=IBM&limit=10001", None, 400, "invalid limit"),
        ("v2/stocks/trades?symbols=IBM&start=soon", None, 400, "invalid start"),
        ("v2/stocks/trades?symbols=IBM&feed=moon", None, 400, "invalid feed"),
        ("v2/stocks/trades?symbols=IBM&asof=moon", None, 400, "invalid asof"),
        ("v1beta3/crypto/us/trades?symbols=BTCUSDT", None, 400, "invalid symbol: BTCUSDT"),
    ],
)
def test_refusals_are_worded_as_recorded(
    alpaca: Running, path: str, keys: tuple[str, str] | None, status: int, words: str
) -> None:
    headers = dict(zip(HEADERS, keys, strict=True)) if keys else HEADERS
    answer = requests.get(f"{alpaca.urls['alpaca']}/{path}", headers=headers, timeout=10)
    assert answer.status_code == status
    assert answer.json()["message"].startswith(words)


def test_old_sip_data_needs_no_entitlement(alpaca: Running) -> None:
    client = stocks(alpaca, api_key="basic-key", secret_key="basic-secret")
    asked = StockTradesRequest(
        symbol_or_symbols="IBM", start=START, end=END, limit=5, feed=DataFeed.SIP
    )
    assert len(dict(client.get_stock_trades(asked))["IBM"]) == 5


def test_wrong_key_through_the_client_is_one_error(alpaca: Running) -> None:
    client = stocks(alpaca, api_key="no", secret_key="no")
    alpaca.tell("reset")
    with pytest.raises(APIError) as caught:
        client.get_stock_trades(StockTradesRequest(symbol_or_symbols="IBM", start=START, end=END))
    assert caught.value.status_code == 403
    assert alpaca.ask("state")["answers"] == {"403": 1}


def test_iex_feed_holds_only_that_exchange(ibm_tape: Path, tmp_path: Path) -> None:
    file = tmp_path / "MSFT.csv"
    file.write_text(
        "id,timestamp,price,size,exchange\n1,1381132800000,33.1,5,V\n2,1381132800001,33.2,6,P\n"
    )
    with running_exchange([f"alpaca={file}"]) as running:
        asked = StockTradesRequest(
            symbol_or_symbols="MSFT", start=START, end=END, feed=DataFeed.IEX
        )
        rows = dict(stocks(running).get_stock_trades(asked))["MSFT"]
    assert [(row["x"], row["p"]) for row in rows] == [("V", 33.1)]


def test_rate_limit_is_told_and_enforced(ibm_tape: Path) -> None:
    with running_exchange([ibm_tape], clock="2024-01-01T00:00:00", request_limit=2) as running:
        address = f"{running.urls['alpaca']}/v2/calendar?start=2013-10-07&end=2013-10-07"
        answers = [requests.get(address, headers=HEADERS, timeout=30) for _ in range(3)]
        assert [a.status_code for a in answers] == [200, 200, 429]
        assert [a.headers["X-RateLimit-Remaining"] for a in answers] == ["1", "0", "0"]
        assert answers[2].json() == {"message": "too many requests."}
        assert "Retry-After" not in answers[2].headers
        running.tell("clock", advance=60)
        assert requests.get(address, headers=HEADERS, timeout=30).status_code == 200


def test_cancelled_and_corrected_trades_carry_u_and_restate_the_bars(ibm_tape: Path) -> None:
    faults = [{"kind": "cancel", "ids": [0]}, {"kind": "correct", "ids": [4]}]
    with running_exchange([ibm_tape], faults) as running:
        rows = trades_of(running, "IBM")["IBM"]
        asked = StockBarsRequest(
            symbol_or_symbols="IBM",
            timeframe=TimeFrame.Day,
            start=START,
            end=END,
            feed=DataFeed.SIP,
        )
        day = dict(stocks(running).get_stock_bars(asked))["IBM"][0]
        assert [row.get("u") for row in rows[:5]] == [
            "canceled",
            None,
            "incorrect",
            "corrected",
            None,
        ]
        assert rows[3]["i"] == rows[2]["i"] + tapes.CORRECTION_OFFSET
        assert round(rows[3]["p"] - rows[2]["p"], 6) == 0.01
        (tape,) = load(str(ibm_tape))
        first_day = tape.ts < 1_381_204_800 * 10**9
        assert day["v"] == int(tape.size[first_day].sum()) - rows[0]["s"]
        assert day["n"] == int(first_day.sum()) - 1


def test_a_late_revision_by_control_is_seen_over_rest(ibm_tape: Path) -> None:
    with running_exchange([ibm_tape]) as running:
        before = trades_of(running, "IBM", limit=3)["IBM"]
        running.tell("revise", venue="alpaca", symbol="IBM", id=2, kind="cancel")
        after = trades_of(running, "IBM", limit=3)["IBM"]
    assert [row.get("u") for row in before] == [None, None, None]
    assert [row.get("u") for row in after] == [None, "canceled", None]


@contextmanager
def streaming(stream: Any) -> Iterator[None]:
    """Run a stream of alpaca-py in a thread of its own."""
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stream.stop()
        thread.join(15)
    assert not thread.is_alive()


def wait(enough: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not enough():
        assert time.monotonic() < deadline, "the stream is silent"
        time.sleep(0.02)


def test_stock_stream_tells_the_tape_in_msgpack(ibm_tape: Path) -> None:
    (tape,) = load(str(ibm_tape))
    seen: list[dict[str, Any]] = []

    async def keep(trade: Any) -> None:
        seen.append(trade)

    with running_exchange([ibm_tape], rate="manual") as running:
        stream = StockDataStream(
            **KEYS, raw_data=True, url_override=running.urls["alpaca_stocks_ws"]
        )
        stream.subscribe_trades(keep, "IBM")
        with streaming(stream):
            wait(lambda: running.ask("state")["connections"]["subscribed_symbols"] == 1)
            running.tell("replay", step=3000)
            wait(lambda: len(seen) >= 3000)
    assert [trade["i"] for trade in seen] == tape.number[:3000].tolist()
    assert [trade["t"].to_unix_nano() for trade in seen] == tape.ts[:3000].tolist()
    assert [round(trade["p"] * 1e8) for trade in seen] == tape.price[:3000].tolist()


def test_stock_stream_brings_cancellations_and_corrections(ibm_tape: Path) -> None:
    seen: dict[str, list[Any]] = {"trades": [], "cancels": [], "corrections": []}

    def keep(kind: str) -> Any:
        async def handler(message: Any) -> None:
            seen[kind].append(message)

        return handler

    faults = [{"kind": "cancel", "ids": [0]}, {"kind": "correct", "ids": [4]}]
    with running_exchange([ibm_tape], faults, rate="manual") as running:
        stream = StockDataStream(**KEYS, url_override=running.urls["alpaca_stocks_ws"])
        stream.subscribe_trades(keep("trades"), "IBM")
        stream.register_trade_cancels(keep("cancels"))
        stream.register_trade_corrections(keep("corrections"))
        with streaming(stream):
            wait(lambda: running.ask("state")["connections"]["subscribed_symbols"] == 1)
            running.tell("replay", step=50)
            wait(lambda: len(seen["trades"]) == 50 and bool(seen["corrections"]))
    (cancel,), (correction,) = seen["cancels"], seen["corrections"]
    first, third = seen["trades"][0], seen["trades"][2]
    assert (cancel.id, cancel.price, cancel.size) == (first.id, first.price, first.size)
    assert (correction.original_id, correction.original_price) == (third.id, third.price)
    assert round(correction.corrected_price - third.price, 6) == 0.01


def test_crypto_stream_tells_side_and_big_ids(btc_tape: Path) -> None:
    (tape,) = load(f"crypto={btc_tape}")
    seen: list[dict[str, Any]] = []

    async def keep(trade: Any) -> None:
        seen.append(trade)

    with running_exchange([f"crypto={btc_tape}"], rate="manual") as running:
        stream = CryptoDataStream(
            **KEYS, raw_data=True, url_override=running.urls["alpaca_crypto_ws"]
        )
        stream.subscribe_trades(keep, "*")
        with streaming(stream):
            wait(lambda: running.ask("state")["connections"]["subscribed_symbols"] == 1)
            running.tell("replay", step=100)
            wait(lambda: len(seen) == 100)
    assert [trade["i"] for trade in seen] == tape.number[:100].tolist()
    assert [trade["tks"] == "B" for trade in seen] == (tape.side[:100] > 0).tolist()


def test_news_stream_tells_every_item(alpaca: Running) -> None:
    seen: list[Any] = []

    async def keep(item: Any) -> None:
        seen.append(item.id)

    stream = NewsDataStream(**KEYS, url_override=alpaca.urls["alpaca_news_ws"])
    stream.subscribe_news(keep, "*")
    with streaming(stream):
        wait(lambda: len(seen) == 7)
    assert len(set(seen)) == 7


@pytest.mark.parametrize(
    ("key", "feed", "code"),
    [("wrong", "alpaca_stocks_ws", 402), ("basic-key", "alpaca_stocks_ws", 409)],
)
def test_stream_refuses_keys(alpaca: Running, key: str, feed: str, code: int) -> None:
    import aiohttp

    async def scenario() -> Any:
        async with aiohttp.ClientSession() as session, session.ws_connect(alpaca.urls[feed]) as ws:
            assert await ws.receive_json() == [{"T": "success", "msg": "connected"}]
            await ws.send_json({"action": "subscribe", "trades": ["IBM"]})
            assert (await ws.receive_json())[0]["code"] == 401
            await ws.send_json({"action": "auth", "key": key, "secret": "basic-secret"})
            return await ws.receive_json()

    assert asyncio.run(scenario())[0]["code"] == code


def test_stream_allows_one_connection_a_key(alpaca: Running) -> None:
    import aiohttp

    async def scenario() -> list[Any]:
        answers = []
        async with aiohttp.ClientSession() as session:
            sockets = [await session.ws_connect(alpaca.urls["alpaca_iex_ws"]) for _ in range(2)]
            for ws in sockets:
                await ws.receive_json()
                await ws.send_json({"action": "auth", "key": "basic-key", "secret": "basic-secret"})
                answers.append((await ws.receive_json())[0])
        return answers

    assert [a.get("code", a["msg"]) for a in asyncio.run(scenario())] == ["authenticated", 406]


def test_insufficient_subscription_ends_the_clients_loop(alpaca: Running) -> None:
    async def keep(_: Any) -> None:
        return

    stream = StockDataStream(
        "basic-key", "basic-secret", url_override=alpaca.urls["alpaca_stocks_ws"]
    )
    stream.subscribe_trades(keep, "IBM")
    asyncio.run(asyncio.wait_for(stream._run_forever(), 10))


@pytest.mark.parametrize(
    ("ns", "told"),
    [
        (1_381_132_800_000_000_000, "2013-10-07T08:00:00Z"),
        (1_381_132_800_464_000_997, "2013-10-07T08:00:00.464000997Z"),
        (1_381_132_800_500_000_000, "2013-10-07T08:00:00.5Z"),
    ],
)
def test_stamps_are_read_back_exactly(ns: int, told: str) -> None:
    assert stamps(np.array([ns], np.int64)) == [told]
    assert parse_time(told) == ns
