"""Live batches: every new trade once, on its trading day, and no certificate that is no longer true."""

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal

from trader_pipelines.core.certificates import certify
from trader_pipelines.core.errors import DatabaseUnreachableError, SettingsError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import NS_PER_DAY, TRADES
from trader_pipelines.stores import database, hot, manifest
from trader_pipelines.stores.live import LiveWriter

DAY, NEXT = date(2024, 1, 1), date(2024, 1, 2)


def instrument(symbol: str = "BTCUSDT", venue: str = "binance", tick: str = "0.01") -> Instrument:
    return Instrument(venue, symbol, Decimal(tick), Decimal("0.00001"), date(2020, 1, 1))


BTC, ETH = instrument(), instrument("ETHUSDT")


def trades(
    first: int, last: int, start: datetime = datetime(2024, 1, 1, tzinfo=UTC)
) -> pl.DataFrame:
    """Ids from `first` to `last`, a second each after `start`."""
    ids = pl.int_range(first, last + 1, eager=True, dtype=pl.Int64())
    return pl.DataFrame(
        {
            "id": ids,
            "ts_event": ids * 10**9 + int(start.timestamp()) * 10**9,
            "price": ids % 977 + 4_200_000,
            "size": ids % 31 + 1,
            "side": ids % 3 - 1,
            "fills": ids % 5 + 1,
        }
    ).cast(TRADES)


@pytest.fixture
def writer(database_url: str) -> Iterator[LiveWriter]:
    made = LiveWriter(database_url)
    yield made
    made.close()


def certified(conn: psycopg.Connection, which: Instrument, day: date) -> None:
    """Certify what is stored, as a day that was fetched whole would be."""
    hot.hold_day(conn, which, day)
    certificate = certify(
        hot.read_day(conn, which, day),
        venue=which.venue, symbol=which.symbol, day=day, source="test", synthetic=False,
        reconciled={},
    )  # fmt: skip
    manifest.put_certificate(conn, certificate)
    conn.commit()


def reopened(conn: psycopg.Connection) -> list[tuple[str, date, str]]:
    found = conn.execute("select symbol, day, reason from reopened order by 1, 2").fetchall()
    conn.commit()
    return found


def test_write_of_batches_stores_each_trade_once_on_its_day(
    conn: psycopg.Connection, writer: LiveWriter
):
    late = datetime(2024, 1, 1, 23, 59, 50, tzinfo=UTC)
    assert writer.write({BTC: trades(0, 19, late), ETH: trades(5, 7)}) == 23
    assert writer.write({BTC: trades(15, 24, late).reverse(), ETH: trades(8, 8)}) == 6
    assert writer.write({BTC: trades(15, 24, late), ETH: trades(0, -1)}) == 0
    assert writer.write({}) == 0
    assert_frame_equal(hot.read_day(conn, BTC, DAY), trades(0, 9, late))
    assert_frame_equal(hot.read_day(conn, BTC, NEXT), trades(10, 24, late))
    assert_frame_equal(hot.read_day(conn, ETH, DAY), trades(5, 8))
    assert writer.contradictions == 0
    assert reopened(conn) == []


def test_write_adds_to_a_day_that_was_written_whole(conn: psycopg.Connection, writer: LiveWriter):
    hot.write_day(conn, BTC, DAY, trades(0, 99))
    conn.commit()
    assert writer.write({BTC: trades(90, 119)}) == 20
    assert_frame_equal(hot.read_day(conn, BTC, DAY), trades(0, 119))


def test_write_goes_on_after_the_partition_was_dropped(
    conn: psycopg.Connection, writer: LiveWriter
):
    assert writer.write({BTC: trades(0, 9)}) == 10
    assert hot.drop_partition(conn, DAY, [BTC])
    assert writer.write({BTC: trades(10, 19)}) == 10
    assert_frame_equal(hot.read_day(conn, BTC, DAY), trades(10, 19))


def test_new_trade_of_a_certified_day_reopens_it_and_no_other(
    conn: psycopg.Connection, writer: LiveWriter
):
    for which in (BTC, ETH):
        hot.write_day(conn, which, DAY, trades(0, 9))
        certified(conn, which, DAY)
    # Nothing new, and a day without a certificate: nothing is opened.
    assert (
        writer.write({BTC: trades(0, 9), ETH: trades(10, 12, datetime(2024, 1, 2, tzinfo=UTC))})
        == 3
    )
    assert reopened(conn) == []
    assert writer.write({BTC: trades(5, 10), ETH: trades(0, 9)}) == 1
    assert reopened(conn) == [("BTCUSDT", DAY, "late trades")]
    assert writer.write({BTC: trades(11, 11)}) == 1
    assert reopened(conn) == [("BTCUSDT", DAY, "late trades")]
    assert_frame_equal(hot.read_day(conn, BTC, DAY), trades(0, 11))


def test_certificate_that_comes_while_the_writer_is_open_is_seen(
    conn: psycopg.Connection, writer: LiveWriter
):
    assert writer.write({BTC: trades(0, 9)}) == 10
    certified(conn, BTC, DAY)
    assert writer.write({BTC: trades(10, 10)}) == 1
    assert reopened(conn) == [("BTCUSDT", DAY, "late trades")]


def test_batch_waits_for_whoever_certifies_its_day_and_reopens_it(
    database_url: str, conn: psycopg.Connection, writer: LiveWriter
):
    assert writer.write({BTC: trades(0, 9)}) == 10
    hot.hold_day(conn, BTC, DAY)
    added: list[int] = []
    thread = threading.Thread(target=lambda: added.append(writer.write({BTC: trades(10, 10)})))
    thread.start()
    thread.join(timeout=0.5)
    assert thread.is_alive()
    certified(conn, BTC, DAY)
    thread.join()
    assert added == [1]
    certificate = manifest.get_certificate(conn, "binance", "BTCUSDT", DAY)
    assert certificate is not None
    assert certificate.count == 10
    assert reopened(conn) == [("BTCUSDT", DAY, "late trades")]


@pytest.mark.parametrize("column", ["ts_event", "price", "size", "side", "fills"])
def test_stored_id_that_comes_with_another_value_is_told_and_changes_nothing(
    conn: psycopg.Connection, writer: LiveWriter, column: str
):
    assert writer.write({BTC: trades(0, 9), ETH: trades(0, 9)}) == 20
    value = pl.col(column).to_physical() + (pl.col("id") == 4)
    other = trades(0, 12).with_columns(value.alias(column)).cast(TRADES)
    assert writer.write({BTC: other, ETH: trades(0, 12)}) == 6
    assert writer.contradictions == 1
    assert reopened(conn) == [("BTCUSDT", DAY, "contradiction")]
    assert_frame_equal(hot.read_day(conn, BTC, DAY), trades(0, 12))
    assert writer.write({BTC: other}) == 0
    assert writer.contradictions == 2


def test_two_values_of_one_id_in_a_batch_are_a_contradiction(
    conn: psycopg.Connection, writer: LiveWriter
):
    other = trades(3, 3).with_columns(pl.col("price") + 1)
    assert writer.write({BTC: pl.concat([trades(0, 4), other, trades(2, 2)])}) == 5
    assert writer.contradictions == 1
    assert reopened(conn) == [("BTCUSDT", DAY, "contradiction")]
    assert hot.read_day(conn, BTC, DAY)["id"].to_list() == [0, 1, 2, 3, 4]


def test_session_that_crosses_midnight_in_utc_stays_one_day(
    database_url: str, conn: psycopg.Connection
):
    aapl = instrument("AAPL", "alpaca")
    # New York's extended session ends at 20:00: in winter 01:00 UTC, in summer midnight.
    winter = datetime(2024, 1, 2, 23, 59, 55, tzinfo=UTC)
    summer = datetime(2024, 7, 2, 23, 59, 50, tzinfo=UTC)
    writer = LiveWriter(database_url, "XNYS")
    assert writer.write({aapl: pl.concat([trades(0, 9, winter), trades(20, 29, winter)])}) == 20
    assert writer.write({aapl: trades(100, 104, summer.replace(minute=58))}) == 5
    writer.close()
    night = pl.concat([trades(0, 9, winter), trades(20, 29, winter)])
    assert night["ts_event"].dt.date().n_unique() == 2
    assert_frame_equal(hot.read_day(conn, aapl, date(2024, 1, 2)), night)
    assert_frame_equal(hot.read_day(conn, aapl, date(2024, 1, 3)), TRADES.to_frame())
    assert hot.read_day(conn, aapl, date(2024, 7, 2)).height == 5


def test_batch_with_a_symbol_on_another_grid_is_refused_whole(
    conn: psycopg.Connection, writer: LiveWriter
):
    hot.register(conn, instrument("ETHUSDT", tick="0.001"))
    conn.commit()
    with pytest.raises(SettingsError, match="decimals of price"):
        writer.write({BTC: trades(0, 9), ETH: trades(0, 9)})
    assert_frame_equal(hot.read_day(conn, BTC, DAY), TRADES.to_frame())


def test_batch_after_the_server_cut_the_connection_is_written_at_the_next_try(
    conn: psycopg.Connection, writer: LiveWriter
):
    assert writer.write({BTC: trades(0, 4)}) == 5
    conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    conn.commit()
    with pytest.raises(DatabaseUnreachableError):
        writer.write({BTC: trades(3, 9)})
    assert writer.write({BTC: trades(3, 9)}) == 5
    assert_frame_equal(hot.read_day(conn, BTC, DAY), trades(0, 9))


def test_writers_at_once_with_the_same_and_other_trades_store_each_once(
    database_url: str, conn: psycopg.Connection
):
    symbols = [instrument(f"S{number}") for number in range(5)]
    start = datetime(2024, 1, 1, 23, 50, tzinfo=UTC)
    failures: list[BaseException] = []
    stored: list[int] = []
    barrier = threading.Barrier(4)

    def live(turn: int) -> None:
        try:
            writer = LiveWriter(database_url)
            barrier.wait()
            count = 0
            for step in range(0, 1_200, 100):
                mine = symbols if turn % 2 else symbols[::-1]
                count += writer.write({each: trades(step, step + 149, start) for each in mine})
            writer.close()
            stored.append(count)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    def whole() -> None:
        try:
            other = instrument("WHOLE")
            barrier.wait()
            for number in range(10):
                with database.connect(database_url) as connection:
                    day = trades(number, 500)
                    hot.write_day(connection, other, (DAY, NEXT)[number % 2], day)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=live, args=(turn,)) for turn in range(3)]
    threads.append(threading.Thread(target=whole))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for each in symbols:
        read = pl.concat([hot.read_day(conn, each, day) for day in (DAY, NEXT)])
        assert_frame_equal(read, trades(0, 1_249, start))
    assert sum(stored) == 5 * 1_250
    assert (trades(0, 1_249, start)["ts_event"].to_physical() // NS_PER_DAY).n_unique() == 2
