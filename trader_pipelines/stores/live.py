"""Micro-batches of live trades into hot ticks: staged by COPY, merged by id, all or nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
import psycopg

from trader_pipelines.core.certificates import Range
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import NS_PER_DAY, TRADES
from trader_pipelines.stores import database, hot

_EPOCH = date(1970, 1, 1)

_STAGE = """
create temp table if not exists live_batch (like hot_ticks) on commit delete rows
"""
_MERGE = f"""
insert into hot_ticks ({hot.COLUMNS}) select {hot.COLUMNS} from live_batch on conflict do nothing
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Stored:
    """The ids that the store has of a symbol, of its latest days.

    Parameters
    ----------
    first, last : int
        Of the days looked at.
    last_ns : int
        The latest `ts_event`, nanoseconds, UTC.
    missing : tuple of Range
        Holes between the two.
    """

    first: int
    last: int
    last_ns: int
    missing: tuple[Range, ...]


class LiveWriter:
    """A connection that merges batches; opened when first needed, and again after a failure.

    Not for two threads at a time.

    Parameters
    ----------
    url : str
        Of the database, whose schema is ready.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None
        self._numbers: dict[Instrument, int] = {}
        self._days: set[int] = set()

    def write(self, batch: Mapping[Instrument, pl.DataFrame]) -> int:
        """Commit the trades that are not there yet, each to the UTC day of its `ts_event`.

        Parameters
        ----------
        batch : mapping of Instrument to DataFrame
            Of schema `TRADES`, in any order.

        Returns
        -------
        int
            How many rows were new.

        Raises
        ------
        DatabaseUnreachableError, DiskFullError
            Nothing was written; the same batch may be given again.
        SettingsError
            When an instrument is stored on another grid.
        """
        frames = {instrument: trades for instrument, trades in batch.items() if trades.height}
        if not frames:
            return 0
        with database.typed_errors(self._url):
            try:
                return self._merge(frames)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let the connection go; what was not committed is undone."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._days.clear()

    def _merge(self, frames: Mapping[Instrument, pl.DataFrame]) -> int:
        if self._connection is None:
            self._connection = database.connect(self._url)
            self._connection.execute(_STAGE)
            self._connection.commit()
        connection = self._connection
        for instrument in frames.keys() - self._numbers.keys():
            with connection.transaction():
                number = hot.register(connection, instrument)
            self._numbers[instrument] = number
        # Not one concatenated array: numpy would turn its fields to the machine's byte order.
        parts = [_encode(f, self._numbers[i]) for i, f in frames.items()]
        locks = sorted({pair for part in parts for pair in _locks(part)})
        with connection.transaction(), connection.cursor() as cursor:
            # Days first, symbols second, both in order: as every writer does.
            for day in sorted({day for _, day in locks}):
                hot.ensure_partition(connection, date.fromordinal(day))
            # Whoever replaces a symbol's whole day is not disturbed, and does not disturb.
            cursor.execute(
                "select pg_advisory_xact_lock_shared(n, d) from "
                "(select n, d from unnest(%s::int4[], %s::int4[]) t (n, d) order by n, d) o",
                ([number for number, _ in locks], [day for _, day in locks]),
            )
            with cursor.copy(f"copy live_batch ({hot.COLUMNS}) from stdin (format binary)") as copy:
                copy.write(hot.HEADER)
                for part in parts:
                    copy.write(part.tobytes())
                copy.write(hot.TRAILER)
            cursor.execute(_MERGE)
            return cursor.rowcount


def stored_ids(
    connection: psycopg.Connection,
    instruments: Iterable[Instrument],
    *,
    days: int = 3,
) -> dict[Instrument, Stored]:
    """What the store has of each symbol's latest days; symbols without any trade are left out.

    Parameters
    ----------
    days : int
        How many days before a symbol's last trade are searched for holes; what is older is the
        certificates' business.
    """
    found: dict[Instrument, Stored] = {}
    for instrument in instruments:
        number = hot.registered(connection, instrument)
        if number is None:
            continue
        latest = connection.execute(
            "select day from hot_ticks where instrument_id = %s order by day desc limit 1",
            (number,),
        ).fetchone()
        if latest is None:
            continue
        span = (number, latest[0] - timedelta(days=days - 1))
        row = connection.execute(
            "select min(id), max(id), count(*), max(ts_event) from hot_ticks "
            "where instrument_id = %s and day >= %s",
            span,
        ).fetchone()
        assert row is not None
        first, last, count, last_ns = row
        missing: list[Range] = []
        if count < last - first + 1:
            missing = connection.execute(
                "select before + 1, id - 1 from (select id, lag(id) over (order by id) before "
                "from hot_ticks where instrument_id = %s and day >= %s) ids "
                "where id > before + 1 order by id",
                span,
            ).fetchall()
        found[instrument] = Stored(first, last, last_ns, tuple(missing))
    return found


def _encode(trades: pl.DataFrame, number: int) -> np.ndarray:
    rows = np.empty(trades.height, hot.WRITTEN)
    rows["fields"] = len(hot.WIDTHS)
    for name, width in hot.WIDTHS.items():
        rows[f"{name}_length"] = np.dtype(width).itemsize
    ts = trades["ts_event"].to_physical().to_numpy()
    rows["day"] = ts // NS_PER_DAY - (hot.POSTGRES_EPOCH - _EPOCH).days
    rows["instrument"] = number
    for name in TRADES:
        rows[name] = trades[name].to_physical().to_numpy()
    return rows


def _locks(rows: np.ndarray) -> set[tuple[int, int]]:
    """Number and day (ordinal) of `hot.write_day`'s locks."""
    number = int(rows["instrument"][0])
    days = np.unique(rows["day"]).tolist()
    return {(number, day + hot.POSTGRES_EPOCH.toordinal()) for day in days}
