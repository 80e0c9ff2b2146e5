"""The collector when something does not answer: it holds back, and a stop does not wait for it."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines.collector.collect import collect
from trader_pipelines.collector.link import back_off
from trader_pipelines.collector.options import Options
from trader_pipelines.collector.status import Status
from trader_pipelines.core.errors import ClockError, DatabaseUnreachableError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines_tests.collector import process
from trader_pipelines_tests.collector.tape import (
    BASE,
    BEGIN,
    SYMBOLS,
    in_store,
    stored,
    truth,
    until_told,
)
from trader_pipelines_tests.exchange.running import Running, running_exchange


@pytest.fixture(scope="module")
def venue() -> Iterator[Running]:
    with running_exchange(
        ["synthetic:2:600:1"], live_from="start", start_symbols=2, weight_limit=10_000_000
    ) as running:
        yield running


def test_collect_database_locked_the_socket_is_not_read_and_nothing_is_lost(
    venue: Running, conn: psycopg.Connection, database_url: str
) -> None:
    venue.tell("reset", replay=True, limits=True, faults=[])
    options = replace(process.FAST, queue_frames=50, batch_frames=25, grace=60.0, silence=60.0)
    most = full = 0
    stop = asyncio.Event()
    conn.execute("lock table hot_ticks in share mode")

    def look(status: Status) -> None:
        nonlocal most, full
        most, full = max(most, status.waiting_frames), full + (status.waiting_frames >= 50)
        if full == 5:
            conn.rollback()
        if all(each.last_id == BASE + 299 for each in status.symbols.values()):
            stop.set()

    async def scenario() -> Status:
        async with asyncio.timeout(30):
            return await collect(
                process.source(venue.urls["port"]),
                process.instruments(SYMBOLS),
                database_url,
                options=options,
                begin=BEGIN,
                stop=stop,
                report=look,
            )

    status = asyncio.run(scenario())
    assert most == 50
    # What did not fit waited in the socket: the connection held, and REST had nothing to add.
    assert status.connections[0]["connects"] == 1
    assert status.counts["refilled"] == 0
    assert status.counts["frames"] == 601
    for symbol in SYMBOLS:
        assert stored(conn, symbol) == truth(venue, symbol)


def test_collect_stopped_while_the_database_does_not_answer_says_so_and_the_next_one_mends_it(
    venue: Running, conn: psycopg.Connection, database_url: str
) -> None:
    venue.tell("reset", replay=True, limits=True, faults=[])
    conn.execute("lock table hot_ticks in share mode")
    stop = asyncio.Event()

    def look(status: Status) -> None:
        if status.counts["frames"]:
            stop.set()

    with pytest.raises(DatabaseUnreachableError, match=r"did not take the last \d+ trades"):
        asyncio.run(
            collect(
                process.source(venue.urls["port"]),
                process.instruments(SYMBOLS),
                database_url,
                options=replace(process.FAST, drain=0.2),
                begin=BEGIN,
                stop=stop,
                report=look,
            )
        )
    conn.rollback()
    asyncio.run(until_told(venue, database_url))
    assert in_store(database_url) == {symbol: truth(venue, symbol) for symbol in SYMBOLS}


def test_collect_stopped_while_rest_never_answers_does_not_wait_for_it(
    venue: Running, database_url: str
) -> None:
    venue.tell("reset", replay=True, limits=True, faults=[{"kind": "drop", "at": [300]}])
    asked, over = threading.Event(), threading.Event()

    def never(instrument: Instrument, first: int, last: int) -> pl.DataFrame:
        asked.set()
        over.wait()
        raise AssertionError

    stop = asyncio.Event()

    def look(status: Status) -> None:
        if asked.is_set() and status.counts["stored"] == 599:
            stop.set()

    source = replace(process.source(venue.urls["port"]), refill=never)
    try:
        status = asyncio.run(
            collect(
                source,
                process.instruments(SYMBOLS),
                database_url,
                options=process.FAST,
                begin=BEGIN,
                stop=stop,
                report=look,
            )
        )
    finally:
        over.set()
    assert sum(len(symbol.missing) for symbol in status.symbols.values()) == 1
    assert sum(map(len, in_store(database_url).values())) == 599


def test_collect_first_id_not_told_at_first_is_asked_for_again(
    venue: Running, database_url: str
) -> None:
    venue.tell("reset", replay=True, limits=True, faults=[{"kind": "drop", "at": [1, 2, 3]}])
    asked: list[str] = []

    def begin(instrument: Instrument) -> int:
        asked.append(instrument.symbol)
        if len(asked) < 3:
            raise ConnectionError("no network yet")
        return BASE

    stop = asyncio.Event()

    def look(status: Status) -> None:
        if status.contiguous and all(s.last_id == BASE + 299 for s in status.symbols.values()):
            stop.set()

    source = replace(process.source(venue.urls["port"]), begin=begin)
    instruments = process.instruments(SYMBOLS)
    running = collect(
        source, instruments, database_url, options=process.FAST, stop=stop, report=look
    )
    status = asyncio.run(running)
    assert sorted(asked) == sorted([*SYMBOLS, *asked[:2]])
    assert status.counts["refill_failures"] == 2
    assert in_store(database_url) == {symbol: truth(venue, symbol) for symbol in SYMBOLS}


def test_collect_clock_off_at_the_start_ends_it(venue: Running, database_url: str) -> None:
    venue.tell("reset", replay=True, limits=True, faults=[])

    def begin(instrument: Instrument) -> int:
        raise ClockError("the clocks differ", where="here", remedy="set it")

    source = replace(process.source(venue.urls["port"]), begin=begin)
    with pytest.raises(ClockError):
        asyncio.run(
            collect(
                source,
                process.instruments(SYMBOLS),
                database_url,
                options=process.FAST,
                stop=asyncio.Event(),
                report=lambda _: None,
            )
        )


@given(st.integers(0, 10_000))
def test_back_off_after_any_failures_is_jittered_and_capped(failures: int) -> None:
    options = Options(back_off=0.5, back_off_cap=30.0)
    longest = min(30.0, 0.5 * 2 ** min(failures, 10))
    waits = {back_off(options, failures) for _ in range(20)}
    assert all(longest / 2 <= wait <= longest for wait in waits)
    assert len(waits) > 1
