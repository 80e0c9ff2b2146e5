"""Bad input in a run: a typed error that its page shows, nothing half-written, no secret told."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import psycopg
import pytest

from trader_pipelines import demo
from trader_pipelines.core.errors import DayNotOverError, TraderError, UnknownSymbolError
from trader_pipelines.definitions import definitions
from trader_pipelines.platform import Platform
from trader_pipelines.stores import database
from trader_pipelines.venues.archive import BinanceArchive
from trader_pipelines_tests.end_to_end import worlds
from trader_pipelines_tests.end_to_end.nursery import nurseries
from trader_pipelines_tests.tapes import HEADER, AggTrade, checksum_of, to_csv, write_csv, write_zip

UNIVERSE = """\
  binance:
    source: binance_archive
    symbols:
      BTCUSDT: {since: 2020-10-31, tick_size: "0.01", lot_size: "0.000001", dollar_bar: 1000}
      ETHUSDT: {since: 2020-10-31, tick_size: "0.01", lot_size: "0.00001", dollar_bar: 1000}
"""
DAY_BEFORE, DAY = date(2020, 10, 31), date(2020, 11, 1)
STAGES = ("hot_ticks", "cold_ticks", "bars", "features", "labels")
SECRET = "s3cr3t-Gr8"


def trades(symbol: str, day: date, count: int = 600) -> list[AggTrade]:
    """A made-up day of a trade every other minute, ids in order over the days."""
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1_000)
    first = (day - DAY_BEFORE).days * count + 1
    base = 13_000 if symbol == "BTCUSDT" else 390
    return [
        AggTrade(
            id=first + n,
            price=f"{base + (n * 7 % 31) / 100:.2f}",
            size=f"{0.01 + (n % 5) / 100:.4f}",
            first=first + n,
            last=first + n,
            ms=start + n * 120_000,
            buyer_maker=n % 3 == 0,
        )
        for n in range(count)
    ]


def good(base: Path) -> None:
    """Two days of two symbols as they should be."""
    for symbol in ("BTCUSDT", "ETHUSDT"):
        for day in (DAY_BEFORE, DAY):
            write_csv(base, symbol, day, to_csv(trades(symbol, day)))


def spoil(base: Path, change: Callable[[list[str]], Sequence[str]]) -> None:
    """Write ETHUSDT's second day with changed lines; line 1 is the header."""
    lines = to_csv(trades("ETHUSDT", DAY), header=True).decode().splitlines()
    write_csv(base, "ETHUSDT", DAY, "".join(f"{line}\n" for line in change(lines)).encode())


def cell(line: int, column: str, value: str) -> Callable[[Path], None]:
    """A change of one cell; lines are counted from 1, the header included."""

    def change(lines: list[str]) -> Sequence[str]:
        cells = lines[line - 1].split(",")
        cells[HEADER.split(",").index(column)] = value
        return [*lines[: line - 1], ",".join(cells), *lines[line:]]

    return lambda base: spoil(base, change)


def truncated(base: Path) -> None:
    path = write_csv(base, "ETHUSDT", DAY, to_csv(trades("ETHUSDT", DAY)))
    # Cut short on its way to the publisher: the checksum fits what is there.
    write_zip(base, "ETHUSDT", DAY, path.read_bytes()[:-200])


def wrong_checksum(base: Path) -> None:
    path = write_csv(base, "ETHUSDT", DAY, to_csv(trades("ETHUSDT", DAY)))
    checksum_of(path).write_text(f"{'0' * 64}  {path.name}\n")


def without_column(base: Path) -> None:
    at = HEADER.split(",").index("quantity")

    def drop(lines: list[str]) -> list[str]:
        return [
            ",".join(cell for n, cell in enumerate(line.split(",")) if n != at) for line in lines
        ]

    spoil(base, drop)


def backwards(base: Path) -> None:
    spoil(base, lambda lines: [*lines[:300], lines[301], lines[300], *lines[302:]])


def absent(base: Path) -> None:
    (base / "data/spot/daily/aggTrades/ETHUSDT/ETHUSDT-aggTrades-2020-11-01.zip").unlink()


def without_checksum(base: Path) -> None:
    checksum_of(
        base / "data/spot/daily/aggTrades/ETHUSDT/ETHUSDT-aggTrades-2020-11-01.zip"
    ).unlink()


MIDNIGHT = int(datetime(2020, 11, 2, tzinfo=UTC).timestamp() * 1_000)

#: What is wrong: how it is made, the error's type, what it says, and where.
BAD_FILES: dict[str, tuple[Callable[[Path], None], str, str, str]] = {
    "truncated zip": (truncated, "DamagedFileError", "cannot be read as a zip", "2020-11-01.zip"),
    "wrong checksum": (wrong_checksum, "ChecksumError", "its .CHECKSUM says 0000", "2020-11-01.zip"),
    "missing column": (
        without_column, "BadTradeError", "no column quantity", "line 1, column quantity",
    ),
    "non-numeric price": (
        cell(7, "price", "n/a"), "BadTradeError", "price 'n/a' is not a plain decimal number",
        "line 7, column price",
    ),
    "negative size": (
        cell(9, "quantity", "-0.5"), "BadTradeError", "quantity '-0.5' is negative",
        "line 9, column quantity",
    ),
    "ids backwards": (
        backwards, "BadTradeError", "agg_trade_id", "line 302, column agg_trade_id",
    ),
    "stamp outside the day": (
        cell(601, "transact_time", str(MIDNIGHT)), "BadTradeError", "outside 2020-11-01",
        "line 601, column transact_time",
    ),
    "missing file": (absent, "MissingDataError", "no file for ETHUSDT on 2020-11-01", ".zip"),
    "missing checksum": (
        without_checksum, "MissingDataError", "its .CHECKSUM is not", ".zip.CHECKSUM",
    ),
}  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """An archive that is sound."""
    good(tmp_path / "archive")
    return tmp_path / "archive"


@pytest.fixture
def parts(tmp_path: Path, database_url: str, base: Path) -> Platform:
    return worlds.platform(tmp_path / "home", database_url, UNIVERSE, archive_url=str(base))


def run(parts: Platform, **more: object) -> worlds.Ran:
    return worlds.run(parts, STAGES, DAY_BEFORE, DAY, venue="binance", **more)  # type: ignore[arg-type]


def told(ran: worlds.Ran) -> dg.Failure:
    """The one failure of a run, after a look at how it is told: whole, readable, without secrets."""
    assert not ran.success
    (failure,) = ran.failures.values()
    told = {name: value.value for name, value in failure.metadata.items()}
    assert {"what", "where", "remedy", "errors"} <= told.keys()
    for name in ("what", "where", "remedy"):
        assert told[name]
        assert str(told[name]) in str(failure.description)
    assert "Traceback" not in str(failure.description)
    return failure


def password_of(url: str) -> str:
    password = urlsplit(url).password
    assert password
    return password


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_fails_the_run_readably_and_keeps_all_that_is_good(
    parts: Platform, base: Path, name: str
) -> None:
    make, kind, what, where = BAD_FILES[name]
    make(base)
    ran = run(parts)
    failure = told(ran)
    assert str(failure.description).startswith(f"{kind}: ")
    assert what in str(failure.metadata["what"].value)
    assert where in str(failure.metadata["where"].value)
    # Of the bad symbol's day there is nothing at all; every other trade is there and certified.
    rows = worlds.rows(parts.database_url())
    kept = {("BTCUSDT", DAY_BEFORE), ("ETHUSDT", DAY_BEFORE), ("BTCUSDT", DAY)}
    assert {(row["symbol"], row["day"]) for row in rows["certificates"]} == kept
    assert {(row["symbol"], row["day"]) for row in rows["hot_ticks"]} == kept
    assert len(rows["hot_ticks"]) == 3 * 600
    # The proof of a day failed, so nothing is built on it.
    assert rows["datasets"] == []
    assert worlds.files(parts.settings.cold_root) == {}
    everything = ran.everything_told()
    assert kind in everything
    assert password_of(parts.database_url()) not in everything


@pytest.mark.parametrize("name", ["truncated zip", "stamp outside the day"])
def test_bad_file_mended_and_run_again_equals_a_run_that_never_saw_it(
    parts: Platform, base: Path, name: str, tmp_path: Path, postgres: object
) -> None:
    BAD_FILES[name][0](base)
    assert not run(parts).success
    good(base)
    assert run(parts).success
    mended = worlds.kept(parts.settings.home, parts.database_url())
    assert len(mended["certificates"]) == 4
    with psycopg.connect(parts.database_url()) as connection:
        connection.execute(
            "truncate certificates, datasets, hot_ticks, instruments restart identity"
        )
    fresh = worlds.platform(
        tmp_path / "fresh", parts.database_url(), UNIVERSE, archive_url=str(base)
    )
    assert run(fresh).success
    assert worlds.differences(mended, worlds.kept(tmp_path / "fresh", parts.database_url())) == []


def test_bad_file_over_a_good_day_leaves_the_good_day_as_it_was(
    parts: Platform, base: Path
) -> None:
    assert run(parts).success
    before = worlds.kept(parts.settings.home, parts.database_url())
    BAD_FILES["negative size"][0](base)
    told(run(parts))
    assert worlds.kept(parts.settings.home, parts.database_url()) == before


def test_several_bad_files_are_all_named_in_one_failure(parts: Platform, base: Path) -> None:
    BAD_FILES["wrong checksum"][0](base)
    path = base / "data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2020-10-31.zip"
    path.unlink()
    failure = told(run(parts))
    lines = str(failure.description)
    assert "MissingDataError: the archive has no file for BTCUSDT on 2020-10-31" in lines
    assert "ChecksumError: its SHA-256 is" in lines
    assert "| MissingDataError |" in str(failure.metadata["errors"].value)
    assert "| ChecksumError |" in str(failure.metadata["errors"].value)


def test_symbol_that_is_unknown_is_named_beside_the_known_ones(parts: Platform) -> None:
    ran = run(parts, symbols=["NOPEUSDT"])
    failure = told(ran)
    assert failure.metadata["what"].value == (
        "symbol 'NOPEUSDT' is not in the universe of venue 'binance'"
    )
    assert "BTCUSDT, ETHUSDT" in str(failure.metadata["remedy"].value)
    assert worlds.rows(parts.database_url())["certificates"] == []
    with pytest.raises(UnknownSymbolError, match="NOPEUSDT"):
        demo.plan(parts, "binance", ("NOPEUSDT",), DAY_BEFORE, DAY)


def test_day_that_is_not_over_is_refused_by_the_run_and_by_the_demo(
    parts: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The venue's clock says that it is still going on, whatever this machine's says.
    lagging = BinanceArchive(parts.settings.archive_url, today=lambda: DAY)
    monkeypatch.setattr(Platform, "venue", lambda self, spec: lagging)
    failure = told(run(parts))
    assert str(failure.description).startswith("DayNotOverError: 2020-11-01 is still going on")
    days = {row["day"] for row in worlds.rows(parts.database_url())["certificates"]}
    assert days == {DAY_BEFORE}
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    with pytest.raises(DayNotOverError, match="is not over yet"):
        demo.plan(parts, "binance", (), DAY, tomorrow)


def test_day_in_the_future_fails_typed_and_writes_nothing(parts: Platform) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    ran = worlds.run(parts, STAGES, tomorrow, venue="binance")
    failure = told(ran)
    assert str(failure.description).startswith(f"DayNotOverError: {tomorrow} is in the future")
    assert worlds.rows(parts.database_url())["certificates"] == []
    # The UI does not even offer it.
    cut = definitions(parts).resolve_asset_graph().get(dg.AssetKey(["binance", "bars"]))
    assert cut.partitions_def is not None
    assert not cut.partitions_def.has_partition_key(tomorrow.isoformat())


def test_archive_that_is_not_there_is_named(parts: Platform, base: Path, tmp_path: Path) -> None:
    base.rename(tmp_path / "moved")
    failure = told(run(parts))
    assert str(failure.description).startswith("VenueUnreachableError: ")
    assert str(base) in str(failure.metadata["where"].value)


def test_full_disk_is_a_typed_error_and_leaves_nothing_half_written(
    parts: Platform, tmp_path: Path, database_url: str, base: Path
) -> None:
    # The kernel refuses: no file may grow beyond 2 KB in the child that runs this.
    with nurseries(1) as (nursery,):
        signal, ran = nursery.run(
            "with_largest_file",
            home=tmp_path / "small",
            url=database_url,
            largest=2_000,
            day=DAY,
            venue="binance",
            universe=UNIVERSE,
            archive_url=base,
        )
    assert signal == 0
    assert not ran["success"]
    ((step, description),) = ran["failures"].items()
    assert step == "binance__cold_ticks"
    assert description.startswith("DiskFullError: no room to write")
    # The day is spooled before it is encoded: that is where it ends.
    assert str(tmp_path / "small" / "spool") in description
    rows = worlds.rows(database_url)
    assert len(rows["certificates"]) == 2
    assert rows["datasets"] == []
    assert worlds.files(tmp_path / "small" / "cold") == {}


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with room for a few kilobytes."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    place = tmp_path / "tiny"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=48k", "tmpfs", str(place)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_full_disk_on_a_real_file_system_keeps_what_was_committed(
    tiny_disk: Path, tmp_path: Path, database_url: str, base: Path
) -> None:
    parts = worlds.platform(
        tmp_path / "home", database_url, UNIVERSE, archive_url=str(base), cold_url=str(tiny_disk)
    )
    ran = run(parts)
    failure = told(ran)
    assert str(failure.description).startswith("DiskFullError: no room to write: No space left")
    assert str(tiny_disk) in str(failure.metadata["where"].value)
    # Each row of the manifest has its file, and every file its row: the disk held some of them.
    committed = {f"tiny/{row['path']}" for row in worlds.rows(database_url)["datasets"]}
    assert set(worlds.files(tiny_disk)) == committed
    assert committed
    # With room again, the same run goes through.
    roomy = worlds.platform(tmp_path / "home", database_url, UNIVERSE, archive_url=str(base))
    assert run(roomy).success


def test_database_that_does_not_answer_is_named_without_its_password(
    tmp_path: Path, base: Path
) -> None:
    url = f"postgresql://trader:{SECRET}@127.0.0.1:9/ticks"
    parts = worlds.platform(tmp_path / "home", url, UNIVERSE, archive_url=str(base))
    ran = run(parts)
    failure = told(ran)
    assert str(failure.description).startswith("DatabaseUnreachableError: ")
    assert failure.metadata["where"].value == "127.0.0.1:9/ticks"
    assert SECRET not in ran.everything_told()
    assert worlds.files(parts.settings.home) == {
        key: value for key, value in worlds.files(parts.settings.home).items() if "universe" in key
    }
    with pytest.raises(TraderError) as caught:
        demo.run(parts, demo.plan(parts, "binance", (), DAY_BEFORE, DAY))
    assert "DatabaseUnreachableError" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_database_that_refuses_the_login_is_told_without_the_password(
    tmp_path: Path, base: Path, database_url: str
) -> None:
    url = database_url.replace(password_of(database_url), SECRET)
    parts = worlds.platform(tmp_path / "home", url, UNIVERSE, archive_url=str(base))
    ran = run(parts)
    failure = told(ran)
    assert "password authentication failed" in str(failure.description)
    assert SECRET not in ran.everything_told()


@pytest.mark.parametrize(
    ("version", "what", "remedy"),
    [
        ("0000", "older than the", "run `trader db upgrade`"),
        ("0999", "newer than the", "update the package trader-pipelines"),
        ("f00ba4", "does not know", "name the right database"),
    ],
)
def test_database_of_the_wrong_schema_version_is_refused_untouched(
    parts: Platform, version: str, what: str, remedy: str
) -> None:
    url = parts.database_url()
    with psycopg.connect(url) as connection:
        connection.execute(
            f"update {database.VERSION_TABLE} set version_num = %s".encode(), (version,)
        )
    ran = run(parts)
    failure = told(ran)
    assert str(failure.description).startswith(
        "SchemaVersionError: the database has schema version"
    )
    assert what in str(failure.metadata["what"].value)
    assert remedy in str(failure.metadata["remedy"].value)
    assert password_of(url) not in ran.everything_told()
    rows = worlds.rows(url)
    assert all(not found for found in rows.values())
    assert worlds.files(parts.settings.cold_root) == {}


def test_whole_event_log_of_a_good_run_holds_no_password(parts: Platform) -> None:
    ran = run(parts)
    assert ran.success
    everything = ran.everything_told()
    assert "hot_ticks" in everything
    assert password_of(parts.database_url()) not in everything
