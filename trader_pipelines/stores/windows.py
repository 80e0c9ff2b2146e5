"""A window of a symbol's day in hot ticks, replaced whole: where trades are not counted."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
import psycopg
from numpy.typing import NDArray

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES
from trader_pipelines.stores import copying, hot, partitions

_MINUTE = 60_000_000_000
_STORED = "id, ts_event, price, size, side, fills"


@dataclass(frozen=True, slots=True)
class StoredMinute:
    """What the store holds of one minute: trades, size, and the sum of price times size."""

    fills: int
    size: int
    notional: int


def replace_window(
    connection: psycopg.Connection,
    instrument: Instrument,
    day: date,
    start_ns: int,
    end_ns: int,
    trades: pl.DataFrame,
) -> bool:
    """Make the symbol's trades from one nanosecond to before another these, and no others.

    For ids that are stamps, or the next free one: none is below its `ts_event`.

    Within the caller's transaction, and under the same locks as `hot.write_day`: everybody else
    reads the old window until the commit. An id that is taken already by a trade before the window
    goes to the next free one; trades after it move up where they have to, so that ids stay unique
    and ascend with `ts_event`. A certified day whose window changes is noted in ``reopened``.

    Parameters
    ----------
    day : date
        The partition; the whole window belongs to it.
    start_ns, end_ns : int
        Nanoseconds since the epoch, UTC; the end is excluded.
    trades : DataFrame
        Of schema `TRADES`, ascending by `id` and by `ts_event`, all of them within the window.

    Returns
    -------
    bool
        Whether anything changed.

    Raises
    ------
    ValueError
        When a trade lies outside the window or the order is another: a mistake of the caller.
    SettingsError
        See `hot.register`.
    """
    rows = _table(trades, start_ns, end_ns)
    number = hot.hold_day(connection, instrument, day)
    partitions.make_room(connection, [(number, day)])
    mine = (day, number)
    before = _array(
        connection,
        f"select {_STORED} from hot_ticks where day = %s and instrument_id = %s "  # noqa: S608
        "and id >= %s and ts_event >= %s and ts_event < %s order by id",
        (*mine, start_ns, start_ns, end_ns),
    )
    found = connection.execute(
        "select max(id) from hot_ticks where day = %s and instrument_id = %s "
        "and id >= %s and ts_event < %s",
        (*mine, start_ns, start_ns),
    ).fetchone()
    assert found is not None
    rows[:, 0] = _ascending(rows[:, 0], found[0])
    if np.array_equal(rows, before):
        return False
    last = int(rows[-1, 0]) if rows.size else None
    moved, up_to = _pushed(connection, mine, end_ns, last)
    connection.execute(
        "delete from hot_ticks where day = %s and instrument_id = %s "
        "and id >= %s and ts_event >= %s and (ts_event < %s or id <= %s)",
        (*mine, start_ns, start_ns, end_ns, up_to),
    )
    written = pl.DataFrame(np.concatenate([rows, moved]), schema=list(TRADES)).cast(TRADES)
    copying.copy_into(connection, "hot_ticks", written, day, number)
    connection.execute(
        "insert into reopened (venue, symbol, day, reason) "
        "select venue, symbol, day, %s from certificates "
        "where venue = %s and symbol = %s and day = %s on conflict do nothing",
        (
            f"the venue tells {len(rows)} trades of a window that held {len(before)}",
            instrument.venue,
            instrument.symbol,
            day,
        ),
    )
    return True


def stored_minutes(
    connection: psycopg.Connection, instrument: Instrument, day: date, start_ns: int
) -> tuple[dict[int, StoredMinute], int | None]:
    """What the store has of the symbol's day from `start_ns` on.

    Returns
    -------
    minutes : dict
        By the minute's start in nanoseconds; minutes without a trade are left out.
    last_ns : int or None
        The latest `ts_event`.
    """
    number = hot.registered(connection, instrument)
    rows: Iterable[tuple[int, int, int, int, int]] = ()
    if number is not None:
        rows = connection.execute(
            "select ts_event / %s, sum(fills), sum(size)::numeric, "
            "sum(price::numeric * size), max(ts_event) from hot_ticks "
            "where day = %s and instrument_id = %s and id >= %s and ts_event >= %s group by 1",
            (_MINUTE, day, number, start_ns, start_ns),
        ).fetchall()
    minutes: dict[int, StoredMinute] = {}
    last: int | None = None
    for minute, fills, size, notional, latest in rows:
        minutes[minute * _MINUTE] = StoredMinute(int(fills), int(size), int(notional))
        last = latest if last is None else max(last, latest)
    return minutes, last


def _table(trades: pl.DataFrame, start_ns: int, end_ns: int) -> NDArray[np.int64]:
    """Columns of `TRADES` as one array, checked."""
    columns = [trades[name].to_physical().to_numpy().astype(np.int64) for name in TRADES]
    rows = np.column_stack(columns)
    stamps = rows[:, 1]
    inside = not stamps.size or (start_ns <= stamps[0] and stamps[-1] < end_ns)
    if not inside or (np.diff(rows[:, :2], axis=0) < [1, 0]).any():
        raise ValueError("trades of a window are not in order, or not inside it")
    return rows


def _ascending(ids: NDArray[np.int64], before: int | None) -> NDArray[np.int64]:
    """Each its own id, or one more than the one before it where that is taken."""
    if before is None or not ids.size or before < ids[0]:
        return ids
    row = np.arange(ids.size)
    free: NDArray[np.int64] = np.maximum.accumulate(np.maximum(ids - row, before + 1)) + row
    return free


def _pushed(
    connection: psycopg.Connection, mine: tuple[date, int], end_ns: int, last: int | None
) -> tuple[NDArray[np.int64], int]:
    """Trades behind the window whose ids it takes, with new ones; and the last id they had."""
    moved: list[NDArray[np.int64]] = []
    seen = end_ns - 1
    free = None if last is None else last + 1
    while free is not None:
        rows = _array(
            connection,
            f"select {_STORED} from hot_ticks where day = %s and instrument_id = %s "  # noqa: S608
            "and ts_event >= %s and id > %s and id < %s order by id limit 100",
            (*mine, end_ns, seen, free + 100),
        )
        for row in rows:
            if row[0] >= free:
                return _stacked(moved), seen
            seen = int(row[0])
            row[0], free = free, free + 1
            moved.append(row)
        if not len(rows):
            break
    return _stacked(moved), seen


def _stacked(rows: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(-1, 6)


def _array(
    connection: psycopg.Connection, query: str, values: tuple[object, ...]
) -> NDArray[np.int64]:
    found = connection.execute(query.encode(), values).fetchall()
    return np.array(found, np.int64).reshape(-1, 6)
