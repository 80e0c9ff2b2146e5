"""What hot holds of each symbol-day, with what proves its cold copy; and what it holds no more."""

from datetime import date

import psycopg

from trader_pipelines.core.errors import DatabaseError
from trader_pipelines.core.retention import Holding
from trader_pipelines.stores import hot, partitions

# A partition's size is shared out by its rows; planner statistics would lag behind.
_HELD = """
    with symbol_days as (
        select tableoid as part, instrument_id, day, count(*) as trades
        from hot_ticks where %(day)s::date is null or day = %(day)s and instrument_id = (
            select instrument_id from instruments where (venue, symbol) = (%(venue)s, %(symbol)s)
        ) group by 1, 2, 3
    ), held as (
        select instrument_id, day, sum(trades)::int8 as trades,
            sum(round(pg_total_relation_size(part) * trades / whole))::int8 as bytes
        from (select *, sum(trades) over (partition by part) as whole from symbol_days) s
        group by 1, 2
    )
    select i.venue, i.symbol, h.day, h.trades, h.bytes,
        c.content_hash, c.count, d.content_hash, r.reason
    from held h join instruments i using (instrument_id)
        left join certificates c on (c.venue, c.symbol, c.day) = (i.venue, i.symbol, h.day)
        left join datasets d on (d.dataset, d.venue, d.symbol, d.day)
            = ('cold_ticks', i.venue, i.symbol, h.day)
        left join reopened r on (r.venue, r.symbol, r.day) = (i.venue, i.symbol, h.day)
    order by h.day, i.venue, i.symbol
"""

_HYPERTABLE = "select relkind = 'r' from pg_class where oid = 'hot_ticks'::regclass"
_CHUNKS = """
    select distinct range_start::date from timescaledb_information.chunks
    where hypertable_name = 'hot_ticks'
"""
# The planner may look at other tables' names first: only what is a date is taken for one.
_PARTITIONS = """
    select case when c.relname ~ '_[0-9]{8}$' then to_date(right(c.relname, 8), 'YYYYMMDD') end
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'hot_ticks'::regclass
"""


def holdings(connection: psycopg.Connection) -> list[Holding]:
    """Every symbol's day of which hot has rows, by day, venue and symbol.

    Bytes include the index, and are shared out by rows within a partition.
    """
    nothing = {"venue": None, "symbol": None, "day": None}
    return [Holding(*row) for row in connection.execute(_HELD, nothing)]


def holding(connection: psycopg.Connection, venue: str, symbol: str, day: date) -> Holding | None:
    """One symbol's day, None when hot has no row of it."""
    row = connection.execute(_HELD, {"venue": venue, "symbol": symbol, "day": day}).fetchone()
    return Holding(*row) if row is not None else None


def empty_days(connection: psycopg.Connection, last: date) -> list[date]:
    """Days up to `last` that have a partition and no row, ascending."""
    made = _CHUNKS if connection.execute(_HYPERTABLE).fetchone() == (True,) else _PARTITIONS
    rows = connection.execute(
        f"select day from ({made}) made (day) where day <= %s "  # noqa: S608
        "and not exists (select from hot_ticks h where h.day = made.day) order by day".encode(),
        (last,),
    )
    return [day for (day,) in rows]


def drop_empty(connection: psycopg.Connection, day: date) -> bool:
    """Drop a day's partition; False when there are rows again, or others keep it busy."""
    numbers = connection.execute("select instrument_id from instruments").fetchall()
    try:
        with connection.transaction():
            # A writer makes sure of his partition under his symbol-day's lock, then writes: with
            # all of these ours, nobody is in between.
            partitions.lock(connection, [(number, day) for (number,) in numbers])
            return hot.drop_partition(connection, day)
    except DatabaseError:
        return False
