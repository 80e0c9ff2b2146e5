"""Hot ticks: every value survives, a day is replaced whole or not at all."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trader_pipelines.core.errors import BadTradeError, DatabaseError, SettingsError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES, content_hash
from trader_pipelines.stores import copying, database, hot, partitions

PROJECT = Path(__file__).resolve().parents[2]
DAY = date(2024, 1, 1)
INT64 = st.integers(-(2**63), 2**63 - 1)


def instrument(symbol: str = "BTCUSDT", venue: str = "binance", tick: str = "0.01") -> Instrument:
    return Instrument(venue, symbol, Decimal(tick), Decimal("0.00001"), date(2020, 1, 1))


def trades(count: int, shift: int = 0) -> pl.DataFrame:
    numbers = pl.int_range(count, eager=True, dtype=pl.Int64())
    first = datetime(2024, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "id": numbers + 1_000,
            "ts_event": numbers * 1_000_001 + int(first.timestamp()) * 10**9,
            "price": numbers % 977 + 4_200_000 + shift,
            "size": numbers % 31 + 1,
            "side": numbers % 3 - 1,
            "fills": numbers % 5 + 1,
        }
    ).cast(TRADES)


def test_register_twice_gives_the_same_number(conn: psycopg.Connection):
    first = hot.register(conn, instrument())
    assert hot.register(conn, instrument()) == first
    assert hot.register(conn, instrument(venue="synthetic")) != first
    assert conn.execute(
        "select venue, symbol, price_scale, size_scale from instruments order by venue"
    ).fetchall() == [("binance", "BTCUSDT", 2, 5), ("synthetic", "BTCUSDT", 2, 5)]


@pytest.mark.parametrize(
    "act",
    [
        hot.register,
        lambda conn, other: hot.write_day(conn, other, DAY, trades(1)),
        lambda conn, other: hot.read_day(conn, other, DAY),
    ],
    ids=["register", "write_day", "read_day"],
)
def test_another_tick_size_than_the_stored_one_is_refused(
    conn: psycopg.Connection, act: Callable[[psycopg.Connection, Instrument], object]
):
    hot.register(conn, instrument())
    with pytest.raises(SettingsError, match="2 decimals of price") as caught:
        act(conn, instrument(tick="0.001"))
    assert "BTCUSDT.BINANCE" in caught.value.what
    assert "tick_size" in caught.value.remedy


def test_read_of_what_was_never_written_is_empty(conn: psycopg.Connection):
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), TRADES.to_frame())
    hot.write_day(conn, instrument(), DAY, trades(3))
    assert_frame_equal(hot.read_day(conn, instrument(), date(2024, 1, 2)), TRADES.to_frame())


def test_write_then_read_gives_back_a_long_day_in_order_of_ids(conn: psycopg.Connection):
    given_trades = trades(3 * copying.CHUNK // 2)
    hot.write_day(conn, instrument(), DAY, given_trades.sample(fraction=1, shuffle=True, seed=1))
    read = hot.read_day(conn, instrument(), DAY)
    assert_frame_equal(read, given_trades)
    assert content_hash(read) == content_hash(given_trades)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.tuples(
            INT64, INT64, INT64, INT64, st.integers(-128, 127), st.integers(-(2**31), 2**31 - 1)
        ),
        max_size=20,
        unique_by=lambda row: row[0],
    ),
    day=st.dates(),
)
def test_every_value_survives_the_round_trip(
    conn: psycopg.Connection, rows: list[tuple[int, ...]], day: date
):
    frame = pl.DataFrame(rows, schema=dict.fromkeys(TRADES, pl.Int64), orient="row").cast(TRADES)
    hot.write_day(conn, instrument(), day, frame)
    assert_frame_equal(hot.read_day(conn, instrument(), day), frame.sort("id"))
    conn.rollback()


def test_write_twice_gives_the_same_rows(conn: psycopg.Connection):
    hot.write_day(conn, instrument(), DAY, trades(100))
    conn.commit()
    hot.write_day(conn, instrument(), DAY, trades(100))
    conn.commit()
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(100))


def test_write_replaces_that_symbol_and_day_only(conn: psycopg.Connection):
    other, following = instrument("ETHUSDT"), date(2024, 1, 2)
    hot.write_day(conn, instrument(), DAY, trades(100))
    hot.write_day(conn, other, DAY, trades(50))
    hot.write_day(conn, instrument(), following, trades(20))
    hot.write_day(conn, instrument(), DAY, trades(10, shift=7))
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(10, shift=7))
    assert_frame_equal(hot.read_day(conn, other, DAY), trades(50))
    assert_frame_equal(hot.read_day(conn, instrument(), following), trades(20))
    hot.write_day(conn, instrument(), DAY, trades(0))
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(0))


def test_write_belongs_to_the_callers_transaction(database_url: str, conn: psycopg.Connection):
    hot.write_day(conn, instrument(), DAY, trades(100))
    conn.commit()
    hot.write_day(conn, instrument(), DAY, trades(10))
    with database.connect(database_url) as reader:
        assert_frame_equal(hot.read_day(reader, instrument(), DAY), trades(100))
    conn.rollback()
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(100))


def test_write_of_a_new_day_does_not_lock_out_readers(database_url: str, conn: psycopg.Connection):
    hot.write_day(conn, instrument(), DAY, trades(100))
    conn.commit()
    hot.write_day(conn, instrument(), date(2024, 1, 2), trades(10))
    with database.connect(database_url) as reader:
        reader.execute("set lock_timeout = '1s'")
        assert_frame_equal(hot.read_day(reader, instrument(), DAY), trades(100))


def test_days_lie_in_partitions_and_symbols_in_leaves_of_their_own(conn: psycopg.Connection):
    for symbol in ("BTCUSDT", "ETHUSDT"):
        hot.write_day(conn, instrument(symbol), DAY, trades(3))
    hot.write_day(conn, instrument(), date(2024, 2, 29), trades(2))
    tree = "select relid::text, parentrelid::text from pg_partition_tree('hot_ticks') order by 1"
    assert conn.execute(tree).fetchall() == [
        ("hot_ticks", None),
        ("hot_ticks_20240101", "hot_ticks"),
        ("hot_ticks_20240101_1", "hot_ticks_20240101"),
        ("hot_ticks_20240101_2", "hot_ticks_20240101"),
        ("hot_ticks_20240229", "hot_ticks"),
        ("hot_ticks_20240229_1", "hot_ticks_20240229"),
    ]
    assert conn.execute("select count(*) from hot_ticks_20240229_1").fetchone() == (2,)


def test_key_of_a_leaf_that_was_built_aside_is_enforced(conn: psycopg.Connection):
    hot.write_day(conn, instrument(), DAY, trades(3))
    keys = "select inhparent::regclass::text from pg_inherits where inhrelid = %s::regclass"
    found = conn.execute(keys, ("hot_ticks_20240101_1_pkey",)).fetchone()
    assert found == ("hot_ticks_20240101_pkey",)
    checks = "select count(*) from pg_constraint where conrelid = %s::regclass and contype = 'c'"
    assert conn.execute(checks, ("hot_ticks_20240101_1",)).fetchone() == (0,)
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute("insert into hot_ticks select * from hot_ticks")


def test_day_of_an_older_database_that_symbols_share_is_written_and_read(conn: psycopg.Connection):
    conn.execute(
        "create table hot_ticks_20240101 partition of hot_ticks "
        "for values from ('2024-01-01') to ('2024-01-02')"
    )
    other = instrument("ETHUSDT")
    hot.write_day(conn, instrument(), DAY, trades(100))
    hot.write_day(conn, other, DAY, trades(50, shift=1))
    hot.write_day(conn, instrument(), DAY, trades(120, shift=2))
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(120, shift=2))
    assert_frame_equal(hot.read_day(conn, other, DAY), trades(50, shift=1))
    assert not hot.drop_partition(conn, DAY)
    assert hot.drop_partition(conn, DAY, [instrument(), other])
    assert_frame_equal(hot.read_day(conn, other, DAY), trades(0))


def stamps(conn: psycopg.Connection) -> dict[int, tuple[str, str]]:
    """By id, where each row lies and who wrote it: the same when it was not touched."""
    rows = conn.execute("select id, ctid::text, xmin::text from hot_ticks").fetchall()
    return {number: (place, writer) for number, place, writer in rows}


def test_write_again_touches_no_row_that_stays_as_it_is(conn: psycopg.Connection):
    hot.write_day(conn, instrument(), DAY, trades(1000))
    conn.commit()
    before = stamps(conn)
    hot.write_day(conn, instrument(), DAY, trades(1000).sample(fraction=1, shuffle=True, seed=3))
    conn.commit()
    assert stamps(conn) == before
    # One healed, one gone, one corrected.
    healed = pl.concat(
        [trades(1001).slice(1, 499), trades(501, shift=5).tail(1), trades(1001).tail(500)]
    )
    hot.write_day(conn, instrument(), DAY, healed)
    conn.commit()
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), healed)
    after = stamps(conn)
    assert {number for number in before if after.get(number) != before[number]} == {1000, 1500}
    assert after.keys() - before.keys() == {2000}


def test_write_of_an_id_that_comes_twice_is_refused_and_keeps_the_old_day(
    conn: psycopg.Connection,
):
    hot.write_day(conn, instrument(), DAY, trades(100))
    twice = pl.concat([trades(5), trades(3).tail(1).with_columns(price=pl.lit(1, pl.Int64))])
    with pytest.raises(BadTradeError, match="id 1002 comes more than once, first in row 2"):
        hot.write_day(conn, instrument(), DAY, twice)
    conn.commit()
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(100))


@pytest.mark.parametrize("name", list(TRADES))
def test_write_of_a_missing_value_is_refused_by_row_and_column(conn: psycopg.Connection, name: str):
    holed = trades(5).with_columns(pl.when(pl.col("id") != 1003).then(pl.col(name)).alias(name))
    with pytest.raises(BadTradeError, match=f"row 3 has no {name}"):
        hot.write_day(conn, instrument(), DAY, holed)


def test_write_of_another_schema_is_refused(conn: psycopg.Connection):
    for other in (trades(2).drop("side"), trades(2).with_columns(pl.col("price").cast(pl.Float64))):
        with pytest.raises(BadTradeError, match="columns"):
            hot.write_day(conn, instrument(), DAY, other)


def test_second_writer_of_a_day_waits_for_the_first_and_replaces_it(
    database_url: str, conn: psycopg.Connection
):
    hot.write_day(conn, instrument(), DAY, trades(1))
    conn.commit()
    hot.write_day(conn, instrument(), DAY, trades(100))
    failures: list[BaseException] = []

    def write_too() -> None:
        try:
            with database.connect(database_url) as second:
                hot.write_day(second, instrument(), DAY, trades(50, shift=1))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    writer = threading.Thread(target=write_too)
    writer.start()
    writer.join(timeout=1)
    assert writer.is_alive()
    conn.commit()
    writer.join()
    assert failures == []
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(50, shift=1))


def test_writers_of_new_days_and_symbols_at_once_all_succeed(
    database_url: str, conn: psycopg.Connection
):
    days = [date(2024, 1, number) for number in (1, 2, 3)]
    failures: list[BaseException] = []
    barrier = threading.Barrier(6)

    def work(number: int) -> None:
        try:
            # Two writers a symbol: the same days of the same symbol at once, too.
            mine = instrument(f"SYM{number % 3}")
            barrier.wait()
            for day in days:
                with database.connect(database_url) as connection:
                    hot.write_day(connection, mine, day, trades(500, shift=number % 3))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for number in range(3):
        for day in days:
            read = hot.read_day(conn, instrument(f"SYM{number}"), day)
            assert_frame_equal(read, trades(500, shift=number))


KILLED = """
import sys, time
from trader_pipelines.stores import copying, database, hot
from trader_pipelines_tests.stores.test_hot import DAY, instrument, trades

def encode(*row, before=copying.encode):
    if copying.sent == int(sys.argv[2]):
        print("now", flush=True)
        time.sleep(600)
    copying.sent += 1
    return before(*row)

copying.sent, copying.encode, copying.CHUNK = 0, encode, 1000
with database.connect(sys.argv[1]) as connection:
    hot.write_day(connection, instrument(), DAY, trades(5000, shift=9))
    print("now", flush=True)
    time.sleep(600)
"""


def killed(*command: str, wait: float = 0.0) -> None:
    """Run Python until it says "now", and `wait` seconds on; then SIGKILL."""
    with subprocess.Popen(
        [sys.executable, "-c", *command], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "now\n"
        time.sleep(wait)
        os.kill(writer.pid, signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL


@pytest.mark.parametrize("old", [300, 0], ids=["replaced", "new"])
@pytest.mark.parametrize("sent", [0, 2, 5], ids=["before", "amid", "uncommitted"])
def test_write_killed_in_the_middle_leaves_the_old_day_whole(
    database_url: str, conn: psycopg.Connection, sent: int, old: int
):
    hot.write_day(conn, instrument(), DAY, trades(old))
    conn.commit()
    killed(KILLED, database_url, str(sent))
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(old))
    hot.write_day(conn, instrument(), DAY, trades(5000, shift=9))
    conn.commit()
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(5000, shift=9))


WRITING = """
import sys
from datetime import timedelta
from trader_pipelines.stores import database, hot
from trader_pipelines_tests.stores.test_hot import DAY, instrument, trades

days = [trades(40_000, shift) for shift in (0, 1)]
with database.connect(sys.argv[1]) as connection:
    print("now", flush=True)
    for number in range(int(sys.argv[2]), 10_000):
        # One day made anew, and one replaced whole.
        hot.write_day(connection, instrument(), DAY + timedelta(number), days[number % 2])
        connection.commit()
        hot.write_day(connection, instrument(), DAY, days[number % 2])
        connection.commit()
"""


def kill_writers(database_url: str, conn: psycopg.Connection, points: int) -> None:
    whole = [content_hash(trades(40_000, shift)) for shift in (0, 1)]
    hot.write_day(conn, instrument(), DAY, trades(40_000))
    conn.commit()
    chance = random.Random(5)
    begin = 1
    for _ in range(points):
        killed(WRITING, database_url, str(begin), wait=chance.uniform(0, 0.6))
        assert content_hash(hot.read_day(conn, instrument(), DAY)) in whole
        # Each day is there whole or not at all, and the first that is not is the last.
        while (day := hot.read_day(conn, instrument(), DAY + timedelta(begin))).height:
            assert content_hash(day) == whole[begin % 2]
            begin += 1
        (leaves,) = conn.execute("select count(*) from pg_inherits").fetchone() or (None,)
        conn.rollback()
        # The day's and the leaf's table and key of each of them, and of the replaced one.
        assert leaves == 4 * begin
    assert begin > 1


def test_writers_killed_at_random_moments_leave_whole_days(
    database_url: str, conn: psycopg.Connection
):
    kill_writers(database_url, conn, 10)


@pytest.mark.long
def test_writers_killed_at_many_random_moments_leave_whole_days(
    database_url: str, conn: psycopg.Connection
):
    kill_writers(database_url, conn, 100)


def test_reader_sees_the_old_day_or_the_new_one_and_never_a_mix(
    database_url: str, conn: psycopg.Connection
):
    contents = [trades(3_000 + 500 * shift, shift) for shift in range(4)]
    known = {content_hash(each) for each in contents}
    hot.write_day(conn, instrument(), DAY, contents[0])
    conn.commit()
    done = threading.Event()
    seen: list[str] = []
    failures: list[BaseException] = []

    def read() -> None:
        try:
            with database.connect(database_url) as connection:
                while not done.is_set():
                    seen.append(content_hash(hot.read_day(connection, instrument(), DAY)))
                    chunks = list(hot.read_chunks(connection, instrument(), DAY, rows=701))
                    seen.append(content_hash(pl.concat(chunks)))
                    connection.commit()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(60):
        hot.write_day(conn, instrument(), DAY, contents[number % 4])
        # Another symbol's leaf of that day comes in, too.
        hot.write_day(conn, instrument(f"S{number}"), DAY, trades(5))
        conn.commit()
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert set(seen) <= known
    assert len(set(seen)) > 1


@pytest.mark.parametrize("count", [0, 1, 6, 7, 20, 21])
def test_read_chunks_equals_read_day(conn: psycopg.Connection, count: int):
    hot.write_day(conn, instrument("OTHER"), DAY, trades(30, shift=1))
    ids = pl.Series("id", [-(2**63), 2**63 - 1][:count], pl.Int64)
    wide = pl.concat(
        [trades(count).head(count - ids.len()), trades(2).head(ids.len()).with_columns(ids)]
    )
    hot.write_day(conn, instrument(), DAY, wide)
    chunks = list(hot.read_chunks(conn, instrument(), DAY, rows=7))
    assert [chunk.height for chunk in chunks] == [7] * (count // 7) + [count % 7] * (count % 7 > 0)
    assert all(chunk.schema == TRADES for chunk in chunks)
    assert_frame_equal(
        pl.concat([TRADES.to_frame(), *chunks]), hot.read_day(conn, instrument(), DAY)
    )
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), wide.sort("id"))


def test_read_chunks_of_an_unknown_symbol_is_empty(conn: psycopg.Connection):
    assert list(hot.read_chunks(conn, instrument(), DAY)) == []


def test_read_chunks_keeps_to_what_was_there_when_it_began(
    database_url: str, conn: psycopg.Connection
):
    hot.write_day(conn, instrument(), DAY, trades(100))
    conn.commit()
    chunks = hot.read_chunks(conn, instrument(), DAY, rows=10)
    first = next(chunks)
    with database.connect(database_url) as second:
        hot.write_day(second, instrument(), DAY, trades(500, shift=1))
    rest = list(chunks)
    assert_frame_equal(pl.concat([first, *rest]), trades(100))


@pytest.mark.long
def test_read_chunks_takes_no_more_memory_for_more_trades(
    database_url: str, conn: psycopg.Connection
):
    script = """
import resource, sys
from trader_pipelines.stores import database, hot
from trader_pipelines_tests.stores.test_hot import DAY, instrument
peaks = []
with database.connect(sys.argv[1]) as connection:
    for symbol in ("WARM", "SMALL", "LARGE"):
        count = sum(c.height for c in hot.read_chunks(connection, instrument(symbol), DAY, 100_000))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print(count, peaks[-1])
"""
    for symbol, count in (("WARM", 200_000), ("SMALL", 400_000), ("LARGE", 2_000_000)):
        hot.write_day(conn, instrument(symbol), DAY, trades(count))
    conn.commit()
    said = subprocess.check_output(
        [sys.executable, "-c", script, database_url], cwd=PROJECT, text=True
    )
    found = [tuple(map(int, line.split())) for line in said.splitlines()]
    assert [count for count, _ in found] == [200_000, 400_000, 2_000_000]
    # KiB; the rows themselves are 76 MB.
    assert found[2][1] - found[1][1] < 20_000


def test_drop_day_lets_go_of_that_symbol_and_day_with_the_commit(
    database_url: str, conn: psycopg.Connection
):
    other, following = instrument("ETHUSDT"), date(2024, 1, 2)
    for each, day in ((instrument(), DAY), (other, DAY), (instrument(), following)):
        hot.write_day(conn, each, day, trades(50))
    conn.commit()
    assert hot.drop_day(conn, instrument(), DAY) == 50
    with database.connect(database_url) as reader:
        assert_frame_equal(hot.read_day(reader, instrument(), DAY), trades(50))
    conn.commit()
    assert hot.drop_day(conn, instrument(), DAY) == 0
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(0))
    assert_frame_equal(hot.read_day(conn, other, DAY), trades(50))
    assert_frame_equal(hot.read_day(conn, instrument(), following), trades(50))
    hot.write_day(conn, instrument(), DAY, trades(20, shift=1))
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(20, shift=1))


def test_drop_day_waits_for_a_writer_of_that_day(database_url: str, conn: psycopg.Connection):
    hot.write_day(conn, instrument(), DAY, trades(50))
    with database.connect(database_url) as second:
        second.execute("set lock_timeout = '200ms'")
        hot.register(second, instrument("ANOTHER"))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            hot.drop_day(second, instrument(), DAY)


def tables(conn: psycopg.Connection) -> list[str]:
    found = conn.execute(
        "select relname from pg_class where relname like 'hot_ticks%' and relkind in ('r', 'p') "
        "order by 1"
    ).fetchall()
    return [name for (name,) in found]


def test_drop_partition_goes_only_without_rows_of_others(conn: psycopg.Connection):
    other, following = instrument("ETHUSDT"), date(2024, 1, 2)
    for each, day in ((instrument(), DAY), (other, DAY), (instrument(), following)):
        hot.write_day(conn, each, day, trades(50))
    conn.commit()
    assert not hot.drop_partition(conn, DAY)
    assert not hot.drop_partition(conn, DAY, [instrument()])
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(50))
    hot.drop_day(conn, other, DAY)
    assert hot.drop_partition(conn, DAY, [instrument()])
    conn.commit()
    assert tables(conn) == ["hot_ticks", "hot_ticks_20240102", "hot_ticks_20240102_1"]
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(0))
    assert hot.drop_partition(conn, DAY)
    hot.write_day(conn, instrument(), DAY, trades(10))
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(10))


def test_drop_partition_rolled_back_leaves_the_day(conn: psycopg.Connection):
    hot.write_day(conn, instrument(), DAY, trades(50))
    conn.commit()
    with conn.transaction():
        assert hot.drop_partition(conn, DAY, [instrument()])
        raise psycopg.Rollback
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(50))


def test_drop_partition_gives_up_while_a_reader_is_at_it(
    database_url: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(partitions, "TRIES", 1)
    hot.write_day(conn, instrument(), DAY, trades(50))
    conn.commit()
    with database.connect(database_url) as reader:
        assert hot.read_day(reader, instrument(), DAY).height == 50
        with pytest.raises(DatabaseError, match="busy") as caught:
            hot.drop_partition(conn, DAY, [instrument()])
        assert caught.value.retry
        conn.commit()
        assert hot.read_day(reader, instrument(), DAY).height == 50
    assert hot.drop_partition(conn, DAY, [instrument()])
    assert conn.execute("show lock_timeout").fetchone() == ("0",)


def test_compress_without_timescaledb_says_why_not(conn: psycopg.Connection):
    assert hot.compress(conn) == "Postgres without TimescaleDB has no compression of hot days"
