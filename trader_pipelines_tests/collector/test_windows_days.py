"""Alpaca live over days: sessions that cross midnight UTC, crypto's own days, real tapes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from trader_pipelines.core.instruments import Instrument
from trader_pipelines_tests.collector.windows_process import MINUTE, PROVING, Venue, stocks
from trader_pipelines_tests.collector.windows_runs import collected, stored, truth, until
from trader_pipelines_tests.exchange.running import Running, running_exchange

DROPS = [{"kind": "drop", "rate": 0.03}, {"kind": "disconnect", "at": [200], "lose": 30}]


@contextmanager
def replayed(tape: str | Path, faults: Any = (), **more: Any) -> Iterator[Running]:
    told: dict[str, Any] = {"rate": "1500", "live_from": "start", "clock": "tape"}
    told |= {"start_symbols": 1, "request_limit": 10**9, **more}
    with running_exchange([tape], json.dumps(list(faults)), **told) as running:
        yield running


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def test_collect_windows_winter_session_stays_one_day_over_midnight_utc(
    conn: psycopg.Connection, database_url: str
) -> None:
    (stock,) = stocks(["SYAA"])
    begin = ns("2024-01-04T23:58")
    with replayed("alpaca=synthetic:1:2.5:240:2024-01-04T23:58", DROPS) as running:
        venue = Venue(running.urls["port"])
        collected(venue, [stock], database_url, until(begin + 4 * MINUTE), begin=begin)
        wanted = truth(running, stock, date(2024, 1, 4))
    assert wanted.height == 600
    assert stored(conn, stock, date(2024, 1, 4)).equals(wanted)
    assert stored(conn, stock, date(2024, 1, 5)).is_empty()


def test_collect_windows_after_the_session_nothing_is_stored(
    conn: psycopg.Connection, database_url: str
) -> None:
    (stock,) = stocks(["SYAA"])
    begin = ns("2024-01-05T00:58")  # the session of the 4th ends at 01:00 UTC
    with replayed("alpaca=synthetic:1:2.5:240:2024-01-05T00:58", DROPS) as running:
        venue = Venue(running.urls["port"])
        status = collected(venue, [stock], database_url, until(begin + 4 * MINUTE), begin=begin)
        wanted = truth(running, stock, date(2024, 1, 4))
    assert wanted.height == 300
    assert stored(conn, stock, date(2024, 1, 4)).equals(wanted)
    assert stored(conn, stock, date(2024, 1, 5)).is_empty()
    assert status.counts["outside"] > 0


def test_collect_windows_crypto_goes_on_over_midnight(
    conn: psycopg.Connection, database_url: str
) -> None:
    grid = Decimal("0.01"), Decimal("0.0001")
    coin = Instrument("coins", "SYN000USDT", *grid, date(2020, 1, 1))
    begin, day = ns("2024-01-04T23:58"), date(2024, 1, 4)
    with replayed("crypto=synthetic:1:2.5:240:2024-01-04T23:58", DROPS) as running:
        venue = Venue(running.urls["port"], crypto=True)
        collected(venue, [coin], database_url, until(begin + 4 * MINUTE), begin=begin)
        for each in (day, day + timedelta(days=1)):
            wanted = truth(running, coin, each, "SYN000/USDT")
            assert wanted.height == 300
            assert set(wanted["side"]) == {1, -1}
            assert stored(conn, coin, each).equals(wanted)


REAL = [
    {"kind": "drop", "rate": 0.001},
    {"kind": "duplicate", "rate": 0.01},
    {"kind": "cancel", "rate": 0.0005},
    {"kind": "correct", "rate": 0.0005},
]


@pytest.mark.long
def test_collect_windows_real_equities_every_trade_once(
    market_data: Path, conn: psycopg.Connection, database_url: str
) -> None:
    """Three sessions of IBM: exact duplicates that share their nanosecond, on many exchanges."""
    tape = market_data / "trades" / "lean_us_equity_tick" / "IBM_trades_20131007_09.parquet"
    ibm = Instrument("alpaca", "IBM", Decimal("0.0001"), Decimal(1), date(2010, 1, 1))
    end = ns("2013-10-10T00:00")
    faults = [*REAL, {"kind": "disconnect", "rate": 0.0001, "lose": 500}]
    with replayed(tape, faults, rate="5000") as running:
        venue = Venue(running.urls["port"])
        proving = replace(PROVING, delay=600.0, audit=5.0)
        begin = ns("2013-10-07T08:00")
        told = collected(venue, [ibm], database_url, until(end), begin=begin, proving=proving)
        for day in (7, 8, 9):
            wanted = truth(running, ibm, date(2013, 10, day))
            assert stored(conn, ibm, date(2013, 10, day)).equals(wanted)
    assert told.counts["stored"] > 60_000


@pytest.mark.long
def test_collect_windows_real_crypto_every_trade_once(
    market_data: Path, conn: psycopg.Connection, database_url: str
) -> None:
    frames = market_data / "trades" / "binance_spot_aggtrade_frames_20201101"
    tape = frames / "BTCUSDT_2020-11-01T09-00-00_trades.json.gz"
    grid = Decimal("0.01"), Decimal("0.000001")
    coin = Instrument("coins", "BTCUSDT", *grid, date(2020, 1, 1))
    faults = [*REAL, {"kind": "disconnect", "rate": 0.0002, "lose": 200}]
    with replayed(f"crypto={tape}", faults, rate="5000") as running:
        venue = Venue(running.urls["port"], crypto=True)
        end = ns("2020-11-01T10:01")
        collected(venue, [coin], database_url, until(end), proving=replace(PROVING, delay=60.0))
        wanted = truth(running, coin, date(2020, 11, 1), "BTC/USDT")
    assert wanted.height > 10_000
    assert stored(conn, coin, date(2020, 11, 1)).equals(wanted)
