"""Real tapes as a Binance public-data archive: for tests, and for ``trader demo --archive``.

``python -m trader_pipelines_tests.tapes OUTDIR`` writes them all. The tapes themselves are no part
of the project; TRADER_MARKET_DATA names the folder that they lie in.

Every row is the venue's own aggregate trade, first and last trade ids included. XRPETH has two
whole days; of 2020-11-01 there is an hour or two.
"""

import gzip
import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from trader_pipelines.core.instruments import Instrument

HEADER = (
    "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,"
    "is_buyer_maker,is_best_match"
)


def _instrument(symbol: str, tick: str, lot: str, since: date) -> Instrument:
    return Instrument("binance", symbol, Decimal(tick), Decimal(lot), since)


INSTRUMENTS = {
    instrument.symbol: instrument
    for instrument in (
        _instrument("BTCUSDT", "0.01", "0.000001", date(2017, 8, 17)),
        _instrument("ETHUSDT", "0.01", "0.00001", date(2017, 8, 17)),
        _instrument("ETHBTC", "0.000001", "0.001", date(2017, 8, 17)),
        _instrument("XRPETH", "0.00000001", "1", date(2018, 1, 1)),
    )
}

#: Days that a tape holds from midnight to midnight.
WHOLE_DAYS = {"XRPETH": (date(2019, 10, 11), date(2019, 10, 12))}
#: Days of which a tape holds some hours, without a gap in them.
PARTIAL_DAYS = dict.fromkeys(("BTCUSDT", "ETHUSDT", "ETHBTC"), (date(2020, 11, 1),))
DAYS: Mapping[str, tuple[date, ...]] = {**WHOLE_DAYS, **PARTIAL_DAYS}


@dataclass(frozen=True, slots=True)
class AggTrade:
    """One aggregate trade as Binance prints it; price and size are its decimal strings."""

    id: int
    price: str
    size: str
    first: int
    last: int
    ms: int
    buyer_maker: bool
    best_match: bool = True


def market_data() -> Path | None:
    """The folder of the tapes, None when there is none (tests: the fixture `market_data`)."""
    told = os.environ.get("TRADER_MARKET_DATA", "../shared/market-data")
    folder = (Path(__file__).resolve().parents[1] / told).resolve()
    return folder if (folder / "trades").is_dir() else None


@cache
def tape(folder: Path, symbol: str, day: date) -> tuple[AggTrade, ...]:
    """The real trades of a symbol and day, in order of id."""
    raw = {frame["a"]: frame for frame in _frames(folder / "trades", symbol)}
    trades = (
        AggTrade(f["a"], f["p"], f["q"], f["f"], f["l"], f["T"], f["m"], f["M"])
        for _, f in sorted(raw.items())
    )
    return tuple(t for t in trades if datetime.fromtimestamp(t.ms / 1_000, UTC).date() == day)


def _frames(trades: Path, symbol: str) -> list[dict[str, Any]]:
    if symbol == "XRPETH":
        # The same 12,477 trades as XRP_ETH-trades, with the venue's own record of each.
        with gzip.open(trades / "freqtrade_testdata" / "XRP_OLD-trades.json.gz") as file:
            return [trade["info"] for trade in json.load(file)]
    frames: list[dict[str, Any]] = []
    for path in sorted(trades.glob(f"binance_spot_aggtrade_frames_20201101/{symbol}_*.json.gz")):
        with gzip.open(path) as file:
            frames += json.load(file)
    return frames


def to_csv(
    trades: Sequence[AggTrade],
    *,
    header: bool = False,
    microseconds: bool = False,
    drop_ids: Collection[int] = (),
) -> bytes:
    """The text of a day's file: no header and milliseconds before 2025, microseconds since."""
    zeros = "000" if microseconds else ""
    lines = [
        f"{t.id},{t.price},{t.size},{t.first},{t.last},{t.ms}{zeros},{t.buyer_maker},{t.best_match}"
        for t in trades
        if t.id not in drop_ids
    ]
    return "".join(f"{line}\n" for line in ([HEADER] if header else []) + lines).encode()


def write_csv(base: Path, symbol: str, day: date, csv: bytes) -> Path:
    """Zip a day's text into the archive's layout, with its checksum; equal text, equal bytes."""
    name = f"{symbol}-aggTrades-{day.isoformat()}"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{name}.csv"), csv, zipfile.ZIP_DEFLATED)
    return write_zip(base, symbol, day, buffer.getvalue())


def write_zip(base: Path, symbol: str, day: date, content: bytes) -> Path:
    """Put any bytes in the place of a day's zip, with the checksum of these bytes."""
    folder = base / "data" / "spot" / "daily" / "aggTrades" / symbol
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{symbol}-aggTrades-{day.isoformat()}.zip"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    checksum_of(path).write_text(f"{digest}  {path.name}\n")
    return path


def checksum_of(path: Path) -> Path:
    """The ``.CHECKSUM`` beside a zip."""
    return path.with_name(f"{path.name}.CHECKSUM")


def write_archive(
    base: Path,
    folder: Path,
    days: Mapping[str, tuple[date, ...]] = DAYS,
    *,
    header: bool = False,
    microseconds: bool = False,
    drop_ids: Collection[int] = (),
) -> list[Path]:
    """Write real days as an archive below `base`; `folder` is that of the tapes."""
    return [
        write_csv(
            base,
            symbol,
            day,
            to_csv(
                tape(folder, symbol, day),
                header=header,
                microseconds=microseconds,
                drop_ids=drop_ids,
            ),
        )
        for symbol, symbol_days in days.items()
        for day in symbol_days
    ]


def main(arguments: Sequence[str]) -> int:
    """Write the archive of all tapes to the folder that is named."""
    folder = market_data()
    if len(arguments) != 1 or folder is None:
        print(
            "usage: python -m trader_pipelines_tests.tapes OUTDIR\n"
            "TRADER_MARKET_DATA must name the folder of the real tapes",
            file=sys.stderr,
        )
        return 2
    for path in write_archive(Path(arguments[0]), folder):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
