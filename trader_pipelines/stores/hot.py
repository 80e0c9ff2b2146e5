"""Hot ticks in Postgres: one symbol's day written or replaced whole, and read back as a frame."""

from datetime import date

import numpy as np
import polars as pl
import psycopg

from trader_pipelines.core.errors import BadTradeError, SettingsError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES

# Advisory lock around the list of partitions; another kind, of two numbers, guards a symbol's day.
_PARTITIONING = 0x7472_6164_6572_0002
POSTGRES_EPOCH = date(2000, 1, 1)
_CHUNK = 1 << 17  # rows; 10 MB of buffer

COLUMNS = "day, instrument_id, id, ts_event, price, size, fills, side"

# A row of COPY's binary format: the number of fields, then each with its length, big-endian.
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


def register(connection: psycopg.Connection, instrument: Instrument) -> int:
    """Number under which the instrument's rows are kept, given on the first call.

    Raises
    ------
    SettingsError
        When rows are kept on another grid of prices or sizes than the instrument has now.
    """
    number = registered(connection, instrument)
    if number is None:
        connection.execute(
            "insert into instruments (venue, symbol, price_scale, size_scale) "
            "values (%s, %s, %s, %s) on conflict do nothing",
            (
                instrument.venue,
                instrument.symbol,
                instrument.price_scale,
                instrument.size_scale,
            ),
        )
        number = registered(connection, instrument)
    assert number is not None
    return number


def write_day(
    connection: psycopg.Connection, instrument: Instrument, day: date, trades: pl.DataFrame
) -> None:
    """Replace the symbol's day by `trades`, within the caller's transaction.

    Until the caller commits, everybody else reads the old day; two writers of the same day follow
    one another.

    Parameters
    ----------
    instrument : Instrument
        Registered here if it is not yet.
    day : date
        The partition.
    trades : DataFrame
        Of schema `TRADES`, in any order, without a null.

    Raises
    ------
    BadTradeError
        When an id comes twice, or a value is missing; nothing is written.
    SettingsError
        See `register`.
    """
    _check(instrument, day, trades)
    # Partition first, symbol second, in every writer: two of one day never wait for one another.
    ensure_partition(connection, day)
    number = register(connection, instrument)
    connection.execute("select pg_advisory_xact_lock(%s, %s)", (number, day.toordinal()))
    connection.execute("delete from hot_ticks where day = %s and instrument_id = %s", (day, number))
    if trades.is_empty():
        return
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy hot_ticks ({COLUMNS}) from stdin (format binary)") as copy,
    ):
        copy.write(HEADER)
        for chunk in trades.iter_slices(_CHUNK):
            copy.write(_encode(chunk, day, number))
        copy.write(TRAILER)


def read_day(connection: psycopg.Connection, instrument: Instrument, day: date) -> pl.DataFrame:
    """The symbol's day, of schema `TRADES` and ascending by `id`; empty where there is none.

    Raises
    ------
    SettingsError
        See `register`.
    """
    number = registered(connection, instrument)
    if number is None:
        return TRADES.to_frame()
    # A column as one value: the driver's Python runs once, not once a row; 6 times COPY's speed.
    # Each in the same order of rows, whichever that is: one scan feeds them all.
    with connection.cursor(binary=True) as cursor:
        row = cursor.execute(
            """
            select string_agg(int8send(id), ''), string_agg(int8send(ts_event), ''),
                   string_agg(int8send(price), ''), string_agg(int8send(size), ''),
                   string_agg(int2send(side), ''), string_agg(int4send(fills), '')
            from hot_ticks where day = %s and instrument_id = %s
            """,
            (day, number),
        ).fetchone()
    assert row is not None
    columns = {
        name: np.frombuffer(value or b"", WIDTHS[name])
        for name, value in zip(TRADES, row, strict=True)
    }
    native = {
        name: values.astype(values.dtype.newbyteorder("=")) for name, values in columns.items()
    }
    return pl.DataFrame(native).cast(TRADES).sort("id")


def registered(connection: psycopg.Connection, instrument: Instrument) -> int | None:
    row = connection.execute(
        "select instrument_id, price_scale, size_scale from instruments "
        "where venue = %s and symbol = %s",
        (instrument.venue, instrument.symbol),
    ).fetchone()
    if row is None:
        return None
    scales = (instrument.price_scale, instrument.size_scale)
    if row[1:] != scales:
        raise SettingsError(
            f"{instrument.id} is kept with {row[1]} decimals of price and {row[2]} of size, but "
            f"its tick size {instrument.tick_size} and lot size {instrument.lot_size} mean "
            f"{scales[0]} and {scales[1]}",
            where=f"table instruments, row {row[0]}; universe, venues.{instrument.venue}, symbol "
            f"{instrument.symbol}",
            remedy="restore tick_size and lot_size in the universe",
        )
    return int(row[0])


def _encode(trades: pl.DataFrame, day: date, number: int) -> bytes:
    """Rows of COPY's binary format."""
    rows = np.empty(trades.height, WRITTEN)
    rows["fields"] = len(WIDTHS)
    for name, width in WIDTHS.items():
        rows[f"{name}_length"] = np.dtype(width).itemsize
    rows["day"] = (day - POSTGRES_EPOCH).days
    rows["instrument"] = number
    for name in TRADES:
        rows[name] = trades[name].to_physical().to_numpy()
    return rows.tobytes()


def _check(instrument: Instrument, day: date, trades: pl.DataFrame) -> None:
    place = f"{instrument.id}, {day}"
    if trades.schema != TRADES:
        raise BadTradeError(
            f"the frame has columns {dict(trades.schema)}, not those of trades",
            where=place,
            remedy="give a frame of schema core.trades.TRADES",
        )
    for name in TRADES:
        if trades[name].null_count():
            row = int(trades[name].is_null().arg_max() or 0)
            raise BadTradeError(
                f"row {row} has no {name}",
                where=f"{place}, column {name}",
                remedy="correct the source; nothing was written",
            )
    if (twice := trades["id"].is_duplicated()).any():
        row = int(twice.arg_max() or 0)
        raise BadTradeError(
            f"id {trades['id'][row]} comes more than once, first in row {row}",
            where=f"{place}, column id",
            remedy="correct the source; nothing was written",
        )


def ensure_partition(connection: psycopg.Connection, day: date) -> None:
    name = f"hot_ticks_{day:%Y%m%d}"
    # Looked up in the catalogue's rows: to_regclass asks a cache that, within a transaction, may
    # not know yet of a partition that another one committed while we waited for the lock.
    look = """
        select exists (
            select from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = 'hot_ticks'::regclass and c.relname = %s
        )
            or (select relkind = 'r' from pg_class where oid = 'hot_ticks'::regclass)
    """  # an ordinary table is a hypertable, which makes its chunks itself
    if connection.execute(look, (name,)).fetchone() == (True,):
        return
    connection.execute("select pg_advisory_xact_lock(%s)", (_PARTITIONING,))
    if connection.execute(look, (name,)).fetchone() == (True,):
        return
    following = date.fromordinal(day.toordinal() + 1)
    # Made aside and attached: `partition of` would lock out every reader until we commit.
    connection.execute(f"create table {name} (like hot_ticks including indexes)".encode())
    connection.execute(
        f"alter table hot_ticks attach partition {name} "
        f"for values from ('{day}') to ('{following}')".encode()
    )
