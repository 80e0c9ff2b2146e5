"""What tests of Alpaca live share: runs against an exchange until all of a tape is accounted for."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import psycopg

from trader_pipelines.collector.status import Status, SymbolStatus
from trader_pipelines.collector.windows.status import WindowsStatus
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.stores import hot
from trader_pipelines_tests.collector.windows_process import MINUTE, Venue
from trader_pipelines_tests.exchange.running import Running
from trader_pipelines_tests.exchange.tapes import COLUMNS, Tape
from trader_pipelines_tests.venues import alpaca_exchange as made

SECONDS = 120.0

#: Told of a status; True ends the run.
Look = Callable[[Venue, Status], bool]


def windows_of(symbol: SymbolStatus) -> WindowsStatus:
    assert isinstance(symbol, WindowsStatus)
    return symbol


def accounted_for(status: Status, end: int, *, whole: bool = True) -> bool:
    """Whether every minute before `end` is proven, or (not `whole`) named and given up."""
    return all(
        (windows_of(each).proven_to_ns or 0) >= end
        and not [w for w in each.missing if w[0] < end and (whole or w not in each.given_up)]
        for each in status.symbols.values()
    )


def until(end: int, *, whole: bool = True) -> Look:
    """Once the tape is over and heard, half an hour passes, so that its last minute is; then proof."""
    heard: list[int] = []

    def look(venue: Venue, status: Status) -> bool:
        if venue.clock.ahead:
            return accounted_for(status, end, whole=whole)
        if venue.clock.state()["replay"]["done"]:
            heard.append(status.counts["frames"])
            if heard[-3:] == 3 * [heard[-1]]:
                venue.clock.ahead = 30 * MINUTE
        return False

    return look


def collected(
    venue: Venue, instruments: Sequence[Instrument], url: str, look: Look, **more: Any
) -> Status:
    """Collect until `look` has seen enough."""

    async def scenario() -> Status:
        stop = asyncio.Event()

        def report(status: Status) -> None:
            if not stop.is_set() and look(venue, status):
                stop.set()

        async with asyncio.timeout(SECONDS):
            told: Status = await venue.collecting(instruments, url, **more)(stop, report)
            return told

    return asyncio.run(scenario())


def truth(running: Running, instrument: Instrument, day: date, symbol: str = "") -> pl.DataFrame:
    """What the exchange's tape comes to, as the store has to hold it; crypto by its own name."""
    crypto = bool(symbol)
    pages, lo = [], 0
    while True:
        told = running.ask(
            "tape",
            venue="crypto" if crypto else "alpaca",
            symbol=symbol or instrument.symbol,
            lo=lo,
        )
        pages.append(told)
        lo += len(told["id"])
        if lo >= told["count"]:
            break
    columns = {n: np.concatenate([np.array(p[n], np.int64) for p in pages]) for n in COLUMNS}
    tape = Tape("alpaca", instrument.symbol, told["price_dp"], told["size_dp"], **columns)
    return made.as_trades(tape, instrument, day, crypto=crypto)


def stored(connection: psycopg.Connection, instrument: Instrument, day: date) -> pl.DataFrame:
    frame = hot.read_day(connection, instrument, day)
    connection.rollback()
    return frame
