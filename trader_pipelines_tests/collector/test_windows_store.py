"""Windows of hot ticks replaced: contents, ids, ties over the edges, certified days, locks."""

from datetime import date

import polars as pl
import psycopg
import pytest

from trader_pipelines.core.certificates import certify
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES
from trader_pipelines.stores import database, hot, manifest
from trader_pipelines.stores.windows import StoredMinute, replace_window, stored_minutes
from trader_pipelines_tests.collector.windows_process import MINUTE, stocks

(STOCK,) = stocks(["SYAA"])
OTHER = Instrument("alpaca", "SYAB", STOCK.tick_size, STOCK.lot_size, STOCK.since)
DAY = date(2024, 7, 9)
T = 1_720_533_600_000_000_000  # 14:00 UTC of that day


def trades(*rows: tuple[int, ...]) -> pl.DataFrame:
    """Trades of (id, stamp) as nanoseconds after `T`, and a price."""
    table = [(T + i, T + ts, price, 10, 0, 1) for i, ts, price in rows]
    schema = dict.fromkeys(TRADES, pl.Int64)
    return pl.DataFrame(table, schema=schema, orient="row").cast(TRADES)


def stored(connection: psycopg.Connection) -> list[tuple[int, ...]]:
    frame = hot.read_day(connection, STOCK, DAY)
    ids = (frame["id"] - T).to_list()
    stamps = (frame["ts_event"].to_physical() - T).to_list()
    return list(zip(ids, stamps, frame["price"].to_list(), strict=True))


def write(connection: psycopg.Connection, *rows: tuple[int, ...]) -> None:
    hot.write_day(connection, STOCK, DAY, trades(*rows))
    hot.write_day(connection, OTHER, DAY, trades(*rows))
    connection.commit()


def replace(connection: psycopg.Connection, start: int, end: int, *rows: tuple[int, ...]) -> bool:
    return replace_window(connection, STOCK, DAY, T + start, T + end, trades(*rows))


def test_replace_window_rows_inside_are_exchanged_and_others_stay(
    conn: psycopg.Connection,
) -> None:
    write(conn, (1, 1, 100), (10, 10, 101), (15, 15, 102), (20, 20, 103))
    assert replace(conn, 10, 20, (11, 11, 200), (12, 12, 201))
    assert stored(conn) == [(1, 1, 100), (11, 11, 200), (12, 12, 201), (20, 20, 103)]
    assert hot.read_day(conn, OTHER, DAY).height == 4


def test_replace_window_same_content_changes_nothing(conn: psycopg.Connection) -> None:
    write(conn, (10, 10, 101), (15, 15, 102))
    assert not replace(conn, 0, 100, (10, 10, 101), (15, 15, 102))
    assert stored(conn) == [(10, 10, 101), (15, 15, 102)]


def test_replace_window_with_nothing_empties_it(conn: psycopg.Connection) -> None:
    write(conn, (10, 10, 101), (50, 50, 102))
    assert replace(conn, 0, 50)
    assert stored(conn) == [(50, 50, 102)]
    assert not replace(conn, 0, 50)


def test_replace_window_of_unknown_instrument_and_day_makes_room(
    conn: psycopg.Connection,
) -> None:
    assert replace(conn, 0, 50, (10, 10, 101))
    assert stored(conn) == [(10, 10, 101)]


def test_replace_window_ties_before_it_push_its_ids(conn: psycopg.Connection) -> None:
    write(conn, (9, 9, 1), (10, 9, 2), (11, 9, 3))
    assert replace(conn, 10, 20, (10, 10, 4), (11, 10, 5), (15, 15, 6))
    assert stored(conn) == [
        (9, 9, 1),
        (10, 9, 2),
        (11, 9, 3),
        (12, 10, 4),
        (13, 10, 5),
        (15, 15, 6),
    ]


def test_replace_window_ties_at_its_end_push_what_follows(conn: psycopg.Connection) -> None:
    following = [(20 + i, 20 + i, 100 + i) for i in range(300)]
    write(conn, (19, 19, 1), *following)
    assert replace(conn, 10, 20, (19, 19, 1), (20, 19, 2), (21, 19, 3))
    expected = [(19, 19, 1), (20, 19, 2), (21, 19, 3)]
    expected += [(at + 2, ts, price) for at, ts, price in following]
    assert stored(conn) == expected


def test_replace_window_pushes_only_until_an_id_is_free(conn: psycopg.Connection) -> None:
    write(conn, (19, 19, 1), (20, 20, 2), (25, 25, 3))
    assert replace(conn, 10, 20, (19, 19, 1), (20, 19, 9))
    assert stored(conn) == [(19, 19, 1), (20, 19, 9), (21, 20, 2), (25, 25, 3)]


@pytest.mark.parametrize(
    "rows",
    [[(9, 9, 1)], [(20, 20, 1)], [(12, 12, 1), (12, 13, 2)], [(12, 13, 1), (13, 12, 2)]],
    ids=["before", "behind", "one id twice", "stamps fall"],
)
def test_replace_window_rows_not_of_it_are_refused(
    conn: psycopg.Connection, rows: list[tuple[int, ...]]
) -> None:
    with pytest.raises(ValueError, match="window"):
        replace(conn, 10, 20, *rows)


def test_replace_window_rolled_back_leaves_the_old_one(
    conn: psycopg.Connection, database_url: str
) -> None:
    write(conn, (10, 10, 101))
    replace(conn, 0, 50, (11, 11, 1))
    with database.connect(database_url) as other:
        assert stored(other) == [(10, 10, 101)]
    conn.rollback()
    assert stored(conn) == [(10, 10, 101)]


def test_replace_window_of_a_certified_day_is_noted_only_when_it_changes(
    conn: psycopg.Connection,
) -> None:
    write(conn, (10, 10, 101))
    certificate = certify(
        hot.read_day(conn, STOCK, DAY),
        venue="alpaca",
        symbol="SYAA",
        day=DAY,
        source="test",
        synthetic=False,
        reconciled={},
        sequential=False,
    )
    manifest.put_certificate(conn, certificate)
    query = "select venue, symbol, day, reason from reopened"
    replace(conn, 0, 50, (10, 10, 101))
    assert conn.execute(query).fetchall() == []
    replace(conn, 0, 50, (10, 10, 999))
    replace(conn, 0, 50, (10, 10, 998))
    told = "the venue tells 1 trades of a window that held 1"
    assert conn.execute(query).fetchall() == [("alpaca", "SYAA", DAY, told)]


def test_replace_window_of_an_uncertified_day_is_not_noted(conn: psycopg.Connection) -> None:
    replace(conn, 0, 50, (10, 10, 1))
    assert conn.execute("select * from reopened").fetchall() == []


def test_stored_minutes_sums_what_is_there(conn: psycopg.Connection) -> None:
    write(conn, (1, 1, 100), (2, 2, 101), (MINUTE, MINUTE, 7), (3 * MINUTE, 3 * MINUTE, 8))
    assert stored_minutes(conn, STOCK, DAY, T) == (
        {
            T: StoredMinute(2, 20, 2010),
            T + MINUTE: StoredMinute(1, 10, 70),
            T + 3 * MINUTE: StoredMinute(1, 10, 80),
        },
        T + 3 * MINUTE,
    )
    assert stored_minutes(conn, STOCK, DAY, T + 3 * MINUTE)[0].keys() == {T + 3 * MINUTE}


def test_stored_minutes_of_an_unknown_instrument_are_none(conn: psycopg.Connection) -> None:
    assert stored_minutes(conn, STOCK, DAY, T) == ({}, None)
