"""Compaction and retention on a small store: what goes, what is refused, what comes back."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from trader_pipelines.core.errors import DiskFullError, TraderError
from trader_pipelines.core.retention import Verdict
from trader_pipelines.core.trades import content_hash
from trader_pipelines.platform import Platform
from trader_pipelines.steps import compact, retain
from trader_pipelines.steps.migrate_cold import migrate_cold, waiting
from trader_pipelines.stores import datasets, hot, manifest, parquet
from trader_pipelines.stores.cold.verify import verify
from trader_pipelines_tests.end_to_end import tiers, worlds

DAY, NEXT, LAST = tiers.DAYS
#: Two days after the last of them.
NOW = datetime(2024, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def parts(home: Path, database_url: str) -> Platform:
    """Hot keeps two days: of three, at `NOW`, two go."""
    return worlds.platform(home, database_url, hot_days=2)


@pytest.fixture
def connection(parts: Platform) -> Iterator[psycopg.Connection]:
    """Three days of two symbols, written and compacted."""
    with parts.connect() as opened:
        tiers.write(parts, opened)
        tiers.freeze(parts, opened)
        yield opened


def instrument(parts: Platform, symbol: str = "AAA") -> Any:
    return parts.universe.venue("synthetic").instrument(symbol)


def file_of(parts: Platform, connection: psycopg.Connection, symbol: str, day: date) -> Path:
    entry = datasets.entry(connection, datasets.Key("cold_ticks", "synthetic", symbol, day))
    return parts.settings.home / "cold" / entry.path


def went(report: retain.Report) -> list[tuple[str, date]]:
    return [(one.holding.symbol, one.holding.day) for one in report.of(Verdict.GOES)]


def held(connection: psycopg.Connection) -> dict[date, int]:
    return dict(connection.execute("select day, count(*) from hot_ticks group by 1").fetchall())


EVERYTHING_OLD = [(symbol, day) for day in (DAY, NEXT) for symbol in tiers.SYMBOLS]


def test_retention_lets_go_of_old_days_and_their_partitions(
    parts: Platform, connection: psycopg.Connection, database_url: str
) -> None:
    before = held(connection)
    whole = {
        day: compact.stored_trades(connection, parts, instrument(parts), day) for day in tiers.DAYS
    }
    report = retain.retain(connection, parts, now=NOW)
    assert went(report) == EVERYTHING_OLD
    assert (report.of(Verdict.REFUSED), report.partitions) == ([], [DAY, NEXT])
    assert held(connection) == {LAST: before[LAST]}
    assert partitions(connection) == {"hot_ticks_20240103"}
    for day in tiers.DAYS:
        assert tiers.read(database_url, parts, "AAA", day).equals(whole[day])
        assert compact.stored_trades(connection, parts, instrument(parts), day).equals(whole[day])
        found = compact.compare(connection, parts, instrument(parts), day)
        assert (found.equal, found.dropped) == (True, day != LAST)
    again = retain.retain(connection, parts, now=NOW)
    assert (went(again), again.partitions, again.swept) == ([], [], [])


def test_retention_in_a_dry_run_proves_and_changes_nothing(
    parts: Platform, connection: psycopg.Connection, home: Path, database_url: str
) -> None:
    stray = file_of(parts, connection, "AAA", DAY).with_name("left-behind.parquet")
    stray.write_bytes(b"torn")
    before = worlds.files(home / "cold"), worlds.rows(database_url, moments=True)
    dry = retain.retain(connection, parts, now=NOW, dry_run=True)
    assert (worlds.files(home / "cold"), worlds.rows(database_url, moments=True)) == before
    real = retain.retain(connection, parts, now=NOW)
    assert dry == real
    assert went(real) == EVERYTHING_OLD
    assert [Path(path).name for path in real.swept] == ["left-behind.parquet"]
    assert verify(connection, parts.cold) == []


def test_partition_left_empty_by_a_run_that_was_killed_is_dropped_by_the_next(
    parts: Platform, connection: psycopg.Connection
) -> None:
    connection.execute("delete from hot_ticks where day = %s", (DAY,))
    report = retain.retain(connection, parts, now=NOW)
    assert went(report) == EVERYTHING_OLD[2:]
    assert report.partitions == [DAY, NEXT]
    assert partitions(connection) == {"hot_ticks_20240103"}


def test_partition_that_a_reader_keeps_busy_is_left_to_the_next_run(
    home: Path, database_url: str, connection: psycopg.Connection
) -> None:
    parts = worlds.platform(home, database_url, hot_days=3)
    with parts.connect() as reader:
        with reader.transaction():
            reader.execute("select count(*) from hot_ticks")
            report = retain.retain(connection, parts, now=NOW)
        assert (went(report), report.partitions) == (EVERYTHING_OLD[:2], [])
    assert retain.retain(connection, parts, now=NOW).partitions == [DAY]


def partitions(connection: psycopg.Connection) -> set[str]:
    found = connection.execute("select relname from pg_class where relname ~ '^hot_ticks_2024'")
    return {name[: len("hot_ticks_20240101")] for (name,) in found}


def test_retention_by_default_keeps_everything(
    home: Path, database_url: str, connection: psycopg.Connection
) -> None:
    unlimited = worlds.platform(home, database_url)
    before = held(connection)
    report = retain.retain(connection, unlimited, now=NOW + timedelta(days=9_999))
    assert (went(report), report.of(Verdict.REFUSED)) == ([], [])
    assert held(connection) == before


def test_retention_by_size_lets_go_of_the_oldest_until_the_limit_is_met(
    home: Path, database_url: str, connection: psycopg.Connection
) -> None:
    limited = worlds.platform(home, database_url, hot_bytes=1)
    report = retain.retain(connection, limited, now=NOW)
    assert len(went(report)) == 6
    assert held(connection) == {}


@pytest.mark.parametrize("back", [timedelta(days=1), timedelta(days=3), timedelta(days=3_650)])
def test_retention_with_a_clock_set_back_lets_go_of_nothing_more(
    parts: Platform, connection: psycopg.Connection, back: timedelta
) -> None:
    before = retain.retain(connection, parts, now=NOW - back, dry_run=True)
    assert set(went(before)) < set(EVERYTHING_OLD)
    retain.retain(connection, parts, now=NOW)
    left = held(connection)
    assert went(retain.retain(connection, parts, now=NOW - back)) == []
    assert held(connection) == left


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (flip, "has changed since it was written"),
        (lambda file: file.write_bytes(file.read_bytes()[:-100]), "has changed since it was"),
        (lambda file: file.write_bytes(b""), "has changed since it was written (0 bytes now)"),
        (Path.unlink, "there is no such file"),
    ],
)
def test_retention_of_a_day_whose_file_is_damaged_or_missing_is_refused_by_name(
    parts: Platform, connection: psycopg.Connection, harm: Callable[[Path], object], why: str
) -> None:
    before = held(connection)
    file = file_of(parts, connection, "BBB", DAY)
    harm(file)
    report = retain.retain(connection, parts, now=NOW)
    (refused,) = report.of(Verdict.REFUSED)
    assert (refused.holding.symbol, refused.holding.day) == ("BBB", DAY)
    assert why in refused.why
    assert file.name in refused.why
    assert report.partitions == [NEXT]
    rest = hot.read_day(connection, instrument(parts, "BBB"), DAY)
    assert held(connection) == {DAY: rest.height, LAST: before[LAST]}
    # What hot kept is enough to write the file again; then the day goes.
    tiers.freeze(parts, connection)
    assert went(retain.retain(connection, parts, now=NOW)) == [("BBB", DAY)]
    assert verify(connection, parts.cold) == []


@pytest.mark.parametrize(
    ("tamper", "why"),
    [
        ("update hot_ticks set price = price + 1 where id = %(id)s", "not those of the certif"),
        ("delete from hot_ticks where id = %(id)s", "the certificate says"),
        ("update certificates set content_hash = 'x'", "of other trades than its certificate"),
        ("delete from certificates", "it has no certificate"),
        ("delete from datasets", "it has no committed cold copy"),
        (
            "insert into reopened (venue, symbol, day, reason) "
            "select venue, symbol, day, 'late trades' from certificates",
            "it is open again: late trades",
        ),
    ],
)
def test_retention_of_a_day_that_is_not_proven_is_refused(
    parts: Platform, connection: psycopg.Connection, tamper: str, why: str
) -> None:
    trades = hot.read_day(connection, instrument(parts), DAY)
    connection.execute(tamper.encode(), {"id": trades["id"][0]})
    before = held(connection)
    report = retain.retain(connection, parts, now=NOW)
    refused = {(one.holding.symbol, one.holding.day): one.why for one in report.of(Verdict.REFUSED)}
    assert why in refused["AAA", DAY]
    assert DAY not in report.partitions
    assert held(connection)[DAY] > 0
    assert before[LAST] == held(connection)[LAST]


def test_compaction_of_rows_that_are_not_certified_is_refused_and_writes_nothing(
    parts: Platform, connection: psycopg.Connection, home: Path, database_url: str
) -> None:
    certificate = manifest.get_certificate(connection, "synthetic", "AAA", DAY)
    assert certificate is not None
    connection.execute("update hot_ticks set size = size + 1 where day = %s", (DAY,))
    before = worlds.kept(home, database_url)
    with pytest.raises(TraderError, match="not the") as caught:
        compact.freeze(connection, parts, instrument(parts), certificate)
    assert "hot_ticks, AAA.SYNTHETIC on 2024-01-01" in caught.value.where
    assert worlds.kept(home, database_url) == before


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """As a disk that is nearly full: a write beyond that size fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [1_000, 4_000], ids=["spooling", "encoding"])
def test_compaction_on_a_full_disk_leaves_the_old_copy_and_nothing_else(
    parts: Platform, connection: psycopg.Connection, home: Path, database_url: str,
    room: int,
) -> None:  # fmt: skip
    trades = hot.read_day(connection, instrument(parts), DAY)
    certificate = tiers.put(connection, instrument(parts), DAY, tiers.corrected(trades))
    assert trades.height * 8 < 4_000 < file_of(parts, connection, "AAA", DAY).stat().st_size
    before = worlds.kept(home, database_url)
    with no_file_beyond(room), pytest.raises(DiskFullError) as caught:
        compact.freeze(connection, parts, instrument(parts), certificate)
    assert str(home / "spool") in caught.value.where
    assert caught.value.retry
    assert worlds.kept(home, database_url) == before
    assert list((home / "spool").iterdir()) == []
    compact.freeze(connection, parts, instrument(parts), certificate)
    assert compact.compare(connection, parts, instrument(parts), DAY).equal


def test_compaction_overtaken_by_a_new_certificate_is_refused_and_the_newer_copy_stays(
    parts: Platform, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = instrument(parts)
    certificate = manifest.get_certificate(connection, "synthetic", "AAA", DAY)
    assert certificate is not None
    inner = datasets.put_content

    def overtaken(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(datasets, "put_content", inner)
        tiers.put_right(parts, connection, one, DAY)
        return inner(*args, **kwargs)

    monkeypatch.setattr(datasets, "put_content", overtaken)
    with pytest.raises(TraderError, match="not the certified ones any more") as caught:
        compact.freeze(connection, parts, one, certificate)
    assert caught.value.retry
    found = compact.compare(connection, parts, one, DAY)
    assert found.cold == found.certified
    assert found.equal


@pytest.mark.parametrize("moment", ["fetch", "write"])
def test_migration_overtaken_by_a_compaction_leaves_the_newer_copy(
    parts: Platform, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    with monkeypatch.context() as before:
        before.setattr(datasets, "SCHEMA_VERSION", tiers.LAYOUT - 1)
        tiers.freeze(parts, connection)
    owner, name = (parquet, "fetch") if moment == "fetch" else (datasets, "put")
    inner = getattr(owner, name)

    def overtaken(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(owner, name, inner)
        tiers.freeze(parts, connection)
        tiers.put_right(parts, connection, instrument(parts), DAY)
        return inner(*args, **kwargs)

    monkeypatch.setattr(owner, name, overtaken)
    rewritten, _ = migrate_cold(connection, parts)
    assert rewritten == 0
    assert compact.compare(connection, parts, instrument(parts), DAY).equal
    assert waiting(connection) == []
    assert verify(connection, parts.cold) == []


def test_compaction_of_a_day_that_hot_let_go_of_gives_the_same_file(
    parts: Platform, connection: psycopg.Connection, home: Path
) -> None:
    retain.retain(connection, parts, now=NOW)
    before = worlds.files(home / "cold")
    tiers.freeze(parts, connection)
    assert worlds.files(home / "cold") == before


def test_day_that_hot_let_go_of_is_ingested_again_and_goes_again(
    parts: Platform, connection: psycopg.Connection, home: Path, database_url: str
) -> None:
    before = held(connection), worlds.files(home / "cold")
    retain.retain(connection, parts, now=NOW)
    tiers.write(parts, connection)
    assert (held(connection), worlds.files(home / "cold")) == before
    assert went(retain.retain(connection, parts, now=NOW)) == EVERYTHING_OLD


def test_late_rows_of_a_day_that_hot_let_go_of_join_those_of_the_cold_copy(
    parts: Platform, connection: psycopg.Connection
) -> None:
    one = instrument(parts)
    whole = hot.read_day(connection, one, DAY)
    retain.retain(connection, parts, now=NOW)
    late = whole.tail(1).with_columns(id=pl.col("id") + 1)
    with connection.transaction():
        hot.write_day(connection, one, DAY, late)
    merged = compact.stored_trades(connection, parts, one, DAY)
    assert content_hash(merged) == content_hash(pl.concat([whole, late]))
    # Not certified yet, so they are not let go of, and the reader still answers with the certified.
    (refused,) = retain.retain(connection, parts, now=NOW).of(Verdict.REFUSED)
    assert refused.why == f"hot holds 1 trades, the certificate says {whole.height}"
    assert held(connection)[DAY] == 1


def test_superseded_files_go_when_they_are_older_than_the_history_that_is_kept(
    home: Path, database_url: str, connection: psycopg.Connection
) -> None:
    parts = worlds.platform(home, database_url, cold_history_days=7)
    tiers.restate(parts, connection)
    soon = datetime.now(UTC)
    assert len(worlds.files(home / "cold")) == 8
    assert retain.retain(connection, parts, now=soon + timedelta(days=6)).forgotten == []
    dry = retain.retain(connection, parts, now=soon + timedelta(days=8), dry_run=True)
    assert len(worlds.files(home / "cold")) == 8
    report = retain.retain(connection, parts, now=soon + timedelta(days=8))
    assert len(report.forgotten) == 2
    assert dry.forgotten == report.forgotten
    assert len(worlds.files(home / "cold")) == 6
    assert verify(connection, parts.cold) == []


def test_sweep_leaves_alone_what_does_not_lie_where_we_write(
    parts: Platform, connection: psycopg.Connection, home: Path
) -> None:
    notes = home / "cold" / "README"
    notes.write_text("somebody's notes")
    assert retain.retain(connection, parts, now=NOW).swept == []
    assert notes.exists()
