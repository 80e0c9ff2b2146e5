"""The archive over http: patient with failures, exact about them, silent about secrets."""

import base64
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from trader_pipelines.core.errors import (
    ChecksumError,
    DamagedFileError,
    MissingDataError,
    TraderError,
    VenueUnreachableError,
)
from trader_pipelines.core.trades import content_hash
from trader_pipelines.venues import archive_http
from trader_pipelines.venues.archive import BinanceArchive, archive_path
from trader_pipelines.venues.patience import Patience
from trader_pipelines_tests.tapes import INSTRUMENTS, checksum_of, to_csv, write_csv
from trader_pipelines_tests.venues.made_up import DAY, QUICK, TRADES_OF_DAY
from trader_pipelines_tests.venues.server import Server, serving

BTCUSDT = INSTRUMENTS["BTCUSDT"]
PATH = archive_path("BTCUSDT", DAY)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    write_csv(tmp_path, "BTCUSDT", DAY, to_csv(TRADES_OF_DAY))
    with serving(tmp_path) as running:
        yield running


def refuse(base: str, kind: type[TraderError]) -> TraderError:
    with pytest.raises(kind) as caught:
        BinanceArchive(base, patience=QUICK).fetch_day(BTCUSDT, DAY)
    assert type(caught.value) is kind
    return caught.value


def test_fetch_day_over_http_equals_the_folder(server: Server, tmp_path: Path) -> None:
    over_http = BinanceArchive(f"{server.url}/", patience=QUICK).fetch_day(BTCUSDT, DAY)
    in_folder = BinanceArchive(str(tmp_path)).fetch_day(BTCUSDT, DAY)
    assert content_hash(over_http.trades) == content_hash(in_folder.trades)
    assert (over_http.source, over_http.reconciled) == (in_folder.source, in_folder.reconciled)
    assert server.asked == [f"/{PATH}", f"/{PATH}.CHECKSUM"]


def test_fetch_day_below_a_prefix_asks_below_it(tmp_path: Path) -> None:
    write_csv(tmp_path / "mirror" / "one", "BTCUSDT", DAY, to_csv(TRADES_OF_DAY))
    with serving(tmp_path) as server:
        archive = BinanceArchive(f"{server.url}/mirror/one", patience=QUICK)
        assert archive.fetch_day(BTCUSDT, DAY).trades.height == 4


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_fetch_day_server_error_is_tried_again(server: Server, status: int) -> None:
    server.statuses = [status, status]
    day = BinanceArchive(server.url, patience=QUICK).fetch_day(BTCUSDT, DAY)
    assert day.trades.height == 4
    assert len(server.asked) == 4


def test_fetch_day_server_error_to_the_end_is_unreachable(server: Server) -> None:
    server.statuses = [503] * 9
    error = refuse(server.url, VenueUnreachableError)
    assert error.what == (
        "the archive does not give the file, 3 times: it answers 503 Service Unavailable"
    )
    assert error.where == f"{server.url}/{PATH}"
    assert error.retry is True
    assert len(server.asked) == 3


def test_fetch_day_404_is_missing_data_and_not_tried_again(server: Server) -> None:
    server.statuses = [404]
    error = refuse(server.url, MissingDataError)
    assert "some hours after the day closes" in error.remedy
    assert server.asked.count(f"/{PATH}") == 1


def test_fetch_day_checksum_404_is_missing_data_of_that_file(
    server: Server, tmp_path: Path
) -> None:
    checksum_of(tmp_path / PATH).unlink()
    assert refuse(server.url, MissingDataError).where == f"{server.url}/{PATH}.CHECKSUM"


@pytest.mark.parametrize("status", [301, 401, 403, 451])
def test_fetch_day_refusal_is_told_and_not_tried_again(server: Server, status: int) -> None:
    server.statuses = [status]
    error = refuse(server.url, VenueUnreachableError)
    assert f"it answers {status}" in error.what
    assert error.retry is False
    assert len(server.asked) == 1


def test_fetch_day_body_cut_once_is_fetched_again(server: Server) -> None:
    server.cuts = 1
    assert BinanceArchive(server.url, patience=QUICK).fetch_day(BTCUSDT, DAY).trades.height == 4
    assert server.asked.count(f"/{PATH}") == 2


def test_fetch_day_body_cut_every_time_is_unreachable_and_told(
    server: Server, tmp_path: Path
) -> None:
    server.cuts = 9
    size = (tmp_path / PATH).stat().st_size
    error = refuse(server.url, VenueUnreachableError)
    assert f"received {size // 2} bytes, expected {size}" in error.what


def test_fetch_day_content_that_is_not_the_published_one_is_a_checksum_error(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / PATH).write_bytes((tmp_path / PATH).read_bytes()[:-7])
    assert refuse(server.url, ChecksumError).where == f"{server.url}/{PATH}"


def test_fetch_day_endless_body_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_http, "MAX_ZIP_BYTES", 100)
    assert "more than the 100" in refuse(server.url, DamagedFileError).what


def test_fetch_day_nobody_listening_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{unused.getsockname()[1]}"
        error = refuse(base, VenueUnreachableError)
    assert "Connection refused" in error.what
    assert "give a folder that holds the same files" in error.remedy
    assert error.retry is True


def test_fetch_day_silent_server_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        short = Patience(attempts=2, longest_wait=0.0, timeout=0.1)
        with pytest.raises(VenueUnreachableError, match=r"2 times: timed out"):
            BinanceArchive(base, patience=short).fetch_day(BTCUSDT, DAY)


SECRETS = ("alice", "s3cr3t", "t0k3n", base64.b64encode(b"alice:s3cr3t").decode())


def test_fetch_day_secrets_of_the_address_reach_the_server(server: Server) -> None:
    BinanceArchive(server.with_secrets(), patience=QUICK).fetch_day(BTCUSDT, DAY)
    assert server.asked == [f"/{PATH}?sig=t0k3n", f"/{PATH}.CHECKSUM?sig=t0k3n"]
    assert server.authorizations == [f"Basic {SECRETS[3]}"] * 2


@pytest.mark.parametrize("status", [200, 403, 404, 503])
def test_fetch_day_secrets_of_the_address_are_in_no_log_and_no_error(
    server: Server, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.statuses = [] if status == 200 else [status] * 3
    archive = BinanceArchive(server.with_secrets(), patience=QUICK)
    told = repr(archive)
    try:
        told += archive.fetch_day(BTCUSDT, DAY).source
    except TraderError as error:
        told += str(error) + repr(error) + repr(error.__cause__)
    told += caplog.text
    assert PATH in told
    assert "HTTP Request: GET" in caplog.text
    assert [secret for secret in SECRETS if secret in told] == []
