"""A committed cold day for tests: trades, their certificate, the file and its manifest row."""

import hashlib
import io
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import psycopg
import pyarrow as pa

from trader_pipelines.core.certificates import Certificate, Status, certify
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES, content_hash, utc_day_bounds
from trader_pipelines.stores import datasets, hot, manifest, parquet
from trader_pipelines.stores.cold.backend import Backend
from trader_pipelines.stores.cold.seals import seal
from trader_pipelines.stores.datasets import Key, Lineage
from trader_pipelines.stores.manifest import DatasetEntry

DAYS = (date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3))
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 4, tzinfo=UTC)
BTC = Instrument("binance", "BTCUSDT", Decimal("0.01"), Decimal("0.001"), DAYS[0])
ETH = Instrument("binance", "ETHUSDT", Decimal("0.01"), Decimal("0.001"), DAYS[0])


def trades(day: date, count: int = 1_000, price: int = 4_200_000) -> pl.DataFrame:
    """Evenly spaced trades of a day."""
    start, end = utc_day_bounds(day)
    step = (end - start) // max(count, 1)
    first = day.toordinal() * 1_000_000
    rows = pl.DataFrame({"n": range(count)}, {"n": pl.Int64})
    return rows.select(
        id=first + pl.col("n"),
        ts_event=start + pl.col("n") * step,
        price=price + pl.col("n") % 7,
        size=1 + pl.col("n") % 5,
        side=pl.lit(1),
        fills=pl.lit(1),
    ).cast(TRADES)


def ingest(
    connection: psycopg.Connection, instrument: Instrument, day: date, frame: pl.DataFrame
) -> Certificate:
    """Hot rows and their certificate."""
    certificate = certify(
        frame, venue=instrument.venue, symbol=instrument.symbol, day=day, source="a test",
        synthetic=True, reconciled={},
    )  # fmt: skip
    with connection.transaction():
        hot.write_day(connection, instrument, day, frame)
        manifest.put_certificate(connection, certificate)
    return certificate


def freeze(
    connection: psycopg.Connection,
    root: Backend | Path,
    instrument: Instrument,
    day: date,
    frame: pl.DataFrame,
    **about: str,
) -> DatasetEntry:
    """The cold copy."""
    return datasets.put(
        connection,
        root,
        Key("cold_ticks", instrument.venue, instrument.symbol, day),
        frame,
        Lineage("1", Status.COMPLETE, True, {}),
        content_hash=content_hash(frame),
        about={"price_scale": "2", "size_scale": "3", **about},
    )


def thaw(connection: psycopg.Connection, day: date) -> None:
    """Drop the hot rows of a day."""
    connection.execute("delete from hot_ticks where day = %s", (day,))


def recommit(
    connection: psycopg.Connection, store: Backend, entry: DatasetEntry, content: bytes
) -> DatasetEntry:
    """Put a file of other bytes in the place of a committed one, named as its writer would."""
    try:
        sealed = seal(content)
    except pa.ArrowException:
        sealed = None
    digest = hashlib.sha256(content).hexdigest()
    path = Path(entry.path).with_name(f"{entry.dataset}-{digest[:16]}.parquet").as_posix()
    store.create(path, content)
    changed = replace(entry, path=path, sha256=digest, bytes=len(content), seals=sealed)
    manifest.put_dataset(connection, changed)
    store.remove(entry.path)
    return changed


def first_layout(connection: psycopg.Connection, store: Backend, entry: DatasetEntry) -> str:
    """Rewrite a file as the first version wrote them: nanoseconds, deltas throughout, no seals."""
    import pyarrow.parquet as pq

    frame = parquet.read(store, entry.path, entry.sha256)
    about = {"price_scale": "2", "size_scale": "3", "source": "a tape"}
    table = frame.to_arrow().replace_schema_metadata(about)
    encodings = dict.fromkeys(table.column_names, "DELTA_BINARY_PACKED")
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", use_dictionary=[], column_encoding=encodings)
    older = recommit(connection, store, replace(entry, schema_version=1), sink.getvalue())
    manifest.put_dataset(connection, replace(older, seals=None))
    return older.path
