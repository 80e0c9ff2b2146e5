"""Real trades through the archive: whole, exact, and what is missing is named."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from trader_pipelines.core.certificates import Certificate, Status, certify
from trader_pipelines.core.trades import content_hash
from trader_pipelines.venues.archive import BinanceArchive
from trader_pipelines_tests import tapes
from trader_pipelines_tests.tapes import INSTRUMENTS, tape, write_archive

OCT_11, OCT_12 = date(2019, 10, 11), date(2019, 10, 12)
NOV_1 = date(2020, 11, 1)
COUNTS = {
    ("XRPETH", OCT_11): 5_929,
    ("XRPETH", OCT_12): 4_134,
    ("BTCUSDT", NOV_1): 18_054,
    ("ETHUSDT", NOV_1): 4_700,
    ("ETHBTC", NOV_1): 1_736,
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, market_data: Path) -> BinanceArchive:
    """All real days as an archive."""
    base = tmp_path_factory.mktemp("archive")
    write_archive(base, market_data)
    return BinanceArchive(str(base))


def certificate(archive: BinanceArchive, symbol: str, day: date) -> Certificate:
    fetched = archive.fetch_day(INSTRUMENTS[symbol], day)
    return certify(
        fetched.trades,
        venue=archive.name,
        symbol=symbol,
        day=day,
        source=fetched.source,
        synthetic=archive.synthetic,
        reconciled=fetched.reconciled,
        sequential=archive.sequential_ids,
    )


@pytest.mark.parametrize(("symbol", "day"), COUNTS, ids=str)
def test_certificate_of_a_real_day_is_complete(
    archive: BinanceArchive, market_data: Path, symbol: str, day: date
) -> None:
    issued = certificate(archive, symbol, day)
    raw = tape(market_data, symbol, day)
    assert issued.status is Status.COMPLETE
    assert issued.missing == ()
    assert issued.synthetic is False
    assert (issued.count, issued.reconciled["archive_rows"]) == (COUNTS[symbol, day],) * 2
    assert (issued.first_id, issued.last_id) == (raw[0].id, raw[-1].id)
    # The single trades have ids of their own, without a gap either.
    assert issued.fills == raw[-1].last - raw[0].first + 1


def test_certificates_of_two_real_days_meet_at_midnight(archive: BinanceArchive) -> None:
    first, second = (certificate(archive, "XRPETH", day) for day in (OCT_11, OCT_12))
    assert first.last_id is not None
    assert second.first_id == first.last_id + 1


@pytest.mark.parametrize("symbol", ["XRPETH", "BTCUSDT"])
def test_certificate_one_trade_removed_names_exactly_that_id(
    tmp_path: Path, market_data: Path, symbol: str
) -> None:
    day = tapes.DAYS[symbol][0]
    raw = tape(market_data, symbol, day)
    lost = raw[len(raw) // 2].id
    write_archive(tmp_path, market_data, {symbol: (day,)}, drop_ids={lost})
    issued = certificate(BinanceArchive(str(tmp_path)), symbol, day)
    assert issued.missing == ((lost, lost),)
    assert issued.status is Status.INCOMPLETE
    assert issued.count == len(raw) - 1


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("microseconds", [False, True])
def test_fetch_day_every_form_of_a_real_file_holds_the_same_trades(
    archive: BinanceArchive, market_data: Path, tmp_path: Path, header: bool, microseconds: bool
) -> None:
    write_archive(
        tmp_path,
        market_data,
        {"ETHBTC": (NOV_1,)},
        header=header,
        microseconds=microseconds,
    )
    other = BinanceArchive(str(tmp_path)).fetch_day(INSTRUMENTS["ETHBTC"], NOV_1)
    plain = archive.fetch_day(INSTRUMENTS["ETHBTC"], NOV_1)
    assert content_hash(other.trades) == content_hash(plain.trades)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_minutes_of_real_trades_equal_the_venues_own_bars(
    archive: BinanceArchive, market_data: Path, symbol: str
) -> None:
    instrument = INSTRUMENTS[symbol]
    trades = archive.fetch_day(instrument, NOV_1).trades
    ours = (
        trades.group_by(pl.col("ts_event").dt.truncate("1m").alias("minute"), maintain_order=True)
        .agg(
            open=pl.col("price").first(),
            high=pl.col("price").max(),
            low=pl.col("price").min(),
            close=pl.col("price").last(),
            volume=pl.col("size").sum(),
        )
        .slice(1, 58)  # the first and the last minute may be cut by the tape
        .with_columns(pl.col("minute").dt.epoch("s"))
    )
    path = market_data / "bars" / "binance_spot_1m_tick_days" / "bars.parquet"
    scale = {"volume": instrument.size_scale}
    theirs = (
        pl.read_parquet(path)
        .filter(pl.col("symbol") == symbol)
        .select(
            pl.col("ts").dt.epoch("s").alias("minute"),
            *(
                (pl.col(name) * 10 ** scale.get(name, instrument.price_scale))
                .round()
                .cast(pl.Int64)
                for name in ("open", "high", "low", "close", "volume")
            ),
        )
        .filter(pl.col("minute").is_in(ours["minute"].implode()))
    )
    assert ours.height == 58
    assert ours.equals(theirs)


def test_tapes_command_writes_an_archive_that_the_venue_reads(
    tmp_path: Path, market_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tapes.main([str(tmp_path)]) == 0
    written = capsys.readouterr().out.splitlines()
    assert len(written) == len(COUNTS)
    assert all(Path(path).is_file() for path in written)
    assert certificate(BinanceArchive(str(tmp_path)), "ETHBTC", NOV_1).count == 1_736


def test_tapes_command_without_a_folder_says_how_to_use_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tapes.main([]) == 2
    assert "usage: python -m trader_pipelines_tests.tapes OUTDIR" in capsys.readouterr().err


def test_tapes_written_twice_are_byte_equal(tmp_path: Path, market_data: Path) -> None:
    day = {"ETHBTC": (NOV_1,)}
    (one,) = write_archive(tmp_path / "a", market_data, day)
    (two,) = write_archive(tmp_path / "b", market_data, day)
    assert one.read_bytes() == two.read_bytes()
