"""Where hot ticks lie: a partition a day, in it a leaf a symbol; on Timescale a chunk a day."""

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import psycopg

from trader_pipelines.core.errors import DatabaseError

#: A symbol's number and a day.
Place = tuple[int, date]

TRIES = 5  # to lock everybody out of a day

# Advisory lock around the list of days; another kind, of two numbers, guards a symbol's day.
_PARTITIONING = 0x7472_6164_6572_0002

_LOCK = """
select pg_advisory_xact_lock(n, d)
from (select n, d from unnest(%s::int4[], %s::int4[]) t (n, d) order by n, d) ordered
"""

# Looked up in the catalogue's rows: to_regclass asks a cache that, within a transaction, may not
# know yet of a partition that another one committed while we waited for a lock.
_LACKING = """
select n, d from unnest(%s::int4[], %s::date[], %s::name[], %s::name[]) t (n, d, of_day, leaf)
where (select relkind from pg_class where oid = 'hot_ticks'::regclass) = 'p'
  and not exists (
    select from pg_class c where c.relnamespace = current_schema()::regnamespace
      and c.relispartition and c.relname = leaf
  ) and not exists (
    select from pg_class c where c.relnamespace = current_schema()::regnamespace
      and c.relispartition and c.relname = of_day and c.relkind = 'r'
  )
order by d, n
"""  # an ordinary hot_ticks is a hypertable, an ordinary day is from before there were leaves


def lock(connection: psycopg.Connection, places: Iterable[Place]) -> None:
    """Wait for symbol-days and keep them from all other writers until the transaction ends.

    Taken before anything else is, and in one order: nobody waits for another in a circle.
    """
    pairs = sorted({(number, day.toordinal()) for number, day in places})
    connection.execute(_LOCK, ([number for number, _ in pairs], [day for _, day in pairs]))


def lacking(connection: psycopg.Connection, places: Iterable[Place]) -> list[Place]:
    """Those symbol-days that have no leaf to write to, by day; none where chunks make themselves.

    The caller holds their locks.
    """
    asked = list(places)
    numbers, days = [n for n, _ in asked], [d for _, d in asked]
    names = [_name(day) for day in days], [_name(day, number) for number, day in asked]
    return connection.execute(_LACKING, (numbers, days, *names)).fetchall()


def make_room(connection: psycopg.Connection, places: Iterable[Place]) -> None:
    """Make an empty leaf for each symbol-day that lacks one; the caller holds their locks."""
    if missing := lacking(connection, places):
        # All days first: whoever waits for the list of days holds none of them.
        ensure_days(connection, [day for _, day in missing])
        script = "; ".join(
            f"create table {_name(day, number)} (like hot_ticks including indexes); "
            f"alter table {_name(day)} attach partition {_name(day, number)} "
            f"for values in ({number})"
            for number, day in missing
        )
        connection.execute(script.encode())


@contextmanager
def new_leaf(connection: psycopg.Connection, number: int, day: date) -> Iterator[str]:
    """A table to fill, which becomes the symbol-day's leaf; its key is built when it is full.

    Nobody sees it until the caller commits, nobody waits for it while it is filled: `attach`
    locks out no reader and no writer of other leaves, where `partition of` would.
    """
    name, of_day = _name(day, number), _name(day)
    connection.execute(
        # What the check says need not be looked up in every row when it is attached.
        f"create table {name} (like hot_ticks, "
        f"constraint aside check (day = '{day}' and instrument_id = {number}))".encode()
    )
    yield name
    connection.execute(f"alter table {name} add primary key (day, instrument_id, id)".encode())
    ensure_days(connection, [day])
    connection.execute(
        f"alter table {of_day} attach partition {name} for values in ({number}); "
        f"alter table {name} drop constraint aside".encode()
    )


def ensure_days(connection: psycopg.Connection, days: Iterable[date]) -> None:
    """Make the partitions that are not there, without locking out anybody who reads."""
    asked = sorted(set(days))
    if not _missing_days(connection, asked):
        return
    connection.execute("select pg_advisory_xact_lock(%s)", (_PARTITIONING,))
    for day in _missing_days(connection, asked):
        connection.execute(
            f"create table {_name(day)} (like hot_ticks including indexes) "
            "partition by list (instrument_id); "
            f"alter table hot_ticks attach partition {_name(day)} "
            f"for values from ('{day}') to (date '{day}' + 1)".encode()
        )


def _missing_days(connection: psycopg.Connection, days: list[date]) -> list[date]:
    rows = connection.execute(
        """
        select d from unnest(%s::date[], %s::text[]) t (d, name)
        where not exists (
            select from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = 'hot_ticks'::regclass and c.relname = name
        )
        """,
        (days, [_name(day) for day in days]),
    ).fetchall()
    return [day for (day,) in rows]


def _name(day: date, number: int | None = None) -> str:
    leaf = "" if number is None else f"_{number}"
    return f"hot_ticks_{day.isoformat().replace('-', '')}{leaf}"


def drop(connection: psycopg.Connection, day: date, numbers: Collection[int] = ()) -> bool:
    """See `hot.drop_partition`; `numbers` are those of the instruments whose rows may go."""
    lock(connection, [(number, day) for number in numbers])
    # Never in the queue for longer than this: whoever comes after us would wait behind us. Well
    # before a deadlock is looked for, so that nobody but us has to give up.
    before = connection.execute("select current_setting('lock_timeout')").fetchone()
    for left in reversed(range(TRIES)):
        try:
            with connection.transaction():
                connection.execute("set local lock_timeout = '300ms'")
                found = _take_out(connection, day)
            connection.execute("select set_config('lock_timeout', %s, true)", before)
            break
        except psycopg.errors.LockNotAvailable as error:
            if not left:
                raise DatabaseError(
                    f"readers or writers keep the partition of {day} busy",
                    where="hot_ticks",
                    remedy="try again later; nothing was dropped",
                    retry=True,
                ) from error
            time.sleep(0.2)
    if not found:
        return True
    others = connection.execute(
        "select exists (select from hot_ticks where day = %s and instrument_id <> all(%s))",
        (day, list(numbers)),
    ).fetchone()
    if others == (True,):
        return False
    if _is_hypertable(connection):
        connection.execute(
            "select drop_chunks('hot_ticks', older_than => %s, newer_than => %s)",
            (day + timedelta(1), day),
        )
    else:
        connection.execute(f"drop table {_name(day)}".encode())
    return True


def compress(connection: psycopg.Connection, days: int = 7) -> str | None:
    """Have Timescale compress what is older than `days`; None, or why there is nothing to be set.

    Compressed days stay readable and writable. Retention is not left to Timescale: its policies go
    by the wall clock and ask for no proof of a cold copy.
    """
    if not _is_hypertable(connection):
        return "Postgres without TimescaleDB has no compression of hot days"
    edition = connection.execute("select current_setting('timescaledb.license', true)").fetchone()
    if edition != ("timescale",):
        return f"TimescaleDB's edition {edition and edition[0]!r} has no compression; TSL has"
    connection.execute(
        "alter table hot_ticks set (timescaledb.compress, "
        "timescaledb.compress_segmentby = 'instrument_id', timescaledb.compress_orderby = 'id')"
    )
    connection.execute(
        "select add_compression_policy('hot_ticks', compress_after => %s, if_not_exists => true)",
        (timedelta(days),),
    )
    return None


def _take_out(connection: psycopg.Connection, day: date) -> bool:
    """Lock everybody out of a day's table; False when there is none."""
    if _is_hypertable(connection):
        chunks = connection.execute(
            "select show_chunks('hot_ticks', older_than => %s, newer_than => %s)::text",
            (day + timedelta(1), day),
        ).fetchall()
        for (chunk,) in chunks:
            connection.execute(f"lock table {chunk} in access exclusive mode".encode())
        return bool(chunks)
    if _missing_days(connection, [day]):
        return False
    # In the order in which dropping takes them.
    connection.execute("lock table only hot_ticks in access exclusive mode")
    if _missing_days(connection, [day]):
        return False
    connection.execute(f"lock table {_name(day)} in access exclusive mode".encode())
    return True


def _is_hypertable(connection: psycopg.Connection) -> bool:
    kind = connection.execute("select relkind from pg_class where oid = 'hot_ticks'::regclass")
    return kind.fetchone() == ("r",)
