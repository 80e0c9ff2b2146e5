"""One reader of ticks: each symbol's day whole, from cold or from hot, proven by its hash.

One statement decides which version of each day counts. The trades of that version are then read
wherever they lie at that moment: a file that is replaced, swept or compacted meanwhile is looked
for again by its content, so no lock and no long transaction stands in anybody's way.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import psycopg

from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.instruments import UTC_DAYS, Instrument
from trader_pipelines.core.sessions import days_of
from trader_pipelines.core.trades import NS_PER_DAY, TRADES, content_hash, utc_day_bounds
from trader_pipelines.stores import hot, manifest, parquet
from trader_pipelines.stores.cold import seals
from trader_pipelines.stores.cold.backend import Backend, at
from trader_pipelines.stores.cold.plan import COLD, Piece, locate, plan
from trader_pipelines.stores.cold.seals import Slice

__all__ = ["COLD", "Piece", "frames", "plan", "scan", "ticks"]

_ATTEMPTS = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ticks(
    connection: psycopg.Connection,
    root: Backend | Path,
    instruments: Sequence[Instrument],
    start: datetime,
    end: datetime,
    *,
    columns: Sequence[str] = tuple(TRADES),
    ids: tuple[int, int] | None = None,
    as_of: datetime | None = None,
    calendar: str = UTC_DAYS,
) -> pl.DataFrame:
    """Trades of a venue's instruments with start <= `ts_event` < end, from cold and hot.

    Of cold files only the columns asked for and the row groups that overlap are read. Nothing is
    returned that was not compared with a hash of the manifest.

    Parameters
    ----------
    connection : Connection
        Committing by itself, or reading what others commit meanwhile.
    root : Backend or Path
        The cold store.
    instruments : sequence of Instrument
        Of one venue.
    start, end : datetime
        With a time zone.
    columns : sequence of str
        Of `TRADES`.
    ids : (int, int) or None
        First and last id, both included.
    as_of : datetime or None
        Answer with what was certified by then; a day that was not certified yet has no rows.
        Asked again, the answer is the same.
    calendar : str
        What the venue's days are: `VenueSpec.calendar`.

    Returns
    -------
    DataFrame
        ``symbol`` and `columns`, ascending by symbol, day and id.

    Raises
    ------
    ValueError
        When a column is unknown, a stamp has no time zone, or the venues differ.
    MissingDataError
        Naming the file, or the symbol's day whose certified trades are in neither tier; with
        `as_of`, a version that was replaced before it was copied to cold, or forgotten since.
    ChecksumError, DamagedFileError
        Naming the file.
    """
    for attempt in range(_ATTEMPTS):
        each = frames(
            connection, root, instruments, start, end, columns=columns, ids=ids, as_of=as_of,
            calendar=calendar,
        )  # fmt: skip
        try:
            return pl.concat([*each] or [_empty(columns)])
        except _SupersededError:
            # Certified anew before its first copy to cold: what was planned is nowhere.
            if as_of is not None or attempt + 1 == _ATTEMPTS:
                raise
    raise AssertionError


def frames(
    connection: psycopg.Connection,
    root: Backend | Path,
    instruments: Sequence[Instrument],
    start: datetime,
    end: datetime,
    *,
    columns: Sequence[str] = tuple(TRADES),
    ids: tuple[int, int] | None = None,
    as_of: datetime | None = None,
    calendar: str = UTC_DAYS,
) -> Iterator[pl.DataFrame]:
    """The same as `ticks`, a frame for each symbol's day: memory holds one of them.

    All are of the versions that counted when the first was asked for.

    Raises
    ------
    MissingDataError
        Besides those of `ticks`: when a day was certified anew before its first copy to cold, so
        that what counted at the beginning is nowhere any more; worth another try.
    """
    venue = _check(instruments, (start, end, as_of), columns)
    if start >= end or venue is None:
        return iter(())
    return _frames(
        connection, at(root), venue, instruments, (start, end), columns, ids, as_of, calendar
    )


def _frames(
    connection: psycopg.Connection,
    store: Backend,
    venue: str,
    instruments: Sequence[Instrument],
    between: tuple[datetime, datetime],
    columns: Sequence[str],
    ids: tuple[int, int] | None,
    as_of: datetime | None,
    calendar: str,
) -> Iterator[pl.DataFrame]:
    start, end = between
    known = {instrument.symbol: instrument for instrument in instruments}
    bounds = _ns(start), _ns(end)
    first, last = _days(calendar, *bounds)
    wanted = Slice(*bounds, ids, tuple(columns))
    if as_of is not None:
        manifest.settle(connection)
    for piece in plan(connection, venue, tuple(known), first, last, as_of=as_of):
        try:
            found = _obtain(connection, store, known[piece.symbol], piece, wanted, calendar)
        except _SupersededError as error:
            error.retry = as_of is None  # the past does not change
            raise
        yield found.select(pl.lit(piece.symbol).alias("symbol"), *columns)


def scan(
    connection: psycopg.Connection,
    root: Backend | Path,
    instruments: Sequence[Instrument],
    start: datetime,
    end: datetime,
    *,
    ids: tuple[int, int] | None = None,
    as_of: datetime | None = None,
    calendar: str = UTC_DAYS,
) -> pl.LazyFrame:
    """The same as `ticks`, lazily: columns that a query does not need are not read.

    Each collection plans anew and reads a symbol's day at a time. `start`, `end` and `ids` narrow
    what is read; other predicates narrow what is kept of a day.
    """
    _check(instruments, (start, end, as_of), ())
    from polars.io.plugins import register_io_source

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        asked = columns if columns is not None else ["symbol", *TRADES]
        named = set(predicate.meta.root_names()) if predicate is not None else set()
        needed = [name for name in TRADES if name in {*asked, *named}]
        for frame in frames(
            connection, root, instruments, start, end, columns=needed, ids=ids, as_of=as_of,
            calendar=calendar,
        ):  # fmt: skip
            kept = frame.filter(predicate) if predicate is not None else frame
            kept = kept.select(asked).head(rows if rows is not None else kept.height)
            if rows is not None:
                rows -= kept.height
            yield kept
            if rows == 0:
                return

    return register_io_source(source, schema=_empty(tuple(TRADES)).schema)


class _SupersededError(MissingDataError):
    """What was planned is in neither tier any more."""


def _obtain(
    connection: psycopg.Connection,
    store: Backend,
    instrument: Instrument,
    piece: Piece,
    wanted: Slice,
    calendar: str,
) -> pl.DataFrame:
    """Wanted rows and columns of a piece, looked for again when it was moved under our hands."""
    for attempt in range(_ATTEMPTS):
        if piece.path is None:
            warm = hot.read_day(connection, instrument, piece.day)
            if content_hash(warm) == piece.content_hash:
                return wanted.of(warm)
            # Hot rows go after the cold copy is committed: it would be found now.
            moved = locate(connection, instrument.venue, piece)
            if moved.path is None:
                gone = _nowhere(connection, instrument, piece, warm.height)
                # Certified away and back again while we looked? Then hot has them by now.
                if isinstance(gone, _SupersededError) or attempt + 1 == _ATTEMPTS:
                    raise gone
        else:
            try:
                return _cold(store, piece, piece.path, wanted, calendar)
            except MissingDataError:
                moved = locate(connection, instrument.venue, piece)
                if moved.path == piece.path:
                    raise
        piece = moved
    raise _SupersededError(
        "these trades were moved each time they were looked for",
        where=f"{instrument.id} on {piece.day}",
        remedy="run it again",
        retry=True,
    )


def _cold(store: Backend, piece: Piece, path: str, wanted: Slice, calendar: str) -> pl.DataFrame:
    if piece.seals is not None and not _whole(wanted, piece.day, calendar):
        found = seals.read(store, path, piece.bytes, piece.seals, wanted)
    else:
        frame = parquet.read(store, path, piece.sha256)
        if absent := [name for name in TRADES if name not in frame.columns]:
            raise seals.foreign(store.where(path), f"it has no {', '.join(absent)}")
        if frame.schema["ts_event"] != TRADES["ts_event"]:
            raise seals.foreign(store.where(path), "its ts_event is no stamp in nanoseconds")
        found = wanted.of(frame)
    if wrong := [name for name in wanted.columns if found.schema[name] != TRADES[name]]:
        raise seals.foreign(store.where(path), f"other types of {', '.join(wrong)}")
    return found


def _whole(wanted: Slice, day: date, calendar: str) -> bool:
    """Whether all of a day is asked for: one hash of the file, and the fastest decoder."""
    # A session that is no UTC day lies within it and the next.
    first, last = utc_day_bounds(day)
    last += 0 if calendar == UTC_DAYS else NS_PER_DAY
    every = wanted.ids is None and set(wanted.columns) >= set(TRADES)
    return every and wanted.start <= first and wanted.end >= last


def _nowhere(
    connection: psycopg.Connection, instrument: Instrument, piece: Piece, held: int
) -> MissingDataError:
    now = manifest.get_certificate(connection, instrument.venue, piece.symbol, piece.day)
    where = f"{instrument.id} on {piece.day}"
    if now is None or now.content_hash == piece.content_hash:
        return MissingDataError(
            f"hot holds {held} trades, not the {piece.rows} certified, and no cold file has them",
            where=f"hot_ticks, {where}",
            remedy="materialize hot_ticks of that day again",
        )
    return _SupersededError(
        f"the {piece.rows} trades that counted then were replaced by {now.count}, and no copy of "
        "them is kept",
        where=where,
        remedy="ask for what counts now; only what was copied to cold is kept for the past",
        retry=True,
    )


def _empty(columns: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(schema={"symbol": pl.String, **{name: TRADES[name] for name in columns}})


def _ns(stamp: datetime) -> int:
    whole = (stamp - _EPOCH) // timedelta(microseconds=1) * 1_000
    return max(-(2**63), min(whole, 2**63 - 1))


def _days(calendar: str, start: int, end: int) -> tuple[date, date]:
    first, last = days_of(calendar, np.array([start, end - 1])).tolist()
    return _EPOCH.date() + timedelta(first), _EPOCH.date() + timedelta(last)


def _check(
    instruments: Sequence[Instrument],
    stamps: Sequence[datetime | None],
    columns: Sequence[str],
) -> str | None:
    if any(stamp is not None and stamp.tzinfo is None for stamp in stamps):
        raise ValueError("start, end and as_of need a time zone")
    if unknown := [name for name in columns if name not in TRADES]:
        raise ValueError(f"no such column: {', '.join(unknown)}; there are {', '.join(TRADES)}")
    venues = {instrument.venue for instrument in instruments}
    if len(venues) > 1:
        raise ValueError(f"instruments of more than one venue: {', '.join(sorted(venues))}")
    return next(iter(venues), None)
