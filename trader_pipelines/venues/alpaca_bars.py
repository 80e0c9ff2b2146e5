"""Alpaca's minute bars: checked, counted, and held against the trades of a day."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.reconciliation import KLINES
from trader_pipelines.venues.alpaca_rows import decimal, rows_of, stamp
from trader_pipelines.venues.asking import SuspectError


class Bar(NamedTuple):
    """What a minute bar says of its trades; `vwap` as the venue wrote it."""

    fills: int
    size: int
    vwap: str


def read_bars(
    got: Any, symbol: str, instrument: Instrument, start: int, end: int
) -> list[dict[str, Any]]:
    """Bars of one page as the venue wrote them, with their start in nanoseconds as ``ns``.

    Raises
    ------
    SuspectError
    """
    bars: list[dict[str, Any]] = []
    for number, told in enumerate(rows_of(got, "bars", symbol), 1):
        if not isinstance(told, dict) or not {"t", "o", "h", "l", "c", "v", "n"} <= set(told):
            raise SuspectError(f"row {number} is {str(told)[:20]!r}, no bar")
        ns = stamp(told["t"], number)
        if not start <= ns < end or (bars and ns <= bars[-1]["ns"]):
            raise SuspectError(f"row {number} is not of the minutes that were asked for")
        decimal(told["v"], instrument.size_scale, number)
        bars.append({**told, "ns": ns})
    return bars


def minutes(bars: Sequence[dict[str, Any]], instrument: Instrument) -> dict[int, Bar]:
    """Bars by their minute's start in nanoseconds; those without a trade are left out."""
    return {
        bar["ns"]: Bar(
            int(bar["n"]), decimal(bar["v"], instrument.size_scale, 0), str(bar.get("vw", ""))
        )
        for bar in bars
        if int(bar["n"])
    }


def same_vwap(bar: Bar, notional: int, instrument: Instrument) -> bool:
    """Whether a bar's average price is that of trades of its size.

    Alpaca rounds it to six decimals, so that a corrected price is seen when it weighs more.

    Parameters
    ----------
    notional : int
        The trades' sum of price times size, scaled integers.
    """
    try:
        told = float(bar.vwap)
    except ValueError:
        return True
    ours = notional / (bar.size * 10**instrument.price_scale)
    return bool(abs(told - ours) <= 1e-6 + 1e-9 * ours)


def bars_frame(bars: Sequence[dict[str, Any]], instrument: Instrument) -> pl.DataFrame:
    """Bars of schema `KLINES`; Alpaca does not tell the takers' part."""
    columns = {
        "minute": [bar["ns"] for bar in bars],
        "fills": [int(bar["n"]) for bar in bars],
        "size": [decimal(bar["v"], instrument.size_scale, 0) for bar in bars],
        "bought": [None] * len(bars),
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(KLINES, pl.Int64)).cast(KLINES)


def differs(trades: pl.DataFrame, bars: Mapping[int, Bar], instrument: Instrument) -> bool:
    """Whether the minutes of trades are not those of the bars: count, size or average price.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES`.
    """
    ours = (
        trades.lazy()
        .group_by(minute=pl.col("ts_event").dt.truncate("1m").dt.epoch("ns"))
        .agg(
            pl.col("fills").sum(),
            pl.col("size").sum(),
            notional=(pl.col("price").cast(pl.Int128) * pl.col("size")).sum(),
        )
        .collect(engine="in-memory")
    )
    stored = {minute: told for minute, *told in ours.iter_rows()}
    return stored.keys() != bars.keys() or any(
        (bars[minute].fills, bars[minute].size) != (fills, size)
        or not same_vwap(bars[minute], notional, instrument)
        for minute, (fills, size, notional) in stored.items()
    )
