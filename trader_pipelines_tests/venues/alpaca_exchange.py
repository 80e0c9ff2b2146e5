"""What tests of Alpaca share: a made-up session, its truth, an impatient venue."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.sessions import session_bounds
from trader_pipelines.core.trades import TRADES, utc_day_bounds
from trader_pipelines.venues.alpaca import Alpaca
from trader_pipelines_tests.exchange import tapes
from trader_pipelines_tests.exchange.formats import load
from trader_pipelines_tests.exchange.running import Running
from trader_pipelines_tests.exchange.tapes import Tape
from trader_pipelines_tests.venues.rest_exchange import QUICK, open_budget

#: A Tuesday in summer, when the extended session is 08:00 to 24:00 UTC.
DAY = date(2024, 7, 9)
#: 2,500 trades within 5,000 seconds: three pages of `PAGE`.
MADE_UP = "alpaca=synthetic:1:0.5:5000:2024-07-09T14:00"
PAGE = 1_000
STOCK = Instrument("alpaca", "SYAA", Decimal("0.01"), Decimal("0.0001"), date(2010, 1, 1))
KEYS: dict[str, Any] = {"key": "test-key", "secret": "test-secret"}


def alpaca(running: Running, **more: Any) -> Alpaca:
    """The venue, pointed at a running exchange."""
    settings: dict[str, Any] = {"patience": QUICK, "page": PAGE}
    settings |= {"budget": open_budget(), "today": lambda: date(2030, 1, 1)}
    return Alpaca(url=running.urls["alpaca"], **{**KEYS, **settings, **more})


def truth(
    spec: str | Path, instrument: Instrument, day: date, *, crypto: bool = False
) -> pl.DataFrame:
    """The trades of a tape and day as they must arrive, but for their ids."""
    (tape,) = load(str(spec))
    return as_trades(tape, instrument, day, crypto=crypto)


def as_trades(tape: Tape, instrument: Instrument, day: date, *, crypto: bool) -> pl.DataFrame:
    """What stands of an Alpaca tape, numbered by stamp; revisions are numbered too."""
    low, high = utc_day_bounds(day) if crypto else session_bounds("XNYS", day)
    tape = tapes.take(tape, (tape.ts >= low) & (tape.ts < high))
    # An id is its stamp, or one more than the id before: the running maximum of stamp minus row.
    row = np.arange(len(tape))
    ids = np.maximum.accumulate(tape.ts - row) + row
    tape = replace(tape, id=ids)
    tape = tapes.take(tape, (tape.update == tapes.VALID) | (tape.update == tapes.CORRECTED))
    return pl.DataFrame(
        {
            "id": tape.id,
            "ts_event": tape.ts,
            "price": tape.price // 10 ** (tape.price_dp - instrument.price_scale),
            "size": tape.size // 10 ** (tape.size_dp - instrument.size_scale)
            if tape.size_dp >= instrument.size_scale
            else tape.size * 10 ** (instrument.size_scale - tape.size_dp),
            "side": tape.side if crypto else 0 * tape.side,  # equities do not tell it
            "fills": np.ones(len(tape), np.int64),
        }
    ).cast(TRADES)
