"""The cold store's bytes and speed against ArcticDB, gzipped CSV and polars' default Parquet."""

import gzip
import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from trader_pipelines.core.certificates import Status
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import NS_PER_DAY, TRADES
from trader_pipelines.stores import database, embedded, manifest, parquet
from trader_pipelines.stores.cold import encoding
from trader_pipelines.stores.cold.seals import seal
from trader_pipelines.stores.cold.ticks import plan, ticks
from trader_pipelines.venues.synthetic import Synthetic
from trader_pipelines_tests.tapes import market_data

PAIRS = 5
DAY = date(2024, 1, 2)
ARCTIC = "arcticdb==6.28.2"
_PEERS = Path(".trader/bench-peers/arcticdb")
_ABOUT = {"price_scale": "2", "size_scale": "6"}


def run() -> dict[str, float]:
    """Measure; each ratio is the median of interleaved pairs.

    ArcticDB is given what its users store: floats of price and size, id, side, and the stamp as
    index; its bytes are its own count of compressed ones. `fills` is only in ours.

    Returns
    -------
    dict
        The figures of the issue by name. Speeds are of 10 million synthetic trades, our write
        durable (fsync) and our read checked by hash; bytes are of the real tapes, a file a day.
    """
    with tempfile.TemporaryDirectory(prefix="trader-bench-") as told, _arctic() as ask:
        folder = Path(told)
        figures = _bytes(folder, ask)
        figures |= _speed(folder, ask)
        figures |= _hour(folder)
    return figures | _plan_and_cost()


def spy(tapes: Path) -> list[tuple[pl.DataFrame, int, int]]:
    """SPY's days with their scales; ids count the day's prints."""
    rows = pl.read_parquet(tapes / "trades/lean_us_equity_tick/SPY_trades_20131007_09.parquet")
    days = rows.sort("trade_date", "seq").partition_by("trade_date", maintain_order=True)
    return [(_trades(d, "seq", pl.col("size"), pl.lit(0), scales=(4, 0)), 4, 0) for d in days]


def btc(tapes: Path) -> list[tuple[pl.DataFrame, int, int]]:
    """The BTC perpetual's day with its scales."""
    rows = pl.read_parquet(tapes / "trades/aster_20250924/trades.parquet")
    rows = rows.filter(symbol="BTCUSDT").sort("id")
    side = pl.when(pl.col("side") == "buy").then(1).otherwise(-1)
    return [(_trades(rows, "id", pl.col("quantity"), side, scales=(1, 3)), 1, 3)]


def _trades(
    rows: pl.DataFrame, ids: str, size: pl.Expr, side: pl.Expr, *, scales: tuple[int, int]
) -> pl.DataFrame:
    return rows.select(
        id=pl.col(ids),
        ts_event=pl.col("ts"),
        price=(pl.col("price") * 10 ** scales[0]).round(),
        size=(size * 10 ** scales[1]).round(),
        side=side,
        fills=pl.lit(1),
    ).cast(TRADES)


def _floats(trades: pl.DataFrame, price_scale: int, size_scale: int) -> pl.DataFrame:
    return trades.select(
        "ts_event",
        "id",
        pl.col("price") / 10**price_scale,
        pl.col("size") / 10**size_scale if size_scale else pl.col("size"),
        "side",
    )


Ask = Callable[..., dict[str, float]]


def _bytes(folder: Path, ask: Ask) -> dict[str, float]:
    tapes = market_data()
    if tapes is None:
        print("no real tapes (set TRADER_MARKET_DATA): no figures of bytes", file=sys.stderr)
        return {}
    figures = {}
    for name, days in (("spy", spy(tapes)), ("btc", btc(tapes))):
        ours = arctic = csv = count = 0.0
        for trades, *scales in days:
            written = parquet.write(folder / "cold", "cold_ticks", name, name, DAY, trades, _ABOUT)
            assert parquet.read(folder / "cold", written.path, written.sha256).equals(trades)
            floats = _floats(trades, *scales)
            floats.write_parquet(folder / "peer.parquet")
            ask(do="load", path=str(folder / "peer.parquet"))
            ask(do="write")
            ours += written.bytes
            arctic += ask(do="bytes")["bytes"]
            csv += len(gzip.compress(floats.write_csv().encode(), 6))
            count += trades.height
        figures[f"cold_bytes_vs_arcticdb_{name}"] = ours / arctic
        figures[f"cold_bytes_vs_csvgz_{name}"] = ours / csv
        figures[f"cold_bytes_a_trade_{name}"] = ours / count
    return figures


def _synthetic(trades: int) -> pl.DataFrame:
    source = Synthetic(seed=7, effect=0.3, trades_per_day=trades * 5 // 4)
    made = source.fetch_day(_instrument("BTCUSDT"), DAY).trades
    assert made.height >= trades
    return made.head(trades)


def _instrument(symbol: str) -> Instrument:
    return Instrument("synthetic", symbol, Decimal("0.01"), Decimal("0.000001"), DAY)


def _speed(folder: Path, ask: Ask) -> dict[str, float]:
    trades = _synthetic(10_000_000)
    floats = _floats(trades, 2, 6)
    peer = folder / "peer.parquet"
    floats.write_parquet(peer)
    ask(do="load", path=str(peer))
    place = (folder / "cold", "cold_ticks", "synthetic", "BTCUSDT", DAY)
    written = parquet.write(*place, trades, _ABOUT)
    writes, reads, plain = [], [], []
    for _ in range(PAIRS):
        (folder / "cold" / written.path).unlink()
        ours = _seconds(lambda: parquet.write(*place, trades, _ABOUT))
        writes.append(ask(do="write")["seconds"] / ours)
        ours = _seconds(lambda: parquet.read(folder / "cold", written.path, written.sha256))
        reads.append(ask(do="read")["seconds"] / ours)
        plain.append(_seconds(lambda: pl.read_parquet(peer)) / ours)
    return {
        "cold_write_vs_arcticdb": statistics.median(writes),
        "cold_read_vs_arcticdb": statistics.median(reads),
        "cold_read_vs_polars": statistics.median(plain),
    }


def _hour(folder: Path) -> dict[str, float]:
    """One hour's prices out of a 4-million-trade day, the file in the page cache."""
    trades = _synthetic(4_000_000)
    written = parquet.write(folder / "hour", "cold_ticks", "s", "S", DAY, trades, _ABOUT)
    start = pl.lit(datetime(2024, 1, 2, 12, tzinfo=UTC))

    def hour() -> pl.DataFrame:
        scan = pl.scan_parquet(folder / "hour" / written.path, hive_partitioning=False)
        unit: Any = scan.collect_schema()["ts_event"]
        bounds = [(start + pl.duration(hours=n)).cast(unit) for n in (0, 1)]
        stamps = pl.col("ts_event")
        return scan.filter(stamps >= bounds[0], stamps < bounds[1]).select("price").collect()

    assert hour().height > 100_000
    return {"cold_hour_ms": 1_000 * statistics.median(_seconds(hour) for _ in range(20))}


def _plan_and_cost() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="trader-bench-") as told:
        home = Path(told)
        home.chmod(0o755)
        try:
            url = embedded.start(home).url
            database.prepare(url)
            with database.connect(url) as connection:
                connection.autocommit = True
                return _planning(connection) | _cost(connection, home / "cold")
        finally:
            embedded.remove(home)


def _entry(
    symbol: str, day: date, written: parquet.WrittenFile, seals: str | None = None
) -> manifest.DatasetEntry:
    return manifest.DatasetEntry(
        "cold_ticks", "synthetic", symbol, day, written.path, written.rows, written.bytes,
        written.sha256, "0" * 64, 1, "1", Status.COMPLETE, synthetic=True, seals=seals,
    )  # fmt: skip


def _planning(connection: Any) -> dict[str, float]:
    symbols = [f"S{n:03d}" for n in range(100)]
    days = [DAY + timedelta(n) for n in range(100)]
    file = parquet.WrittenFile("cold_ticks/x.parquet", 1, 1, "0" * 64)
    sealed = seal(encoding.encode(_synthetic(1_000_000), _ABOUT))
    entries = [_entry(s, d, file, sealed) for s in symbols for d in days]
    with connection.transaction():
        manifest.put_datasets(connection, entries)
    connection.execute("analyze datasets")

    def planning() -> None:
        assert len(plan(connection, "synthetic", symbols, days[0], days[-1])) == 10_000

    taken = statistics.median(_seconds(planning) for _ in range(10))
    connection.execute("delete from datasets")
    return {"plan_10k_files_s": taken}


def _cost(connection: Any, root: Path) -> dict[str, float]:
    """Exponent of the time to write, commit and read 10, 100 and 1,000 symbol-days."""
    trades = _synthetic(10_000)
    taken = []
    for count in (10, 100, 1_000):
        symbols = [f"C{n:03d}" for n in range(10)]
        days = [DAY + timedelta(n) for n in range(count // 10)]

        def job(symbols: list[str] = symbols, days: list[date] = days) -> None:
            for day in days:
                for symbol in symbols:
                    later = pl.col("ts_event").to_physical() + (day - DAY).days * NS_PER_DAY
                    moved = trades.with_columns(ts_event=later).cast(TRADES)
                    file = parquet.write(
                        root, "cold_ticks", "synthetic", symbol, day, moved, _ABOUT
                    )
                    with connection.transaction():
                        manifest.put_dataset(connection, _entry(symbol, day, file))
            start = datetime(2024, 1, 2, tzinfo=UTC)
            wanted = [_instrument(symbol) for symbol in symbols]
            found = ticks(connection, root, wanted, start, start + timedelta(len(days)))
            assert found.height == trades.height * len(days) * len(symbols)

        taken.append(_seconds(job))
    steps = [math.log10(b / a) for a, b in itertools.pairwise(taken)]
    return {"cost_exponent": statistics.mean(steps)}


def _seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


@contextmanager
def _arctic() -> Iterator[Ask]:
    """ArcticDB in an environment of its own, made on the first run: it cannot live with pandas 3."""
    python = _PEERS / "bin" / "python"
    if not (_PEERS / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(_PEERS)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", ARCTIC, "pyarrow==26.0.1"], check=True
        )
        (_PEERS / "ready").touch()
    script = str(Path(__file__).with_name("_arctic_worker.py"))
    with subprocess.Popen(
        [str(python), "-W", "ignore", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        inbox, outbox = process.stdin, process.stdout

        def ask(**told: str) -> dict[str, float]:
            inbox.write(json.dumps(told) + "\n")
            inbox.flush()
            answer: dict[str, float] = json.loads(outbox.readline())
            return answer

        try:
            yield ask
        finally:
            inbox.close()
