"""What tests of the collector share: the exchange's made-up tape, and what the store has of it."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import psycopg

from trader_pipelines.collector.collect import collect
from trader_pipelines.collector.options import Options
from trader_pipelines.collector.status import Status
from trader_pipelines.stores import database, hot
from trader_pipelines_tests.collector import process
from trader_pipelines_tests.exchange.running import Running

BASE = 1_000_000
DAY = date(2024, 1, 2)
SYMBOLS = ("SYN000USDT", "SYN001USDT")
BEGIN = dict.fromkeys(SYMBOLS, BASE)

Row = tuple[int, ...]


def truth(running: Running, symbol: str) -> list[Row]:
    tape = running.ask("tape", symbol=symbol)
    fills = [b - a + 1 for a, b in zip(tape["first"], tape["last"], strict=True)]
    columns = [tape[name] for name in ("id", "ts", "price", "size", "side")]
    return list(zip(*columns, fills, strict=True))


def stored(conn: psycopg.Connection, symbol: str, day: date = DAY) -> list[Row]:
    (instrument,) = process.instruments([symbol])
    frame = hot.read_day(conn, instrument, day)
    conn.rollback()
    columns = [frame[name].to_physical().to_list() for name in frame.columns]
    return list(zip(*columns, strict=True))


def in_store(url: str, symbols: Sequence[str] = SYMBOLS) -> dict[str, list[Row]]:
    with database.connect(url) as connection:
        return {symbol: stored(connection, symbol) for symbol in symbols}


async def for_a_while(running: Running, url: str, seconds: float) -> Status:
    """Collect for so long and stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    return await _collected(running, url, stop, lambda _: None, process.FAST)


async def until_told(
    running: Running,
    url: str,
    *,
    each: int = 300,
    seconds: float = 30.0,
    options: Options = process.FAST,
) -> Status:
    """Collect until the tape is over and every id of it is stored, or given up and stays so."""
    stop = asyncio.Event()
    given_up_since: list[float] = []

    def look(status: Status) -> None:
        symbols = status.symbols.values()
        if any(symbol.last_id != BASE + each - 1 for symbol in symbols):
            return
        if all(not symbol.missing for symbol in symbols):
            stop.set()
        elif all(symbol.missing == symbol.given_up for symbol in symbols):
            # REST may lag behind the stream: what is given up is asked for again by and by.
            given_up_since.append(time.monotonic())
            if given_up_since[-1] - given_up_since[0] > 2 * options.quiet_cap:
                stop.set()

    async with asyncio.timeout(seconds):
        return await _collected(running, url, stop, look, options)


async def _collected(
    running: Running,
    url: str,
    stop: asyncio.Event,
    look: Callable[[Status], None],
    options: Options,
) -> Status:
    return await collect(
        process.source(running.urls["port"]),
        process.instruments(SYMBOLS),
        url,
        options=options,
        begin=BEGIN,
        stop=stop,
        report=look,
    )


def missing(status: Status) -> Mapping[str, Any]:
    return {name: symbol.missing for name, symbol in status.symbols.items() if symbol.missing}
