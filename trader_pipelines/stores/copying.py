"""Rows of hot ticks in COPY's binary format."""

from datetime import date

import numpy as np
import polars as pl
import psycopg
from numpy.typing import NDArray

from trader_pipelines.core.trades import TRADES

POSTGRES_EPOCH = date(2000, 1, 1)
CHUNK = 1 << 17  # rows; 10 MB of buffer

COLUMNS = "day, instrument_id, id, ts_event, price, size, fills, side"

# A row is the number of its fields, then each with its length, big-endian.
# https://www.postgresql.org/docs/current/sql-copy.html
WIDTHS = {"day": ">i4", "instrument": ">i4", "id": ">i8", "ts_event": ">i8"}
WIDTHS |= {"price": ">i8", "size": ">i8", "fills": ">i4", "side": ">i2"}
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"


def _record(names: tuple[str, ...]) -> np.dtype[np.void]:
    fields = [("fields", ">i2")]
    for name in names:
        fields += [(f"{name}_length", ">i4"), (name, WIDTHS[name])]
    return np.dtype(fields)


WRITTEN = _record(tuple(WIDTHS))

_EMPTY = np.zeros(1, WRITTEN)
_EMPTY["fields"] = len(WIDTHS)
for _name, _width in WIDTHS.items():
    _EMPTY[f"{_name}_length"] = np.dtype(_width).itemsize


def encode(
    trades: pl.DataFrame, days: int | NDArray[np.int64], numbers: int | NDArray[np.int64]
) -> NDArray[np.void]:
    """Rows without header and trailer, of dtype `WRITTEN`.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES`, without a null.
    days : int or ndarray, shape (n,)
        Days since 1970-01-01, of all rows or of each.
    numbers : int or ndarray, shape (n,)
        Of the instruments.
    """
    rows = np.repeat(_EMPTY, trades.height)
    rows["day"] = days - (POSTGRES_EPOCH - date(1970, 1, 1)).days
    rows["instrument"] = numbers
    for name in TRADES:
        rows[name] = trades[name].to_physical().to_numpy()
    return rows


def copy_into(
    connection: psycopg.Connection, table: str, trades: pl.DataFrame, day: date, number: int
) -> None:
    """Copy one symbol's day; rows are encoded while the server takes the ones before."""
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy {table} ({COLUMNS}) from stdin (format binary)".encode()) as copy,
    ):
        copy.write(HEADER)
        for chunk in trades.iter_slices(CHUNK):
            copy.write(encode(chunk, (day - date(1970, 1, 1)).days, number).tobytes())
        copy.write(TRAILER)
