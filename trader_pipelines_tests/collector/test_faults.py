"""The collector under each fault of stream and REST alone: every trade once, or named missing."""

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from trader_pipelines.collector.status import Status
from trader_pipelines_tests.collector.tape import BASE, SYMBOLS, missing, stored, truth, until_told
from trader_pipelines_tests.exchange.running import Running, running_exchange


@pytest.fixture(scope="module")
def venue() -> Iterator[Running]:
    with running_exchange(
        ["synthetic:2:600:1"], live_from="start", start_symbols=2, weight_limit=10_000_000
    ) as running:
        yield running


def collected(running: Running, url: str, faults: list[dict[str, Any]]) -> Status:
    running.tell("reset", replay=True, limits=True, faults=faults)
    return asyncio.run(until_told(running, url))


FAULTS: dict[str, dict[str, Any]] = {
    "none": {"kind": "drop", "rate": 0.0},
    "drop": {"kind": "drop", "rate": 0.05},
    "first print": {"kind": "drop", "at": [1, 2, 3]},
    "last print": {"kind": "drop", "at": [597, 598, 599, 600]},
    "duplicate": {"kind": "duplicate", "rate": 0.1},
    "reorder": {"kind": "reorder", "rate": 0.1, "by": 15},
    "disconnect": {"kind": "disconnect", "at": [100, 300], "lose": 40},
    "polite disconnect": {"kind": "disconnect", "at": [100], "lose": 40, "code": 1001},
    "stall": {"kind": "stall", "at": [200], "seconds": 1.5},
    "garble": {"kind": "garble", "rate": 0.05},
    "mixed ids": {"kind": "stream_mixed_ids", "rate": 0.1},
    "microseconds": {"kind": "stream_microseconds", "rate": 0.3},
}


@pytest.mark.parametrize("name", FAULTS)
def test_collect_stream_fault_every_trade_once(
    venue: Running, conn: psycopg.Connection, database_url: str, name: str
) -> None:
    status = collected(venue, database_url, [FAULTS[name]])
    assert missing(status) == {}
    for symbol in SYMBOLS:
        assert stored(conn, symbol) == truth(venue, symbol)


def test_collect_hole_everywhere_is_reported_missing(
    venue: Running, conn: psycopg.Connection, database_url: str
) -> None:
    hole = {"kind": "hole", "first": BASE + 50, "last": BASE + 59, "where": ["rest", "stream"]}
    status = collected(venue, database_url, [hole])
    for symbol in SYMBOLS:
        assert status.symbols[symbol].missing == [(BASE + 50, BASE + 59)]
        assert not status.symbols[symbol].contiguous
        expected = [t for t in truth(venue, symbol) if not BASE + 50 <= t[0] <= BASE + 59]
        assert stored(conn, symbol) == expected


def test_collect_rest_refuses_the_hole_is_asked_for_again(
    venue: Running, conn: psycopg.Connection, database_url: str
) -> None:
    faults = [
        {"kind": "drop", "rate": 0.05},
        {"kind": "status", "status": 503, "on": "binance.aggTrades", "times": 8},
        {"kind": "cut", "on": "binance.aggTrades", "times": 4},
    ]
    status = collected(venue, database_url, faults)
    assert status.counts["refill_failures"] >= 3
    for symbol in SYMBOLS:
        assert stored(conn, symbol) == truth(venue, symbol)
