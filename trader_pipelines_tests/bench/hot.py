"""The hot store's speed: written whole, written live, and read, against plain COPY and ADBC."""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import psycopg

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import NS_PER_DAY, TRADES
from trader_pipelines.stores import database, embedded, hot
from trader_pipelines.stores.copying import CHUNK, COLUMNS, HEADER, TRAILER, encode
from trader_pipelines.stores.live import LiveWriter
from trader_pipelines.venues.synthetic import Synthetic
from trader_pipelines_tests.bench.cold import spy
from trader_pipelines_tests.tapes import market_data

TRADES_A_DAY = 2_400_000  # of which the generator makes 2.1 million
PAIRS = 5
BATCH, SYMBOLS = 10_000, 5  # rows of a live batch, and symbols in it
DAY = date(2024, 1, 2)
ADBC = ("adbc-driver-postgresql==1.13.0", "adbc-driver-manager==1.13.0")
SAME = ("polars==2.1.0", "pyarrow==26.0.1")
_PEERS = Path(".trader/bench-peers/adbc")
_EPOCH_DAY = (DAY - date(1970, 1, 1)).days


def run() -> dict[str, float]:
    """Measure against peers in the same server; each ratio is the median of alternating pairs.

    A plain COPY is of the same rows, in the same binary form, made before the clock runs, into a
    table of the same columns without any key; ours includes making that form. Every write ends
    with its commit, fsync on. ADBC gives the same rows as a frame of the same schema.

    Returns
    -------
    dict
        ``hot_backfill_vs_copy``, ``hot_live_vs_copy``, ``hot_read_vs_adbc`` (rates, more is
        better) of synthetic trades, with ``_spy`` of the real tape's largest day; for the
        backfill, ``_among_symbols`` is a symbol written beside others of the day, and
        ``hot_backfill_rows_per_s`` what that comes to here.
    """
    with server() as url, database.connect(url) as connection, _adbc() as ask:
        connection.autocommit = True
        source = Synthetic(seed=7, effect=0.3, trades_per_day=TRADES_A_DAY)
        made = source.fetch_day(instrument(), DAY).trades
        figures = _backfill(connection, made) | _live(url, connection, made)
        figures |= _read(url, connection, made, ask)
        if (tapes := market_data()) is None:
            print("no real tapes (set TRADER_MARKET_DATA): synthetic only", file=sys.stderr)
            return figures
        tape = max((trades for trades, *_ in spy(tapes)), key=len)
        # Its day is called another: what is measured does not look at the stamps.
        moved = pl.col("ts_event").to_physical() % NS_PER_DAY + _EPOCH_DAY * NS_PER_DAY
        tape = tape.with_columns(ts_event=moved).cast(TRADES)
        real = _backfill(connection, tape) | _live(url, connection, tape)
        real |= _read(url, connection, tape, ask)
    names = ("hot_backfill_vs_copy", "hot_live_vs_copy", "hot_read_vs_adbc")
    return figures | {f"{name}_spy": real[name] for name in names}


def instrument(symbol: str = "BTCUSDT") -> Instrument:
    return Instrument("synthetic", symbol, Decimal("0.01"), Decimal("0.000001"), DAY)


@contextmanager
def server() -> Iterator[str]:
    """A new embedded server with an empty store; removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="trader-bench-"))
    home.chmod(0o755)
    try:
        url = embedded.start(home).url
        database.prepare(url)
        yield url
    finally:
        embedded.remove(home)
        shutil.rmtree(home, ignore_errors=True)


def plain_copy(connection: psycopg.Connection, trades: pl.DataFrame) -> Callable[[], float]:
    """What takes the time of COPY BINARY of the rows into a new table without a key."""
    parts = [encode(chunk, _EPOCH_DAY, 1).tobytes() for chunk in trades.iter_slices(CHUNK)]

    def copy() -> None:
        with (
            connection.transaction(),
            connection.cursor() as cursor,
            cursor.copy(f"copy plain ({COLUMNS}) from stdin (format binary)".encode()) as into,
        ):
            into.write(HEADER)
            for part in parts:
                into.write(part)
            into.write(TRAILER)

    def timed() -> float:
        connection.execute("drop table if exists plain")
        # Its own statement: what is made and filled in one transaction may skip the log.
        connection.execute("create table plain (like hot_ticks)")
        return seconds(copy)

    return timed


def seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def empty(connection: psycopg.Connection) -> None:
    connection.execute(f"drop table if exists hot_ticks_{DAY:%Y%m%d}".encode())
    connection.execute("checkpoint")


def _backfill(connection: psycopg.Connection, trades: pl.DataFrame) -> dict[str, float]:
    peer = plain_copy(connection, trades)

    def write(symbol: str) -> float:
        def job() -> None:
            with connection.transaction():
                hot.write_day(connection, instrument(symbol), DAY, trades)

        return seconds(job)

    first, among, rates = [], [], []
    for pair in range(PAIRS + 1):
        empty(connection)
        plain = peer()
        first.append(plain / write("BTCUSDT"))
        plain = peer()
        taken = write(f"S{pair}")
        among.append(plain / taken)
        rates.append(trades.height / taken)
    return {
        "hot_backfill_vs_copy": statistics.median(first[1:]),
        "hot_backfill_vs_copy_among_symbols": statistics.median(among[1:]),
        "hot_backfill_rows_per_s": statistics.median(rates[1:]),
    }


def _live(url: str, connection: psycopg.Connection, trades: pl.DataFrame) -> dict[str, float]:
    symbols = [instrument(f"L{number}") for number in range(SYMBOLS)]
    share = BATCH // SYMBOLS
    # The same prints under each symbol: every symbol counts its own ids.
    batches = [dict.fromkeys(symbols, part) for part in trades.iter_slices(share)]
    batches = batches[: trades.height // BATCH]
    count = sum(part.height for batch in batches for part in batch.values())
    peer = plain_copy(connection, trades.head(count))
    writer = LiveWriter(url)
    ratios = []
    try:
        for _ in range(PAIRS + 1):
            empty(connection)
            plain = peer()
            new: list[int] = []
            taken = seconds(lambda new=new: new.extend(writer.write(each) for each in batches))  # type: ignore[misc]
            assert sum(new) == count
            ratios.append(plain / taken)
    finally:
        writer.close()
    return {"hot_live_vs_copy": statistics.median(ratios[1:])}


Ask = Callable[..., dict[str, float]]


def _read(
    url: str, connection: psycopg.Connection, trades: pl.DataFrame, ask: Ask
) -> dict[str, float]:
    empty(connection)
    with connection.transaction():
        hot.write_day(connection, instrument(), DAY, trades)
    number = hot.registered(connection, instrument())
    found: list[pl.DataFrame] = []
    ratios = []
    for _ in range(PAIRS + 1):
        theirs = ask(url=url, day=str(DAY), number=str(number))
        found.clear()
        ours = seconds(lambda: found.append(hot.read_day(connection, instrument(), DAY)))
        assert theirs["rows"] == found[0].height == trades.height
        assert theirs["hash"] == float(found[0].hash_rows(1).sum() % 2**50)
        ratios.append(theirs["seconds"] / ours)
    assert found[0].equals(trades)
    return {"hot_read_vs_adbc": statistics.median(ratios[1:])}


@contextmanager
def _adbc() -> Iterator[Ask]:
    """ADBC in an environment of its own, made on the first run: it is no part of the product."""
    python = _PEERS / "bin" / "python"
    if not (_PEERS / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(_PEERS)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *ADBC, *SAME], check=True)
        (_PEERS / "ready").touch()
    script = str(Path(__file__).with_name("_adbc_worker.py"))
    with subprocess.Popen(
        [str(python), script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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
