"""Outages with their evidence, opened, asked again and closed; days that are open again."""

from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from trader_pipelines.core.certificates import Certificate, Range, Status
from trader_pipelines.stores import manifest, outages

DAY = date(2024, 1, 2)
PLACE = ("binance", "BTCUSDT", DAY)
NOON = datetime(2024, 1, 5, 12, tzinfo=UTC)


def certificate(day: date, first: int, last: int, *missing: Range, symbol: str = "BTCUSDT",
                count: int = 9) -> Certificate:  # fmt: skip
    status = Status.INCOMPLETE if missing else Status.COMPLETE
    return Certificate(
        "binance", symbol, day, status, count, 9, first, last, missing, "", "", False
    )


def test_declare_twice_keeps_when_it_began_and_adds_the_answers(conn: psycopg.Connection) -> None:
    asked = outages.answer("rest", NOON, "no trade of 5-7")
    outages.declare(conn, PLACE, [(5, 7), (9, 9)], [asked], NOON)
    later = NOON + timedelta(hours=24)
    outages.declare(conn, PLACE, [(5, 7)], [outages.answer("archive", later, "none")], later)
    first, second = outages.get(conn, "binance")
    assert (first.lacks, first.first_id, first.last_id) == ("5-7", 5, 7)
    assert (first.opened_at, first.asked_at, first.closed_at) == (NOON, later, None)
    assert [one["source"] for one in first.evidence] == ["rest", "archive"]
    assert first.evidence[0] == {
        "source": "rest", "asked_at": "2024-01-05T12:00:00+00:00", "answered": "no trade of 5-7",
    }  # fmt: skip
    assert (second.lacks, second.asked_at) == ("9", NOON)


def test_close_ends_what_is_not_missing_any_more_and_keeps_it(conn: psycopg.Connection) -> None:
    outages.declare(conn, PLACE, [(5, 7), (9, 9)], [], NOON)
    later = NOON + timedelta(hours=1)
    outages.close(conn, PLACE, [(9, 9)], [outages.answer("archive", later, "3 trades")], later)
    assert [one.lacks for one in outages.get(conn, "binance")] == ["9"]
    closed, still = outages.get(conn, "binance", closed=True)
    assert (closed.lacks, closed.closed_at, still.closed_at) == ("5-7", later, None)
    assert closed.evidence[-1]["answered"] == "3 trades"
    # Lost again, it is open again.
    outages.declare(conn, PLACE, [(5, 7)], [], later)
    assert [one.lacks for one in outages.get(conn, "binance")] == ["5-7", "9"]


def test_declare_of_minutes_has_no_ids(conn: psycopg.Connection) -> None:
    outages.declare(conn, PLACE, ["trades of 10:01 10:02"], [], NOON)
    (found,) = outages.get(conn, "binance")
    assert (found.lacks, found.first_id, found.last_id) == ("trades of 10:01 10:02", None, None)


def test_declare_keeps_the_latest_forty_answers(conn: psycopg.Connection) -> None:
    for hour in range(50):
        outages.declare(conn, PLACE, [(5, 7)], [outages.answer(str(hour), NOON, "none")], NOON)
    (found,) = outages.get(conn, "binance")
    assert [one["source"] for one in found.evidence] == [str(n) for n in range(10, 50)]


@pytest.mark.parametrize(
    ("narrowed", "days"),
    [
        ({}, [2, 3]),
        ({"first": date(2024, 1, 3)}, [3]),
        ({"last": date(2024, 1, 2)}, [2]),
        ({"symbols": ["ETHUSDT"]}, [3]),
        ({"symbols": []}, []),
    ],
)
def test_get_narrowed_gives_these_only(
    conn: psycopg.Connection, narrowed: dict[str, object], days: list[int]
) -> None:
    outages.declare(conn, PLACE, [(5, 7)], [], NOON)
    outages.declare(conn, ("binance", "ETHUSDT", date(2024, 1, 3)), [(1, 1)], [], NOON)
    outages.declare(conn, ("kraken", "ETHUSDT", date(2024, 1, 3)), [(1, 1)], [], NOON)
    found = outages.get(conn, "binance", **narrowed)  # type: ignore[arg-type]
    assert [one.day.day for one in found] == days


def test_reopened_until_it_is_certified_anew(conn: psycopg.Connection) -> None:
    assert outages.why_reopened(conn, *PLACE) is None
    conn.execute(
        "insert into reopened (venue, symbol, day, reason) values (%s, %s, %s, 'late')", PLACE
    )
    assert outages.reopened(conn, "binance") == {(DAY, "BTCUSDT"): "late"}
    assert outages.reopened(conn, "binance", symbols=["ETHUSDT"]) == {}
    assert outages.why_reopened(conn, *PLACE) == "late"
    outages.certified_anew(conn, *PLACE)
    assert outages.why_reopened(conn, *PLACE) is None


def test_apart_and_incomplete_name_the_days_to_look_at(conn: psycopg.Connection) -> None:
    third = DAY + timedelta(days=1)
    manifest.put_certificates(
        conn,
        [
            certificate(DAY, 1, 9, (3, 4)),
            certificate(third, 10, 20),
            certificate(third + timedelta(days=1), 23, 30),
            certificate(DAY, 1, 9, symbol="ETHUSDT"),
            certificate(third, 0, 0, symbol="ETHUSDT", count=0),
        ],
    )
    assert outages.apart(conn, "binance") == [("BTCUSDT", third + timedelta(days=1), third)]
    assert [(one.symbol, one.day) for one, _ in outages.incomplete(conn, "binance")] == [
        ("BTCUSDT", DAY)
    ]
