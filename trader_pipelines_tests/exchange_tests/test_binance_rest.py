"""Binance's REST endpoints, asked by the real ccxt."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import ccxt
import polars as pl
import pytest
import requests

from trader_pipelines_tests.exchange.formats import load
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.exchange.tapes import Tape, text
from trader_pipelines_tests.exchange_tests.conftest import spot


def by_id(client: Any, symbol: str, first: int, method: str, key: str) -> list[dict[str, Any]]:
    """Page by id, as the venue intends it."""
    rows: list[dict[str, Any]] = []
    while True:
        params = {"fromId": first, "fetchTradesMethod": method}
        page = [t["info"] for t in client.fetch_trades(symbol, limit=1000, params=params)]
        rows += page
        if len(page) < 1000:
            return rows
        first = int(page[-1][key]) + 1


def test_agg_trades_paged_by_id_equal_the_tape(client: Any, btc_tape: Path) -> None:
    (tape,) = load(str(btc_tape))
    rows = by_id(client, "BTC/USDT", int(tape.id[0]), "publicGetAggTrades", "a")
    assert [int(row["a"]) for row in rows] == tape.id.tolist()
    assert [row["p"] for row in rows] == [text(p, 8) for p in tape.price.tolist()]
    assert [row["q"] for row in rows] == [text(q, 8) for q in tape.size.tolist()]
    assert [int(row["T"]) for row in rows] == (tape.ts // 10**6).tolist()
    assert [row["m"] for row in rows] == (tape.side < 0).tolist()


def test_historical_trades_paged_by_id_are_the_fills_of_the_tape(
    client: Any, eth_tape: Path
) -> None:
    (tape,) = load(str(eth_tape))
    client.apiKey = "any"  # ccxt wants one here, the venue does not
    rows = by_id(client, "ETH/USDT", int(tape.first[0]), "publicGetHistoricalTrades", "id")
    assert [int(row["id"]) for row in rows] == list(range(tape.first[0], tape.last[-1] + 1))
    sold = sum(int(row["qty"].replace(".", "")) for row in rows)
    assert sold == int(tape.size.sum())
    assert not {int(row["id"]) for row in rows} & set(tape.id.tolist())


def test_recent_trades_are_the_last_ones(client: Any, btc_tape: Path) -> None:
    (tape,) = load(str(btc_tape))
    trades = client.fetch_trades(
        "BTC/USDT", limit=7, params={"fetchTradesMethod": "publicGetTrades"}
    )
    last = int(tape.last[-1])
    assert [int(t["id"]) for t in trades] == list(range(last - 6, last + 1))


def test_agg_trades_without_parameters_are_the_last_ones(client: Any, btc_tape: Path) -> None:
    (tape,) = load(str(btc_tape))
    assert [int(t["id"]) for t in client.fetch_trades("BTC/USDT")] == tape.id[-500:].tolist()


def test_agg_trades_by_time_more_than_an_hour_begin_at_the_start(
    client: Any, btc_tape: Path
) -> None:
    (tape,) = load(str(btc_tape))
    start = int(tape.ts[0]) // 10**6 - 86_400_000
    page = client.publicGetAggTrades(
        {"symbol": "BTCUSDT", "startTime": start, "endTime": start + 2 * 86_400_000, "limit": 3}
    )
    assert [int(row["a"]) for row in page] == tape.id[:3].tolist()


def test_agg_trades_since_in_an_empty_hour_are_none(client: Any) -> None:
    assert client.fetch_trades("BTC/USDT", since=1_604_000_000_000) == []


@pytest.mark.parametrize(
    ("params", "error", "code"),
    [
        ({"symbol": "BTCUSDT", "fromId": 1, "startTime": 1}, ccxt.BadRequest, "-1128"),
        ({"symbol": "NOPEUSDT"}, ccxt.BadSymbol, "-1121"),
        ({"symbol": "btc usdt"}, ccxt.BadRequest, "-1100"),
        ({}, ccxt.BadRequest, "-1102"),
        ({"symbol": "BTCUSDT", "since": 1}, ccxt.BadRequest, "-1104"),
    ],
)
def test_agg_trades_bad_parameters_are_refused(
    client: Any, params: dict[str, Any], error: type[Exception], code: str
) -> None:
    with pytest.raises(error, match=code):
        client.publicGetAggTrades(params)


def test_klines_equal_the_venues_own_bars(client: Any, market_data: Path, btc_tape: Path) -> None:
    bars = pl.read_parquet(market_data / "bars/binance_spot_1m_tick_days/bars.parquet")
    own = bars.filter(pl.col("symbol") == "BTCUSDT").sort("ts")
    candles = client.fetch_ohlcv("BTC/USDT", "1m", limit=1000)
    full = candles[1:-1]  # the recording begins and ends inside a minute
    theirs = own.filter(pl.col("ts").dt.timestamp("ms").is_in([c[0] for c in full]))
    assert len(full) == theirs.height == 58
    for name, column in (("open", 1), ("high", 2), ("low", 3), ("close", 4)):
        assert [c[column] for c in full] == theirs[name].to_list()
    assert [round(c[5], 8) for c in full] == [round(v, 8) for v in theirs["volume"].to_list()]


def test_klines_count_and_taker_volume_are_those_of_the_tape(client: Any, btc_tape: Path) -> None:
    (tape,) = load(str(btc_tape))
    rows = client.publicGetKlines({"symbol": "BTCUSDT", "interval": "1m", "limit": 1000})
    assert sum(int(row[8]) for row in rows) == int((tape.last - tape.first + 1).sum())
    taker = sum(int(row[9].replace(".", "")) for row in rows)
    assert taker == int(tape.size[tape.side > 0].sum())


def test_exchange_info_loads_with_the_tapes_steps(client: Any) -> None:
    markets = client.load_markets()
    assert sorted(markets) == ["BTC/USDT", "ETH/USDT"]
    assert markets["BTC/USDT"]["precision"]["price"] == 0.01
    assert markets["BTC/USDT"]["precision"]["amount"] == 1e-06
    assert markets["BTC/USDT"]["active"]


def test_time_and_ping_answer(client: Any) -> None:
    assert client.publicGetPing() == {}
    assert abs(client.fetch_time() - client.milliseconds()) < 5_000


def test_microseconds_by_header_are_given(binance: Running) -> None:
    told = requests.get(
        f"{binance.urls['binance_rest']}/aggTrades?symbol=BTCUSDT&limit=1",
        headers={"X-MBX-TIME-UNIT": "MICROSECOND"},
        timeout=10,
    ).json()
    assert 10**15 < told[0]["T"] < 10**16


@pytest.mark.parametrize(
    ("endpoint", "query", "weight"),
    [
        ("ping", "", 1),
        ("exchangeInfo", "", 20),
        ("aggTrades", "symbol=BTCUSDT", 4),
        ("trades", "symbol=BTCUSDT", 25),
        ("historicalTrades", "symbol=BTCUSDT", 25),
        ("klines", "symbol=BTCUSDT&interval=1m", 2),
    ],
)
def test_weights_are_those_the_venue_publishes(
    binance: Running, endpoint: str, query: str, weight: int
) -> None:
    binance.tell("clock", advance=60)
    answer = requests.get(f"{binance.urls['binance_rest']}/{endpoint}?{query}", timeout=10)
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


def test_limit_exceeded_is_429_until_the_minute_ends(btc_tape: Path) -> None:
    with running_exchange([btc_tape], weight_limit=40, clock="2024-01-01T00:00:00") as running:
        client = spot(running)
        client.load_markets()  # 20 of 40
        for _ in range(5):
            client.fetch_trades("BTC/USDT", limit=1)
        with pytest.raises(ccxt.DDoSProtection, match="-1003"):
            client.fetch_trades("BTC/USDT", limit=1)
        wait = int(client.last_response_headers["Retry-After"])
        assert 1 <= wait <= 60
        running.tell("clock", advance=wait)
        assert len(client.fetch_trades("BTC/USDT", limit=1)) == 1
        limits = running.ask("state")["binance_limits"]
        assert (limits["refused_429"], limits["refused_418"], limits["bans"]) == (1, 0, [])


def test_going_on_after_429_is_banned_longer_each_time(btc_tape: Path) -> None:
    with running_exchange([btc_tape], weight_limit=20, clock="2024-01-01T00:00:00") as running:
        client = spot(running)
        bans = []
        for _ in range(2):
            for _ in range(50):
                try:
                    client.publicGetExchangeInfo()
                except ccxt.DDoSProtection as error:
                    if " 418 " in str(error):
                        bans.append(int(client.last_response_headers["Retry-After"]))
                        break
            with pytest.raises(ccxt.DDoSProtection, match=r"418.*banned until"):
                client.publicGetPing()
            running.tell("clock", advance=bans[-1] + 60)
        assert bans == [120, 600]
        assert client.publicGetPing() == {}
        assert running.ask("state")["binance_limits"]["refused_418"] == 4


def archived(running: Running, kind: str, symbol: str, day: str) -> tuple[requests.Response, str]:
    address = f"{running.urls['archive']}/data/spot/daily/{kind}/{symbol}/{symbol}-{kind}-{day}.zip"
    return requests.get(address, timeout=30), requests.get(f"{address}.CHECKSUM", timeout=30).text


def rows_of(answer: requests.Response) -> list[list[str]]:
    with zipfile.ZipFile(io.BytesIO(answer.content)) as held:
        (name,) = held.namelist()
        return [line.split(",") for line in held.read(name).decode().splitlines()]


def as_rows(tape: Tape) -> list[list[str]]:
    columns = (tape.id, tape.price, tape.size, tape.first, tape.last, tape.ts, tape.side)
    return [
        [str(i), text(p, 8), text(q, 8), str(f), str(z), str(t // 10**6), str(s < 0), "True"]
        for i, p, q, f, z, t, s in zip(*(c.tolist() for c in columns), strict=True)
    ]


def test_archive_day_equals_the_tape_and_its_checksum(binance: Running, btc_tape: Path) -> None:
    (tape,) = load(str(btc_tape))
    answer, checksum = archived(binance, "aggTrades", "BTCUSDT", "2020-11-01")
    assert rows_of(answer) == as_rows(tape)
    digest = hashlib.sha256(answer.content).hexdigest()
    assert checksum == f"{digest}  BTCUSDT-aggTrades-2020-11-01.zip\n"


def test_archive_days_split_at_utc_midnight(binance: Running, eth_tape: Path) -> None:
    (tape,) = load(str(eth_tape))
    days = [rows_of(archived(binance, "trades", "ETHUSDT", f"2024-08-0{d}")[0]) for d in (8, 9)]
    ids = [int(row[0]) for day in days for row in day]
    assert ids == list(range(tape.first[0], tape.last[-1] + 1))
    midnight = 1_723_161_600_000
    assert all(int(row[4]) < midnight for row in days[0])
    assert all(int(row[4]) >= midnight for row in days[1])


def test_archive_from_2025_on_is_in_microseconds(market_data: Path) -> None:
    tape = market_data / "trades/binance_ltcusdt/ltcusdt_trades_20250621.parquet"
    with running_exchange([tape]) as running:
        rows = rows_of(archived(running, "aggTrades", "LTCUSDT", "2025-06-21")[0])
        assert len(rows) == 53_325
        assert len(rows[0][5]) == 16
        page = spot(running).fetch_trades("LTC/USDT", limit=1)
        assert len(str(page[0]["timestamp"])) == 13


@pytest.mark.parametrize("day", ["2020-10-31", "2030-01-01", "yesterday"])
def test_archive_a_day_without_a_file_is_404(binance: Running, day: str) -> None:
    answer, _ = archived(binance, "aggTrades", "BTCUSDT", day)
    assert answer.status_code == 404
    assert b"NoSuchKey" in answer.content
