"""The manifest: what goes in comes out, and a revision moves only when something changed."""

import threading
from dataclasses import replace
from datetime import UTC, date, datetime

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trader_pipelines.core.certificates import Certificate, Status
from trader_pipelines.stores import database, manifest
from trader_pipelines.stores.manifest import DatasetEntry

DAY = date(2024, 1, 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
# Postgres keeps no NUL, and no half of a surrogate pair is text.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def certificate(symbol: str = "BTCUSDT", day: date = DAY, venue: str = "binance") -> Certificate:
    return Certificate(
        venue=venue,
        symbol=symbol,
        day=day,
        status=Status.INCOMPLETE,
        count=998,
        fills=2_000,
        first_id=2**53 + 1,
        last_id=2**53 + 1_000,
        missing=((2**53 + 5, 2**53 + 5), (2**53 + 7, 2**53 + 7)),
        content_hash="ab" * 32,
        source="BTCUSDT-aggTrades-2024-01-01.zip",
        synthetic=False,
        reconciled={"checksum": "matches", "rows": 998},
    )


def entry(symbol: str = "BTCUSDT", day: date = DAY, dataset: str = "bars") -> DatasetEntry:
    return DatasetEntry(
        dataset=dataset,
        venue="binance",
        symbol=symbol,
        day=day,
        path=f"{dataset}/{symbol}/{day}.parquet",
        rows=1_440,
        bytes=65_000,
        sha256="cd" * 32,
        content_hash=None,
        schema_version=1,
        code_version="bars-1",
        status=Status.COMPLETE,
        synthetic=True,
        inputs={"cold_ticks": "ef" * 32},
        metadata={"first": "00:00", "vwap": 42_000.125, "kinds": ["minute", "dollar"]},
    )


def test_certificate_put_comes_back_equal(conn: psycopg.Connection):
    empty = replace(
        certificate("ETHUSDT"), count=0, fills=0, first_id=None, last_id=None, missing=()
    )
    assert manifest.put_certificates(conn, [certificate(), empty]) == 2
    assert manifest.get_certificate(conn, "binance", "BTCUSDT", DAY) == certificate()
    assert manifest.get_certificate(conn, "binance", "ETHUSDT", DAY) == empty
    assert manifest.get_certificate(conn, "binance", "XRPUSDT", DAY) is None


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    given_certificate=st.builds(
        Certificate,
        venue=TEXT,
        symbol=TEXT,
        day=st.dates(),
        status=st.sampled_from(Status),
        count=INT64,
        fills=INT64,
        first_id=st.none() | INT64,
        last_id=st.none() | INT64,
        missing=st.lists(st.tuples(INT64, INT64), max_size=4).map(tuple),
        content_hash=TEXT,
        source=TEXT,
        synthetic=st.booleans(),
        reconciled=st.dictionaries(TEXT, TEXT | st.integers(), max_size=4),
    )
)
def test_any_certificate_comes_back_equal(conn: psycopg.Connection, given_certificate: Certificate):
    assert manifest.put_certificate(conn, given_certificate)
    assert not manifest.put_certificate(conn, given_certificate)
    key = (given_certificate.venue, given_certificate.symbol, given_certificate.day)
    assert manifest.get_certificate(conn, *key) == given_certificate
    conn.rollback()


def test_certificates_are_got_by_venue_symbols_and_days(conn: psycopg.Connection):
    days = [date(2024, 1, number) for number in (1, 2, 3)]
    everything = [certificate(symbol, day) for day in days for symbol in ("BTCUSDT", "ETHUSDT")]
    manifest.put_certificates(conn, [*reversed(everything), certificate(venue="synthetic")])
    assert manifest.get_certificates(conn, "binance") == everything
    assert manifest.get_certificates(conn, "binance", symbols=["ETHUSDT"], first=days[1]) == [
        everything[3],
        everything[5],
    ]
    assert (
        manifest.get_certificates(conn, "binance", first=days[1], last=days[1]) == everything[2:4]
    )
    assert manifest.get_certificates(conn, "binance", symbols=[]) == []
    assert manifest.get_certificates(conn, "synthetic") == [certificate(venue="synthetic")]


@pytest.mark.parametrize("table", ["certificates", "datasets"])
def test_put_again_leaves_row_stamp_and_revision_untouched(conn: psycopg.Connection, table: str):
    def put(changed: bool) -> bool:
        if table == "certificates":
            text = "another.zip" if changed else "one.zip"
            return manifest.put_certificate(conn, replace(certificate(), source=text))
        return manifest.put_dataset(conn, replace(entry(), content_hash="x" if changed else None))

    def row() -> tuple[object, ...]:
        stamp = "ts_ingest" if table == "certificates" else "written_at"
        found = conn.execute(f"select xmin, ctid, {stamp}, revision from {table}".encode())
        conn.commit()
        return found.fetchall()[0]

    assert put(changed=False)
    before = row()
    assert not put(changed=False)
    assert row() == before
    assert put(changed=True)
    after = row()
    assert after[2] > before[2]  # type: ignore[operator]
    assert after[3] > before[3]  # type: ignore[operator]
    assert not put(changed=True)
    assert row() == after


def test_dataset_entry_put_comes_back_equal_with_time_and_revision(conn: psycopg.Connection):
    began = datetime.now(UTC)
    assert manifest.put_dataset(conn, entry())
    found = manifest.get_dataset(conn, "bars", "binance", "BTCUSDT", DAY)
    assert found == entry()
    assert found.status is Status.COMPLETE
    assert found.written_at is not None
    assert abs((found.written_at - began).total_seconds()) < 60
    assert found.written_at.utcoffset() == began.utcoffset()
    assert found.revision == 1
    assert manifest.get_dataset(conn, "features", "binance", "BTCUSDT", DAY) is None


@pytest.mark.parametrize(
    "change",
    [
        {"path": "x"}, {"rows": 1}, {"bytes": 1}, {"sha256": "x"}, {"content_hash": "x"},
        {"schema_version": 2}, {"code_version": "x"}, {"status": Status.HEALED},
        {"synthetic": False}, {"inputs": {}}, {"metadata": {"vwap": 42_000.25}},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_any_changed_field_of_an_entry_is_kept(conn: psycopg.Connection, change: dict[str, object]):
    manifest.put_dataset(conn, entry())
    changed = replace(entry(), **change)  # type: ignore[arg-type]
    assert manifest.put_dataset(conn, changed)
    assert manifest.get_dataset(conn, "bars", "binance", "BTCUSDT", DAY) == changed


def test_entries_are_got_by_dataset_symbols_and_days(conn: psycopg.Connection):
    days = [date(2024, 1, number) for number in (1, 2)]
    everything = [entry(symbol, day) for day in days for symbol in ("BTCUSDT", "ETHUSDT")]
    assert manifest.put_datasets(conn, [*everything, entry(dataset="features")]) == 5
    assert manifest.get_datasets(conn, "bars", "binance") == everything
    found = manifest.get_datasets(conn, "bars", "binance", symbols=["ETHUSDT"], last=days[0])
    assert found == [everything[1]]
    assert manifest.get_datasets(conn, "bars", "synthetic") == []


def test_metadata_that_json_cannot_hold_is_refused(conn: psycopg.Connection):
    with pytest.raises(ValueError, match="JSON"):
        manifest.put_dataset(conn, replace(entry(), metadata={"vwap": float("nan")}))


def test_changed_since_tells_each_change_once(conn: psycopg.Connection):
    assert manifest.changed_since(conn, "binance", 0) == ([], 0)
    following = date(2024, 1, 2)
    manifest.put_certificates(conn, [certificate("ETHUSDT", following), certificate()])
    manifest.put_certificate(conn, certificate(venue="synthetic"))
    changed, newest = manifest.changed_since(conn, "binance", 0)
    assert changed == [(DAY, "BTCUSDT"), (following, "ETHUSDT")]
    assert manifest.changed_since(conn, "binance", newest) == ([], newest)
    manifest.put_certificate(conn, certificate())
    manifest.put_dataset(conn, entry())
    assert manifest.changed_since(conn, "binance", newest) == ([], newest)
    manifest.put_certificate(conn, replace(certificate(), status=Status.HEALED))
    changed, newer = manifest.changed_since(conn, "binance", newest)
    assert changed == [(DAY, "BTCUSDT")]
    assert newer > newest


def test_changed_since_a_revision_of_another_database_starts_over(conn: psycopg.Connection):
    manifest.put_certificate(conn, certificate())
    assert manifest.changed_since(conn, "binance", 10**9) == ([(DAY, "BTCUSDT")], 1)


def test_revisions_become_visible_in_their_order(database_url: str, conn: psycopg.Connection):
    # The first writer got the lower revision but commits late: a reader who saw the higher one
    # before would never ask for the lower.
    with database.connect(database_url) as reader:
        manifest.put_certificate(conn, certificate("SLOW"))

        def put_fast() -> None:
            with database.connect(database_url) as second:
                manifest.put_certificate(second, certificate("FAST"))

        fast = threading.Thread(target=put_fast)
        fast.start()
        fast.join(timeout=1)
        assert manifest.changed_since(reader, "binance", 0) == ([], 0)
        conn.commit()
        fast.join()
        reader.rollback()
        changed, _ = manifest.changed_since(reader, "binance", 0)
        assert changed == [(DAY, "FAST"), (DAY, "SLOW")]


def test_put_of_what_is_there_waits_for_nobody(database_url: str, conn: psycopg.Connection):
    manifest.put_certificates(conn, [certificate(), certificate("ETHUSDT")])
    conn.commit()
    manifest.put_certificate(conn, replace(certificate(), source="another.zip"))
    with database.connect(database_url) as second:
        second.execute("set lock_timeout = '1s'")
        assert not manifest.put_certificate(second, certificate("ETHUSDT"))
