"""The one shape a trade has everywhere inside: integers, UTC, the venue's identity."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

#: One row a print of the venue, in order of `id`.
#:
#: id        the venue's identity of the print (aggregate trade id, trade id); unique in a symbol
#: ts_event  the venue's clock, nanoseconds, UTC
#: price     price * 10**instrument.price_scale, exact
#: size      base quantity * 10**instrument.size_scale, exact, positive
#: side      the aggressor: 1 buyer, -1 seller, 0 not told
#: fills     how many single trades the print stands for (1 unless the venue aggregates)
TRADES = pl.Schema(
    {
        "id": pl.Int64(),
        "ts_event": pl.Datetime("ns", "UTC"),
        "price": pl.Int64(),
        "size": pl.Int64(),
        "side": pl.Int8(),
        "fills": pl.Int32(),
    }
)

NS_PER_DAY = 86_400_000_000_000


def utc_day_bounds(day: date) -> tuple[int, int]:
    """First nanosecond of a UTC day and of the next one, since the epoch."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    first = (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000
    return first, first + NS_PER_DAY


def content_hash(trades: pl.DataFrame) -> str:
    """SHA-256 of the trades themselves, whatever file or table they lie in.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES`, sorted by `id`.

    Returns
    -------
    str
        Hex digest over row count and each column's little-endian values, in schema order.
    """
    return hash_columns(trades.height, ([trades[n].to_physical().to_numpy()] for n in TRADES))


def hash_columns(count: int, columns: Iterable[Iterable[np.ndarray]]) -> str:
    """`content_hash` of trades that come in pieces, column after column.

    Parameters
    ----------
    count : int
        Of rows.
    columns : iterable of iterables of ndarray
        In the order of `TRADES`; a column's pieces, one after the other, are its integers.
    """
    digest = hashlib.sha256(count.to_bytes(8, "little"))
    for pieces in columns:
        for piece in pieces:
            digest.update(piece.astype("<i8", copy=False).tobytes())
    return digest.hexdigest()
