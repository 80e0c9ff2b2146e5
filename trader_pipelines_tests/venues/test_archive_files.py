"""Files of the archive: what is missing, damaged, forged or somewhere else is told apart."""

import hashlib
import io
import zipfile
from datetime import date
from pathlib import Path

import pytest

from trader_pipelines.core.errors import (
    BadTradeError,
    ChecksumError,
    DamagedFileError,
    MissingDataError,
    SettingsError,
    VenueUnreachableError,
)
from trader_pipelines.venues import archive_files
from trader_pipelines.venues.archive import BinanceArchive
from trader_pipelines_tests.tapes import (
    INSTRUMENTS,
    checksum_of,
    to_csv,
    write_csv,
    write_zip,
)
from trader_pipelines_tests.venues.made_up import DAY, TRADES_OF_DAY

BTCUSDT = INSTRUMENTS["BTCUSDT"]
NAME = "BTCUSDT-aggTrades-2020-11-01.zip"
CSV = to_csv(TRADES_OF_DAY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The made-up day's zip in an archive at `tmp_path`."""
    return write_csv(tmp_path, "BTCUSDT", DAY, CSV)


def refuse(base: Path, kind: type[Exception]) -> str:
    """The message of the error, whose class is exactly `kind`."""
    with pytest.raises(kind) as caught:
        BinanceArchive(str(base)).fetch_day(BTCUSDT, DAY)
    assert type(caught.value) is kind
    return str(caught.value)


def zip_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_fetch_day_tells_checksum_rows_and_source(tmp_path: Path, path: Path) -> None:
    fetched = BinanceArchive(str(tmp_path)).fetch_day(BTCUSDT, DAY)
    assert fetched.reconciled == {
        "archive_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "archive_rows": 4,
    }
    assert fetched.source == f"aggTrades archive, data/spot/daily/aggTrades/BTCUSDT/{NAME}"


def test_fetch_day_void_ids_are_told(tmp_path: Path) -> None:
    lines = CSV.decode().splitlines()
    lines[1] = lines[1].replace("13748.62000000,1.00000000,502,504", "0,0,-1,-1")
    write_csv(tmp_path, "BTCUSDT", DAY, "\n".join(lines).encode())
    reconciled = BinanceArchive(str(tmp_path)).fetch_day(BTCUSDT, DAY).reconciled
    assert reconciled["archive_void_ids"] == "102"
    assert reconciled["archive_rows"] == 4


def test_fetch_day_without_trades_is_an_empty_day(tmp_path: Path) -> None:
    write_csv(tmp_path, "BTCUSDT", DAY, b"")
    fetched = BinanceArchive(str(tmp_path)).fetch_day(BTCUSDT, DAY)
    assert (fetched.trades.height, fetched.reconciled["archive_rows"]) == (0, 0)


def test_fetch_day_zip_missing_is_missing_data(tmp_path: Path) -> None:
    message = refuse(tmp_path, MissingDataError)
    assert "the archive has no file for BTCUSDT on 2020-11-01" in message
    assert f"{tmp_path}/data/spot/daily/aggTrades/BTCUSDT/{NAME}" in message
    assert "some hours after the day closes" in message


def test_fetch_day_of_yesterday_missing_may_be_tried_again(tmp_path: Path) -> None:
    for today, retry in ((date(2020, 11, 2), True), (date(2020, 11, 9), False)):
        with pytest.raises(MissingDataError) as caught:
            BinanceArchive(str(tmp_path), today=lambda now=today: now).fetch_day(BTCUSDT, DAY)  # type: ignore[misc]
        assert caught.value.retry is retry


def test_fetch_day_checksum_missing_is_missing_data_of_that_file(
    tmp_path: Path, path: Path
) -> None:
    checksum_of(path).unlink()
    message = refuse(tmp_path, MissingDataError)
    assert f"{NAME} is there but its .CHECKSUM is not" in message
    assert f"{path}.CHECKSUM" in message


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99], ids=lambda kept: f"{kept:.0%} kept")
def test_fetch_day_zip_cut_short_fails_its_checksum(
    tmp_path: Path, path: Path, kept: float
) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    message = refuse(tmp_path, ChecksumError)
    assert f"its .CHECKSUM says {hashlib.sha256(content).hexdigest()}" in message


def test_fetch_day_wrong_checksum_is_found_before_the_rows_are_read(
    tmp_path: Path, path: Path
) -> None:
    write_csv(tmp_path, "BTCUSDT", DAY, CSV.replace(b"13750.01000000", b"not a price"))
    refuse(tmp_path, BadTradeError)
    checksum_of(path).write_text(f"{'0' * 64}  {NAME}\n")
    assert f"its .CHECKSUM says {'0' * 64}" in refuse(tmp_path, ChecksumError)


def test_fetch_day_checksum_of_another_file_is_refused(tmp_path: Path, path: Path) -> None:
    text = checksum_of(path).read_text()
    checksum_of(path).write_text(text.replace("BTCUSDT", "ETHUSDT"))
    message = refuse(tmp_path, ChecksumError)
    assert f"speaks of 'ETHUSDT-aggTrades-2020-11-01.zip', not of '{NAME}'" in message


@pytest.mark.parametrize("text", ["", "<html>502</html>", f"{'0' * 63}  {NAME}", "0" * 64])
def test_fetch_day_checksum_that_is_none_is_damaged(tmp_path: Path, path: Path, text: str) -> None:
    checksum_of(path).write_text(text)
    message = refuse(tmp_path, DamagedFileError)
    assert "the .CHECKSUM is not a line of a SHA-256 and a file name" in message
    assert f"{path}.CHECKSUM" in message


@pytest.mark.parametrize(
    "form",
    [str.upper, lambda line: line.replace("  ", " *"), str.strip],
    ids=["upper", "*", "bare"],
)
def test_fetch_day_checksum_as_other_tools_write_it_is_taken(
    tmp_path: Path, path: Path, form
) -> None:
    digest, name = checksum_of(path).read_text().split()
    checksum_of(path).write_text(f"{form(f'{digest}  ')}{'' if form('  ') else '  '}{name}")
    assert BinanceArchive(str(tmp_path)).fetch_day(BTCUSDT, DAY).trades.height == 4


def bit_flipped() -> bytes:
    content = bytearray(zip_of(csv=CSV * 50))
    content[len(content) // 3] ^= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "cannot be read as a zip"),
        (CSV, "cannot be read as a zip"),
        (zip_of(csv=CSV)[:-30], "cannot be read as a zip"),
        (bit_flipped(), "cannot be read as a zip"),
        (zip_of(), "has 0 members"),
        (zip_of(a=CSV, b=CSV), "has 2 members (a, b)"),
    ],
    ids=["empty", "no zip", "truncated", "bit flipped", "no member", "two members"],
)
def test_fetch_day_damaged_zip_of_right_checksum_is_a_damaged_file(
    tmp_path: Path, content: bytes, told: str
) -> None:
    path = write_zip(tmp_path, "BTCUSDT", DAY, content)
    message = refuse(tmp_path, DamagedFileError)
    assert told in message
    assert str(path) in message


def test_fetch_day_zip_bomb_is_refused_by_the_size_it_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_zip(tmp_path, "BTCUSDT", DAY, zip_of(csv=bytes(5_000)))
    monkeypatch.setattr(archive_files, "MAX_CSV_BYTES", 4_999)
    assert "it claims 5,000 bytes, more than the 4,999" in refuse(tmp_path, DamagedFileError)


def test_fetch_day_huge_file_is_refused_unread(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_files, "MAX_ZIP_BYTES", path.stat().st_size - 1)
    assert f"it claims {path.stat().st_size:,} bytes" in refuse(tmp_path, DamagedFileError)


def test_fetch_day_folder_missing_is_unreachable(tmp_path: Path) -> None:
    gone = tmp_path / "not-mounted"
    message = refuse(gone, VenueUnreachableError)
    assert "the archive's folder is not there" in message
    assert str(gone) in message


def test_fetch_day_unreadable_file_is_unreachable(tmp_path: Path, path: Path) -> None:
    path.unlink()
    path.mkdir()
    assert "the file cannot be read: Is a directory" in refuse(tmp_path, VenueUnreachableError)


@pytest.mark.parametrize(
    "base",
    [
        "",
        "s3://bucket/archive",
        "ftp://host/x",
        "http://",
        "https:///x",
        "file://elsewhere/x",
        "http://alice:s3cr3t@host:99999/",
        "http://alice:s3cr3t@[bad/",
    ],
)
def test_archive_base_that_cannot_be_read_is_a_settings_error(base: str) -> None:
    with pytest.raises(SettingsError) as caught:
        BinanceArchive(base)
    assert "give a folder, file:///folder, http://host/" in caught.value.remedy
    assert "s3cr3t" not in str(caught.value)


def test_archive_base_with_spaces_works_as_folder_and_file_url(tmp_path: Path) -> None:
    base = tmp_path / "my data #1"
    write_csv(base, "BTCUSDT", DAY, CSV)
    for form in (str(base), base.as_uri(), base.as_uri().replace("file://", "file://localhost")):
        assert BinanceArchive(form).fetch_day(BTCUSDT, DAY).trades.height == 4
