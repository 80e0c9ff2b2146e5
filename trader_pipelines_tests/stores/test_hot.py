"""Hot ticks: every value survives, a day is replaced whole or not at all."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trader_pipelines.core.errors import BadTradeError, SettingsError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES, content_hash
from trader_pipelines.stores import database, hot

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
    given_trades = trades(3 * hot._CHUNK // 2)
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


def test_days_lie_in_partitions_of_their_own(conn: psycopg.Connection):
    hot.write_day(conn, instrument(), DAY, trades(3))
    hot.write_day(conn, instrument(), date(2024, 2, 29), trades(2))
    names = "select inhrelid::regclass::text from pg_inherits order by 1"
    partitions = [name for (name,) in conn.execute(names).fetchall() if "_pkey" not in name]
    assert partitions == ["hot_ticks_20240101", "hot_ticks_20240229"]
    assert conn.execute("select count(*) from hot_ticks_20240229").fetchone() == (2,)
    indexes = "select indexname from pg_indexes where tablename = 'hot_ticks_20240101'"
    assert conn.execute(indexes).fetchall() == [("hot_ticks_20240101_pkey",)]


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
from datetime import date
from trader_pipelines.stores import database, hot
from trader_pipelines_tests.stores.test_hot import DAY, instrument, trades

def encode(chunk, day, number, before=hot._encode):
    if hot.sent == int(sys.argv[2]):
        print("now", flush=True)
        time.sleep(600)
    hot.sent += 1
    return before(chunk, day, number)

hot.sent, hot._encode, hot._CHUNK = 0, encode, 1000
with database.connect(sys.argv[1]) as connection:
    hot.write_day(connection, instrument(), DAY, trades(5000, shift=9))
    print("now", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("sent", [0, 2, 5], ids=["before", "amid", "uncommitted"])
def test_write_killed_in_the_middle_leaves_the_old_day_whole(
    database_url: str, conn: psycopg.Connection, sent: int
):
    hot.write_day(conn, instrument(), DAY, trades(300))
    conn.commit()
    command = [sys.executable, "-c", KILLED, database_url, str(sent)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "now\n"
        os.kill(writer.pid, signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(300))
    hot.write_day(conn, instrument(), DAY, trades(5000, shift=9))
    conn.commit()
    assert_frame_equal(hot.read_day(conn, instrument(), DAY), trades(5000, shift=9))
