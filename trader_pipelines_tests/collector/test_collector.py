"""The collector against the test exchange: every trade once, under every fault of the stream."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg
import pytest

from trader_pipelines.collector.collect import collect
from trader_pipelines.collector.status import Status
from trader_pipelines.stores import hot
from trader_pipelines_tests.collector import process
from trader_pipelines_tests.exchange.faults import mixture
from trader_pipelines_tests.exchange.running import ROOT, Running, running_exchange

# Against a live stream with faults and real waiting: beside the other soak tests.
pytestmark = pytest.mark.long

BASE = 1_000_000
DAY = date(2024, 1, 2)
SYMBOLS = ("SYN000USDT", "SYN001USDT")
BEGIN = dict.fromkeys(SYMBOLS, BASE)


@pytest.fixture(scope="module")
def venue() -> Iterator[Running]:
    with running_exchange(
        ["synthetic:2:600:1"], live_from="start", start_symbols=2, weight_limit=10_000_000
    ) as running:
        running.tell("reset", replay=True, limits=True)
        yield running


def truth(running: Running, symbol: str) -> list[tuple[int, ...]]:
    tape = running.ask("tape", symbol=symbol)
    fills = [b - a + 1 for a, b in zip(tape["first"], tape["last"], strict=True)]
    columns = [tape[name] for name in ("id", "ts", "price", "size", "side")]
    return list(zip(*columns, fills, strict=True))


def stored(conn: psycopg.Connection, symbol: str) -> list[tuple[int, ...]]:
    (instrument,) = process.instruments([symbol])
    frame = hot.read_day(conn, instrument, DAY)
    conn.rollback()
    columns = [frame[name].to_physical().to_list() for name in frame.columns]
    return list(zip(*columns, strict=True))


def collected(running: Running, url: str, *, seconds: float = 30.0, whole: bool = True) -> Status:
    """Collect until the tape is over and all of it is accounted for."""
    ends = dict.fromkeys(SYMBOLS, BASE + 299)

    async def scenario() -> Status:
        stop = asyncio.Event()

        def look(status: Status) -> None:
            if all(
                status.symbols[s].last_id == end
                and status.symbols[s].missing == ([] if whole else status.symbols[s].given_up)
                for s, end in ends.items()
            ):
                stop.set()

        port = running.urls["port"]
        async with asyncio.timeout(seconds):
            return await collect(
                process.feed(port),
                process.instruments(SYMBOLS),
                url,
                process.rest(port),
                options=process.FAST,
                begin=BEGIN,
                stop=stop,
                report=look,
            )

    return asyncio.run(scenario())


def check(running: Running, conn: psycopg.Connection, status: Status) -> None:
    for symbol in SYMBOLS:
        assert stored(conn, symbol) == truth(running, symbol)
        assert status.symbols[symbol].missing == []


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
    venue.tell("reset", replay=True, limits=True, faults=[FAULTS[name]])
    check(venue, conn, collected(venue, database_url))


def test_collect_hole_everywhere_is_reported_missing(
    venue: Running, conn: psycopg.Connection, database_url: str
) -> None:
    hole = {"kind": "hole", "first": BASE + 50, "last": BASE + 59, "where": ["rest", "stream"]}
    venue.tell("reset", replay=True, limits=True, faults=[hole])
    status = collected(venue, database_url, whole=False)
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
        {"kind": "status", "status": 503, "on": "binance.aggTrades", "times": 3},
        {"kind": "cut", "on": "binance.aggTrades", "times": 2},
    ]
    venue.tell("reset", replay=True, limits=True, faults=faults)
    status = collected(venue, database_url)
    assert status.counts["refill_failures"] >= 3
    check(venue, conn, status)


@pytest.mark.parametrize(
    "seeds",
    [range(12), pytest.param(range(12, 200), marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
    ids=["short", "long"],
)
def test_collect_mixtures_every_trade_once(
    venue: Running, conn: psycopg.Connection, database_url: str, seeds: range
) -> None:
    for seed in seeds:
        conn.execute("truncate hot_ticks")
        conn.commit()
        spec = mixture(seed, ["stream"], rate=0.9)
        venue.tell("reset", replay=True, limits=True, faults=spec)
        check(venue, conn, collected(venue, database_url, seconds=60))


@pytest.mark.parametrize(
    "kills",
    [5, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(1200)])],
)
def test_collect_killed_at_random_nothing_lost(
    conn: psycopg.Connection, database_url: str, kills: int
) -> None:
    rng = random.Random(kills)
    rate = 400
    total = rate * (4 * kills + 10)
    with running_exchange(
        [f"synthetic:2:{rate}:{total // rate}"],
        rate=str(rate),
        live_from="start",
        start_symbols=2,
        weight_limit=10_000_000,
    ) as running:
        told = {
            "port": running.urls["port"],
            "symbols": SYMBOLS,
            "begin": BEGIN,
            "database_url": database_url,
        }
        command = [
            sys.executable,
            "-m",
            "trader_pipelines_tests.collector.process",
            json.dumps(told),
        ]
        for _ in range(kills):
            child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            assert child.stdout is not None
            child.stdout.readline()  # it works
            time.sleep(rng.uniform(0.0, 0.8))
            child.kill()
            child.wait()
            child.stdout.close()
        running.tell("replay", rate="max")
        assert _until_done(command, total // 2) == 0
        for symbol in SYMBOLS:
            assert stored(conn, symbol) == truth(running, symbol)


def _until_done(command: list[str], each: int) -> int:
    """Run until every symbol is whole, then stop it by SIGTERM; its exit code."""
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    deadline = time.monotonic() + 120
    for line in child.stdout:
        symbols = json.loads(line)["symbols"].values()
        if all(s["last_id"] == BASE + each - 1 and s["contiguous"] for s in symbols):
            break
        assert time.monotonic() < deadline, line
    child.send_signal(signal.SIGTERM)
    child.stdout.read()
    child.stdout.close()
    return child.wait(20)
