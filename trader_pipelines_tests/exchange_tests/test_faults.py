"""Faults: the list, their seeds, and what the real clients make of each."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ccxt
import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import DataFeed
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockTradesRequest
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines_tests.exchange.faults import Fault, FaultError, Faults, mixture, parse
from trader_pipelines_tests.exchange.kinds import BENIGN, KINDS, SPACES
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.exchange_tests.conftest import KEYS, spot

BASE = 1_000_000


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running_exchange(
        ["synthetic:1:1000:2"], weight_limit=10**9, request_limit=10**9
    ) as running:
        yield running


def under(exchange: Running, kind: str, **more: Any) -> Any:
    """A client of Binance whose requests meet one fault; markets are loaded before."""
    exchange.tell("faults", [])
    client = spot(exchange)
    client.timeout = 1000
    client.load_markets()
    exchange.tell("faults", [{"kind": kind, **more}])
    return client


def page(client: Any, limit: int = 10) -> list[dict[str, Any]]:
    return list(client.fetch_trades("SYN000/USDT", limit=limit, params={"fromId": BASE}))


def ids(client: Any, limit: int = 10) -> list[int]:
    return [int(trade["id"]) - BASE for trade in page(client, limit)]


# -- the list ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ('[{"kind": "earthquake"}]', "fault 1: kind 'earthquake' is none of"),
        (
            '[{"kind": "slow"}, {"kind": "slow", "second": 1}]',
            r"fault 2: unknown keys \['second'\]",
        ),
    ],
)
def test_parse_a_bad_entry_says_which_and_why(spec: str, words: str) -> None:
    with pytest.raises(FaultError, match=words):
        parse(spec)


def test_parse_file_json_and_object_say_the_same(tmp_path: Path) -> None:
    spec = {"seed": 3, "faults": [{"kind": "slow", "rate": 0.5, "seconds": 0.2}]}
    file = tmp_path / "faults.json"
    file.write_text(json.dumps(spec))
    reports = [parse(given).report() for given in (spec, json.dumps(spec), str(file))]
    assert reports[0] == reports[1] == reports[2]
    assert reports[0] == [{"kind": "slow", "rate": 0.5, "seconds": 0.2, "chances": 0, "fired": 0}]


@given(st.integers(0, 10_000))
def test_mixture_same_seed_same_course(seed: int) -> None:
    one, other = parse(mixture(seed)), parse(f"random:{seed}")
    for _ in range(50):
        assert [f.fires() for f in one.entries] == [f.fires() for f in other.entries]
    assert 1 <= len(one.entries) <= 5
    assert all(fault.kind in BENIGN for fault in one.entries)


@given(st.integers(0, 1000), st.sampled_from(SPACES))
def test_mixture_of_one_space_holds_only_that(seed: int, space: str) -> None:
    assert {KINDS[entry["kind"]].space for entry in mixture(seed, [space])["faults"]} == {space}


def test_fault_at_and_times_fire_when_told() -> None:
    at, capped = Fault("slow", at=(2, 4)), Fault("slow", times=2)
    assert [at.fires() for _ in range(5)] == [False, True, False, True, False]
    assert [capped.fires() for _ in range(4)] == [True, True, False, False]


def test_first_other_endpoints_and_symbols_take_no_chance() -> None:
    fault = Fault("slow", on="binance.aggTrades", symbol="BTC*")
    faults = Faults([fault])
    assert faults.first(["slow"], "binance.klines", "BTCUSDT") is None
    assert faults.first(["slow"], "binance.aggTrades", "ETHUSDT") is None
    assert fault.chances == 0
    assert faults.first(["slow"], "binance.aggTrades", "BTCUSDT") is fault


# -- requests, through ccxt --------------------------------------------------------------------


def test_too_many_with_retry_after_holds_that_long(exchange: Running) -> None:
    client = under(exchange, "too_many", at=[1], retry_after=5)
    with pytest.raises(ccxt.DDoSProtection, match="429"):
        page(client)
    assert client.last_response_headers["Retry-After"] == "5"
    with pytest.raises(ccxt.DDoSProtection, match="429"):
        page(client)
    exchange.tell("clock", advance=5)
    assert len(page(client)) == 10


def test_too_many_without_retry_after_names_no_time(exchange: Running) -> None:
    client = under(exchange, "too_many", at=[1])
    with pytest.raises(ccxt.DDoSProtection, match="429"):
        page(client)
    assert "Retry-After" not in client.last_response_headers
    assert len(page(client)) == 10


def test_ban_is_418_until_it_ends(exchange: Running) -> None:
    client = under(exchange, "ban", at=[1], seconds=30)
    for _ in range(2):
        with pytest.raises(ccxt.DDoSProtection, match="418"):
            page(client)
    assert client.last_response_headers["Retry-After"] == "30"
    exchange.tell("clock", advance=30)
    assert len(page(client)) == 10


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, ccxt.OperationFailed),
        (502, ccxt.ExchangeNotAvailable),
        (503, ccxt.ExchangeError),
        (504, ccxt.RequestTimeout),
        (403, ccxt.ExchangeNotAvailable),
        (451, ccxt.ExchangeNotAvailable),
    ],
)
def test_status_is_seen_as_ccxt_names_it(
    exchange: Running, status: int, error: type[Exception]
) -> None:
    client = under(exchange, "status", status=status, at=[1])
    with pytest.raises(error):
        page(client)
    assert len(page(client)) == 10


def test_slow_comes_late_and_whole(exchange: Running) -> None:
    client = under(exchange, "slow", seconds=0.3)
    begun = time.monotonic()
    assert ids(client) == list(range(10))
    assert time.monotonic() - begun >= 0.3


def test_hang_is_a_timeout_of_the_client(exchange: Running) -> None:
    client = under(exchange, "hang", at=[1])
    with pytest.raises(ccxt.RequestTimeout):
        page(client)
    assert len(page(client)) == 10


@pytest.mark.parametrize("kind", ["refuse", "cut"])
def test_connection_broken_is_a_network_error(exchange: Running, kind: str) -> None:
    client = under(exchange, kind, at=[1])
    with pytest.raises(ccxt.NetworkError):
        page(client, 1000)
    assert len(page(client)) == 10


def test_truncate_makes_ccxt_invent_trades(exchange: Running) -> None:
    client = under(exchange, "truncate", at=[1])
    trades = page(client)
    # One a character, cut to the limit: a full page by its length alone.
    assert len(trades) == 10
    assert {trade["id"] for trade in trades} == {trade["price"] for trade in trades} == {None}
    assert all(len(trade["info"]) == 1 for trade in trades)
    assert ids(client) == list(range(10))


def test_missing_repeated_and_disordered_rows(exchange: Running) -> None:
    assert ids(under(exchange, "missing_rows")) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert ids(under(exchange, "empty_page")) == []
    repeated = under(exchange, "repeated_rows")
    raw = repeated.publicGetAggTrades({"symbol": "SYN000USDT", "fromId": BASE, "limit": 4})
    assert [int(row["a"]) - BASE for row in raw] == [0, 1, 2, 2, 3]
    disordered = under(exchange, "disordered_rows")
    raw = disordered.publicGetAggTrades({"symbol": "SYN000USDT", "fromId": BASE, "limit": 6})
    assert [int(row["a"]) - BASE for row in raw] == [0, 1, 3, 2, 4, 5]


def test_mixed_ids_half_of_the_page_is_of_the_other_space(exchange: Running) -> None:
    client = under(exchange, "mixed_ids")
    raw = client.publicGetAggTrades({"symbol": "SYN000USDT", "fromId": BASE, "limit": 4})
    told = [int(row["a"]) - BASE for row in raw]
    assert told == [0, 1, 5_000_002, 5_000_003]


def test_microseconds_pass_through_ccxt(exchange: Running) -> None:
    stamp = page(under(exchange, "microseconds"))[0]["timestamp"]
    assert stamp == page(under(exchange, "slow", seconds=0))[0]["timestamp"] * 1000


def test_wrong_kline_counts_one_too_many(exchange: Running) -> None:
    client = under(exchange, "wrong_kline")
    query = {"symbol": "SYN000USDT", "interval": "1s", "limit": 2}
    wrong = [int(row[8]) for row in client.publicGetKlines(query)]
    exchange.tell("faults", [])
    assert [w - int(r[8]) for w, r in zip(wrong, client.publicGetKlines(query), strict=True)] == [
        0,
        1,
    ]


def test_clock_skew_shows_in_the_venues_time(exchange: Running) -> None:
    client = under(exchange, "clock_skew", ms=-3_600_000)
    skewed = client.fetch_time()
    exchange.tell("faults", [])
    assert 3_600_000 <= client.fetch_time() - skewed < 3_605_000


def test_hole_in_rest_is_in_the_archive_and_in_the_klines(exchange: Running) -> None:
    client = under(exchange, "hole", first=BASE + 3, last=BASE + 5)
    assert ids(client, 5) == [0, 1, 2, 6, 7]
    address = "data/spot/daily/aggTrades/SYN000USDT/SYN000USDT-aggTrades-2024-01-02.zip"
    import io
    import zipfile

    body = requests.get(f"{exchange.urls['archive']}/{address}", timeout=10).content
    lines = zipfile.ZipFile(io.BytesIO(body)).read("SYN000USDT-aggTrades-2024-01-02.csv")
    assert lines.count(b"\n") == 2000
    bars = client.publicGetKlines({"symbol": "SYN000USDT", "interval": "1m"})
    assert sum(int(row[8]) for row in bars) == 2000


def test_hole_everywhere_is_healed_when_the_fault_goes(exchange: Running) -> None:
    client = under(exchange, "hole", first=BASE, last=BASE + 5, where=["rest", "archive"])
    assert ids(client, 2) == [6, 7]
    exchange.tell("faults", [])
    assert ids(client, 2) == [0, 1]


def test_corrupt_archive_fails_its_checksum(exchange: Running) -> None:
    import hashlib

    under(exchange, "corrupt", on="archive.*", at=[1])
    address = f"{exchange.urls['archive']}/data/spot/daily/aggTrades/SYN000USDT"
    name = "SYN000USDT-aggTrades-2024-01-02.zip"
    body = requests.get(f"{address}/{name}", timeout=10).content
    told = requests.get(f"{address}/{name}.CHECKSUM", timeout=10).text.split()[0]
    assert hashlib.sha256(body).hexdigest() != told
    again = requests.get(f"{address}/{name}", timeout=10).content
    assert hashlib.sha256(again).hexdigest() == told


def test_missing_archive_day_is_404(exchange: Running) -> None:
    under(exchange, "status", status=404, on="archive.*")
    answer = requests.get(
        f"{exchange.urls['archive']}/data/spot/daily/aggTrades/SYN000USDT/"
        "SYN000USDT-aggTrades-2024-01-02.zip",
        timeout=10,
    )
    assert (answer.status_code, b"NoSuchKey" in answer.content) == (404, True)


def whole(exchange: Running, client: Any, count: int) -> tuple[list[int], int]:
    """All ids by a client that checks every page and asks again; and how often it asked."""
    found: list[int] = []
    asked = 0
    while len(found) < count:
        asked += 1
        params = {"symbol": "SYN000USDT", "fromId": BASE + len(found), "limit": 100}
        try:
            rows = client.publicGetAggTrades(params)
        except ccxt.DDoSProtection:
            wait = client.last_response_headers.get("Retry-After", "0")
            exchange.tell("clock", advance=int(wait))
            continue
        except ccxt.BaseError:
            continue
        first = BASE + len(found)
        good = isinstance(rows, list) and [int(row["a"]) for row in rows] == list(
            range(first, first + len(rows))
        )
        if good and all(len(str(row["T"])) == 13 for row in rows):
            found += [int(row["a"]) for row in rows]
    return found, asked


def test_mixture_of_rest_faults_leaves_the_tape_to_be_had(exchange: Running) -> None:
    again = 0
    for seed in range(25):
        client = under(exchange, "slow", seconds=0)
        exchange.tell("reset", limits=True, faults=mixture(seed, ["request", "answer", "rows"]))
        found, asked = whole(exchange, client, 2000)
        assert found == list(range(BASE, BASE + 2000))
        assert exchange.ask("state")["requests"]["binance.aggTrades"] == asked
        again += asked - 20
    assert again > 25


# -- requests, through alpaca-py ---------------------------------------------------------------


def stock_trades(exchange: Running, fault: dict[str, Any], retries: int = 3) -> list[Any]:
    exchange.tell("faults", [fault])
    client = StockHistoricalDataClient(**KEYS, url_override=exchange.urls["alpaca"], raw_data=True)
    client._retry, client._retry_wait = retries, 0
    asked = StockTradesRequest(
        symbol_or_symbols="SYAA",
        start=datetime(2024, 1, 2, tzinfo=UTC),
        end=datetime(2024, 1, 3, tzinfo=UTC),
        feed=DataFeed.SIP,
    )
    return list(dict(client.get_stock_trades(asked))["SYAA"])


@pytest.fixture(scope="module")
def equities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_exchange(["alpaca=synthetic:1:1000:25"], request_limit=10**9) as running:
        yield running


@pytest.mark.parametrize("kind", ["too_many", "status"])
def test_alpaca_retries_429_and_504_by_itself(equities: Running, kind: str) -> None:
    fault = {"kind": kind, "status": 504, "at": [1, 3]}
    assert len(stock_trades(equities, fault)) == 25_000


def test_alpaca_500_on_page_two_loses_page_one(equities: Running) -> None:
    equities.tell("reset")
    with pytest.raises(APIError) as caught:
        stock_trades(equities, {"kind": "status", "status": 500, "at": [2]})
    assert caught.value.status_code == 500
    assert equities.ask("state")["answers"] == {"200": 1, "500": 1}


def test_alpaca_expired_token_is_422(equities: Running) -> None:
    with pytest.raises(APIError) as caught:
        stock_trades(equities, {"kind": "expired_token", "at": [2]})
    assert (caught.value.status_code, caught.value.message) == (422, "invalid page_token")


@pytest.mark.parametrize("kind", ["cut", "refuse", "truncate"])
def test_alpaca_broken_answers_raise_from_requests(equities: Running, kind: str) -> None:
    with pytest.raises(requests.exceptions.RequestException):
        stock_trades(equities, {"kind": kind, "at": [2]})


def test_alpaca_missing_row_shows_in_the_count(equities: Running) -> None:
    assert len(stock_trades(equities, {"kind": "missing_rows", "at": [1]})) == 24_999


def test_every_kind_is_said_and_has_a_space() -> None:
    assert {kind.space for kind in KINDS.values()} == {*SPACES, "tape"}
    assert all(kind.says for kind in KINDS.values())
    assert set(BENIGN) <= set(KINDS)
