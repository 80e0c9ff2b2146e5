"""Bars and single fills computed from a tape, exactly."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from trader_pipelines_tests.exchange import tapes
from trader_pipelines_tests.exchange.rows import Row
from trader_pipelines_tests.exchange.tapes import Ints, Tape

INTERVALS = {"1s": 1, "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400}


def expanded(tape: Tape, units: int = 1) -> Iterator[Row]:
    """The raw trades of aggregates: the first of each carries what does not divide evenly."""
    columns = (tape.first, tape.last, tape.ts // (1_000_000 // units), tape.price, tape.size)
    rows = zip(*(c.tolist() for c in columns), (tape.side < 0).tolist(), strict=True)
    for first, last, time, price, size, maker in rows:
        fills = last - first + 1
        share, rest = divmod(size, fills)
        for k in range(fills):
            part = share + (rest if k == 0 else 0)
            yield Row(first + k, price, part, first + k, first + k, time, maker)


def klines(
    tape: Tape, seconds: int, start_ms: int | None, end_ms: int | None, limit: int
) -> list[list[Any]]:
    """Binance's klines: from `start_ms` on, else the last ones before `end_ms`.

    Volume, quote volume and taker volumes are exact sums; `count` counts raw trades. Minutes
    without a trade between others repeat the last close with zero volume.
    """
    if not len(tape):
        return []
    width = seconds * 1000
    first_open = int(tape.ts[0]) // 1_000_000 // width * width
    last_open = int(tape.ts[-1]) // 1_000_000 // width * width
    lo_open = first_open if start_ms is None else max(first_open, -(-start_ms // width) * width)
    hi_open = last_open if end_ms is None else min(last_open, end_ms // width * width)
    if start_ms is None:
        lo_open = max(lo_open, hi_open - (limit - 1) * width)
    hi_open = min(hi_open, lo_open + (limit - 1) * width)
    if hi_open < lo_open:
        return []
    lo, hi = tapes.between(tape, lo_open * 1_000_000, (hi_open + width) * 1_000_000 - 1)
    before = int(tape.price[lo - 1]) if lo else int(tape.price[0])
    return _filled(tapes.take(tape, slice(lo, hi)), width, lo_open, hi_open, before)


def _filled(part: Tape, width: int, lo_open: int, hi_open: int, close: int) -> list[list[Any]]:
    opens = np.arange(lo_open, hi_open + 1, width)
    edges = np.searchsorted(part.ts, np.append(opens, hi_open + width) * 1_000_000)
    quote, quote_dp = _notional(part)
    fills = part.last - part.first + 1
    buyer = part.side > 0
    rows = []
    for opened, lo, hi in zip(opens.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        price, size = part.price[lo:hi], part.size[lo:hi]
        bought = buyer[lo:hi]
        if lo < hi:
            told = [int(price[0]), int(price.max()), int(price.min()), int(price[-1])]
            close = told[3]
        else:
            told = [close] * 4
        rows.append(
            [
                opened,
                *(tapes.text(value, part.price_dp) for value in told),
                tapes.text(int(size.sum()), part.size_dp),
                opened + width - 1,
                tapes.rounded(sum(quote[lo:hi]), quote_dp),
                int(fills[lo:hi].sum()),
                tapes.text(int(size[bought].sum()), part.size_dp),
                tapes.rounded(
                    sum(q for q, b in zip(quote[lo:hi], bought, strict=True) if b), quote_dp
                ),
                "0",
            ]
        )
    return rows


def _notional(part: Tape) -> tuple[list[int], int]:
    price, price_dp = tapes.step(part.price, part.price_dp)
    size, size_dp = tapes.step(part.size, part.size_dp)
    quote = [p * s for p, s in zip(price.tolist(), size.tolist(), strict=True)]
    return quote, price_dp + size_dp


def alpaca_bars(tape: Tape, opens: Ints) -> list[dict[str, Any]]:
    """Bars of Alpaca from valid prints; `opens` gives the bar of each print (ns), ascending.

    Cancelled and incorrect prints do not count.
    """
    valid = (tape.update == tapes.VALID) | (tape.update == tapes.CORRECTED)
    tape, opens = tapes.take(tape, valid), opens[valid]
    if not len(tape):
        return []
    starts = np.flatnonzero(np.append(True, opens[1:] != opens[:-1]))
    counts = np.diff(np.append(starts, len(tape)))
    price, size = tape.price / 10**tape.price_dp, tape.size / 10**tape.size_dp
    volume = np.add.reduceat(tape.size, starts)
    vwap = np.add.reduceat(price * size, starts) / np.add.reduceat(size, starts)
    columns = {
        "ns": opens[starts],
        "o": price[starts],
        "h": np.maximum.reduceat(price, starts),
        "l": np.minimum.reduceat(price, starts),
        "c": price[starts + counts - 1],
        "v": volume / 10**tape.size_dp if tape.size_dp else volume,
        "n": counts,
        "vw": vwap.round(6),
    }
    names = list(columns)
    told = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(names, values, strict=True)) for values in told]
