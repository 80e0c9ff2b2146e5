"""One reader of ticks: each symbol's day from cold or from hot, never from both."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg

from trader_pipelines.core.errors import DamagedFileError, MissingDataError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES
from trader_pipelines.stores import hot
from trader_pipelines.stores.cold import encoding

COLD = "cold_ticks"
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Piece:
    """Where the trades of one symbol's day are to be read.

    Parameters
    ----------
    path : str or None
        Of the cold file, relative to the root; None where the hot table has the day.
    rows : int or None
        What the certificate promises; None without one.
    """

    symbol: str
    day: date
    path: str | None
    rows: int | None


def plan(
    connection: psycopg.Connection, venue: str, symbols: Sequence[str], first: date, last: date
) -> list[Piece]:
    """Decide for each symbol's day of the manifest, in one statement, who answers for it.

    Cold answers when its trades are those of the certificate, hot when it was certified anew since.

    Parameters
    ----------
    first, last : date
        Both included.

    Returns
    -------
    list of Piece
        By symbol and day.
    """
    rows = connection.execute(
        """
        select symbol, day, case when c.content_hash is null
                or c.content_hash is not distinct from d.content_hash then d.path end,
            coalesce(c.count, d.rows)
        from (select * from certificates where venue = %(venue)s
                and symbol = any(%(symbols)s) and day between %(first)s and %(last)s) c
        full join (select * from datasets where dataset = %(cold)s and venue = %(venue)s
                and symbol = any(%(symbols)s) and day between %(first)s and %(last)s) d
            using (symbol, day)
        order by symbol, day
        """,
        {
            "venue": venue, "symbols": list(symbols), "first": first, "last": last, "cold": COLD
        },
    ).fetchall()  # fmt: skip
    return [Piece(*row) for row in rows]


def ticks(
    connection: psycopg.Connection,
    root: Path,
    instruments: Sequence[Instrument],
    start: datetime,
    end: datetime,
    *,
    columns: Sequence[str] = tuple(TRADES),
    ids: tuple[int, int] | None = None,
) -> pl.DataFrame:
    """Trades of a venue's instruments with start <= `ts_event` < end, from cold and hot.

    Everything is decided and the hot rows are read in one snapshot of the database; when a file was
    replaced and swept before it was read, all of it is done again. Of cold files only the columns
    asked for and the row groups that overlap are read. A row's day is its partition: UTC days.

    Parameters
    ----------
    connection : Connection
        Outside of any transaction.
    root : Path
        Of the cold store.
    instruments : sequence of Instrument
        Of one venue.
    start, end : datetime
        With a time zone.
    columns : sequence of str
        Of `TRADES`.
    ids : (int, int) or None
        First and last id, both included.

    Returns
    -------
    DataFrame
        ``symbol`` and `columns`, ascending by symbol, day and id.

    Raises
    ------
    ValueError
        When a column is unknown, a stamp has no time zone, or the venues differ.
    MissingDataError, DamagedFileError
        Naming the file, or the symbol's day whose certified trades are in neither tier.
    """
    venue = _check(instruments, start, end, columns)
    known = {instrument.symbol: instrument for instrument in instruments}
    empty = pl.DataFrame(schema={"symbol": pl.String, **{name: TRADES[name] for name in columns}})
    if start >= end or venue is None:
        return empty
    first = start.astimezone(UTC).date()
    last = (end.astimezone(UTC) - timedelta(microseconds=1)).date()
    for attempt in range(_ATTEMPTS):
        try:
            with connection.transaction():
                connection.execute("set transaction isolation level repeatable read")
                pieces = plan(connection, venue, tuple(known), first, last)
                frames = [
                    _read(connection, root, known[piece.symbol], piece, start, end, columns, ids)
                    for piece in pieces
                ]
            return pl.concat([empty, *frames])
        except MissingDataError:
            # Swept between the plan and the reading? Then the manifest names another file now.
            if attempt + 1 == _ATTEMPTS:
                raise
    raise AssertionError


def _read(
    connection: psycopg.Connection,
    root: Path,
    instrument: Instrument,
    piece: Piece,
    start: datetime,
    end: datetime,
    columns: Sequence[str],
    ids: tuple[int, int] | None,
) -> pl.DataFrame:
    chosen: list[pl.Expr | str] = [pl.lit(piece.symbol).alias("symbol"), *columns]
    if piece.path is None:
        warm = hot.read_day(connection, instrument, piece.day)
        if warm.height != (piece.rows or 0):
            raise MissingDataError(
                f"hot holds {warm.height} of {piece.rows} certified trades, and no cold file has "
                "them",
                where=f"hot_ticks, {instrument.id} on {piece.day}",
                remedy="materialize hot_ticks of that day again",
            )
        return _within(warm.lazy(), "ns", start, end, ids).select(chosen).collect()
    file = root / piece.path
    try:
        told = pl.read_parquet_metadata(file)
        scan = pl.scan_parquet(file, hive_partitioning=False)
        kind = scan.collect_schema().get("ts_event")
        if not isinstance(kind, pl.Datetime):
            raise _foreign(file)
        # Compared in the file's own unit, or its statistics would be of no use.
        narrowed = _within(scan, kind.time_unit, start, end, ids)
        found = encoding.restore(narrowed.select(chosen).collect(), told)
    except FileNotFoundError:
        raise MissingDataError(
            "a file of the manifest is not there",
            where=str(file),
            remedy="restore it, or materialize its partition again",
        ) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DamagedFileError(
            f"not readable as Parquet: {error}",
            where=str(file),
            remedy="run `trader cold verify`, then materialize its partition again",
        ) from None
    if any(found.schema[name] != TRADES[name] for name in columns):
        raise _foreign(file)
    return found


def _foreign(file: Path) -> DamagedFileError:
    return DamagedFileError(
        "not a file of trades: its columns are others",
        where=str(file),
        remedy="run `trader cold verify`, then materialize its partition again",
    )


def _within(
    frame: pl.LazyFrame, unit: str, start: datetime, end: datetime, ids: tuple[int, int] | None
) -> pl.LazyFrame:
    stamps = pl.col("ts_event")
    low, high = (_ceiling(stamp, unit) for stamp in (start, end))
    frame = frame.filter(stamps >= low, stamps < high)
    return frame.filter(pl.col("id").is_between(*ids)) if ids is not None else frame


def _ceiling(stamp: datetime, unit: str) -> pl.Expr:
    """First stamp of the unit that is not before `stamp`, exact: both bounds are half-open."""
    microseconds = (stamp - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    whole = microseconds * 1_000 if unit == "ns" else microseconds
    whole = -(-microseconds // 1_000) if unit == "ms" else whole
    return pl.lit(whole, pl.Int64).cast(pl.Datetime(unit, "UTC"))  # type: ignore[arg-type]


def _check(
    instruments: Sequence[Instrument], start: datetime, end: datetime, columns: Sequence[str]
) -> str | None:
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end need a time zone")
    if unknown := [name for name in columns if name not in TRADES]:
        raise ValueError(f"no such column: {', '.join(unknown)}; there are {', '.join(TRADES)}")
    venues = {instrument.venue for instrument in instruments}
    if len(venues) > 1:
        raise ValueError(f"instruments of more than one venue: {', '.join(sorted(venues))}")
    return next(iter(venues), None)
