"""Micro-batches of live trades into hot ticks: copied in, or merged by id; all or nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
import psycopg
from numpy.typing import NDArray

from trader_pipelines.core.certificates import Range
from trader_pipelines.core.instruments import UTC_DAYS, Instrument
from trader_pipelines.core.sessions import days_of
from trader_pipelines.stores import database, hot, partitions
from trader_pipelines.stores.copying import COLUMNS, HEADER, TRAILER, encode
from trader_pipelines.stores.partitions import Place

_EPOCH = date(1970, 1, 1)
_TURN = 32  # rows of one symbol in a row: COPY finds the leaf of the later ones faster

_STAGE = """
create temp table if not exists live_batch (like hot_ticks) on commit delete rows
"""
_MERGE = f"""
with new as (
    insert into hot_ticks ({COLUMNS}) select {COLUMNS} from live_batch
    on conflict do nothing returning instrument_id, day
)
select instrument_id, day, count(*) from new group by 1, 2
"""  # noqa: S608
# The days and instruments stand there for the planner, which looks at no other partition then.
_CONTRADICTIONS = """
select b.instrument_id, b.day, count(*)
from live_batch b join hot_ticks h using (day, instrument_id, id)
where h.day = any(%s) and h.instrument_id = any(%s)
  and (b.ts_event, b.price, b.size, b.fills, b.side)
    is distinct from (h.ts_event, h.price, h.size, h.fills, h.side)
group by 1, 2
"""
_CERTIFIED = """
select i.instrument_id, c.day
from unnest(%s::int4[], %s::date[]) t (number, d)
    join instruments i on i.instrument_id = number
    join certificates c on (c.venue, c.symbol, c.day) = (i.venue, i.symbol, d)
"""
_REOPEN = """
insert into reopened (venue, symbol, day, reason)
select venue, symbol, d, reason
from unnest(%s::int4[], %s::date[], %s::text[]) t (number, d, reason)
    join instruments on instrument_id = number
on conflict do nothing
"""


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
    calendar : str
        What the trading days of the instruments are; see `core.sessions.days_of`.

    Attributes
    ----------
    contradictions : int
        Trades so far that came under an id that is stored with other values. What is stored stays;
        their days are open again.
    """

    def __init__(self, url: str, calendar: str = UTC_DAYS) -> None:
        self.contradictions = 0
        self._url, self._calendar = url, calendar
        self._connection: psycopg.Connection | None = None
        self._numbers: dict[Instrument, int] = {}

    def write(self, batch: Mapping[Instrument, pl.DataFrame]) -> int:
        """Commit the trades that are not there yet, each to the trading day of its `ts_event`.

        A day that has a certificate and gets a new trade is noted in ``reopened`` with the same
        commit, and so is one whose stored trades are contradicted.

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
                return self._write(frames)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let the connection go; what was not committed is undone."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _write(self, frames: Mapping[Instrument, pl.DataFrame]) -> int:
        if self._connection is None:
            self._connection = database.connect(self._url)
            self._connection.execute(_STAGE)
            self._connection.commit()
        connection = self._connection
        for instrument in frames.keys() - self._numbers.keys():
            with connection.transaction():
                number = hot.register(connection, instrument)
            self._numbers[instrument] = number
        # One frame: what is done once a batch would cost more than the rows, done once a symbol.
        trades = pl.concat(frames.values())
        heights = [each.height for each in frames.values()]
        numbers = np.repeat([self._numbers[each] for each in frames], heights)
        days = days_of(self._calendar, trades["ts_event"].to_physical().to_numpy())
        turns = encode(trades, days, numbers)[_turns(heights)]
        rows = HEADER + turns.tobytes() + TRAILER
        places = _places(numbers, days)
        # Nearly always every row is new, of a day that others came in for, and is not certified.
        if _copied(connection, rows, places):
            return trades.height
        new, contradicted = _merged(connection, rows, trades.height, places)
        self.contradictions += contradicted
        return new


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


def _turns(heights: Iterable[int]) -> NDArray[np.int64]:
    """The order of rows in which the symbols take turns.

    COPY holds up to 1,000 rows back, and what it remembers of them costs it time with the square of
    those of one leaf: turns take 0.9 ms a symbol off a batch of 2,000 rows each.
    """
    turns = [np.arange(height) // _TURN for height in heights]
    return np.argsort(np.concatenate(turns), kind="stable")


def _places(numbers: NDArray[np.int64], days: NDArray[np.int64]) -> list[Place]:
    pairs = np.unique(days << 32 | numbers).tolist()
    return [(pair & 0xFFFF_FFFF, _EPOCH + timedelta(pair >> 32)) for pair in pairs]


def _copied(connection: psycopg.Connection, rows: bytes, places: list[Place]) -> bool:
    """Copy rows in; False, and nothing done, when there is more to it.

    One is there already, a day is certified, or a symbol's day is not there yet.
    """
    try:
        with connection.transaction():
            partitions.lock(connection, places)
            if _certified(connection, places):
                return False
            _copy(connection, "hot_ticks", rows)
    except (psycopg.errors.UniqueViolation, psycopg.errors.CheckViolation):
        return False
    return True


def _merged(
    connection: psycopg.Connection, rows: bytes, count: int, places: list[Place]
) -> tuple[int, int]:
    """Insert the rows that are not there; how many were new, and how many are there otherwise."""
    numbers, days = [n for n, _ in places], [d for _, d in places]
    contradicted: dict[Place, int] = {}
    with connection.transaction():
        partitions.lock(connection, places)
        partitions.make_room(connection, places)
        certified = _certified(connection, places)
        _copy(connection, "live_batch", rows)
        new = {(number, day): n for number, day, n in connection.execute(_MERGE)}
        if sum(new.values()) < count:
            found = connection.execute(_CONTRADICTIONS, (days, numbers))
            contradicted = {(number, day): n for number, day, n in found}
        _reopen(connection, contradicted, new.keys() & certified)
    return sum(new.values()), sum(contradicted.values())


def _certified(connection: psycopg.Connection, places: list[Place]) -> set[Place]:
    """The certified ones among symbol-days, whose locks we hold.

    Whoever certifies a day holds its lock, too: he waits for us, or we see his certificate.
    """
    numbers, days = [n for n, _ in places], [d for _, d in places]
    return set(connection.execute(_CERTIFIED, (numbers, days)).fetchall())


def _reopen(
    connection: psycopg.Connection, contradicted: Mapping[Place, int], late: Iterable[Place]
) -> None:
    reasons = dict.fromkeys(late, "late trades") | dict.fromkeys(contradicted, "contradiction")
    if reasons:
        numbers, days = [n for n, _ in reasons], [d for _, d in reasons]
        connection.execute(_REOPEN, (numbers, days, list(reasons.values())))


def _copy(connection: psycopg.Connection, table: str, rows: bytes) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy {table} ({COLUMNS}) from stdin (format binary)".encode()) as copy,
    ):
        copy.write(rows)
