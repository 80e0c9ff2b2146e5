"""A short life of both tiers: days written, restated, compacted, migrated, and let go of by hot."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg

from trader_pipelines.core.certificates import Certificate, certify
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.platform import Platform
from trader_pipelines.steps import compact, retain, ticks
from trader_pipelines.steps.migrate_cold import migrate_cold
from trader_pipelines.stores import database, datasets, hot, manifest, parquet
from trader_pipelines.stores.cold.ticks import ticks as read_ticks
from trader_pipelines_tests.end_to_end import killing, worlds

DAYS = [worlds.MONDAY + timedelta(days=n) for n in range(3)]
SYMBOLS = ("AAA", "BBB")
#: Of which hot lets go; the last day stays.
GONE = DAYS[:2]
LAYOUT = datasets.SCHEMA_VERSION
#: Late enough for what was superseded a moment ago to be forgotten.
NOW = datetime.now(UTC) + timedelta(days=30)


def platform(home: Path, url: str) -> Platform:
    """Limits by which hot lets go of the first days, and cold of what is superseded."""
    age = (NOW.date() - DAYS[-1]).days
    return worlds.platform(home, url, hot_days=age, cold_history_days=1)


def live(home: str, url: str, fatal: int | None = None, count: bool = False) -> list[str]:
    """Go through it all; the points passed."""
    parts = platform(Path(home), url)
    counter = killing.Counter(fatal, Path(home, "last_words"))
    if count or fatal is not None:
        killing.install(counter)
        for name in ("drop_day", "drop_partition"):
            counter.wrap(hot, name, f"hot.{name}")
        counter.wrap(parquet, "keep", "parquet.keep")
    with parts.connect() as connection:
        counter.stage = "write"
        write(parts, connection)
        counter.stage = "compaction"
        # As a version of the code before this one did it.
        datasets.SCHEMA_VERSION = LAYOUT - 1
        freeze(parts, connection)
        counter.stage = "restatement"
        restate(parts, connection)
        counter.stage = "migration"
        datasets.SCHEMA_VERSION = LAYOUT
        migrate_cold(connection, parts)
        counter.stage = "retention"
        retain.retain(connection, parts, now=NOW)
    return counter.passed


def instruments(parts: Platform) -> list[Instrument]:
    """Both of them."""
    venue = parts.universe.venue("synthetic")
    return [venue.instrument(symbol) for symbol in SYMBOLS]


def write(parts: Platform, connection: psycopg.Connection) -> None:
    """Ingest every day of both symbols."""
    source = parts.venue(parts.universe.venue("synthetic"))
    for day in DAYS:
        for instrument in instruments(parts):
            ticks.ingest(connection, parts, source, instrument, day)


def freeze(parts: Platform, connection: psycopg.Connection) -> None:
    """Compact whatever is certified."""
    for certificate in manifest.get_certificates(connection, "synthetic"):
        instrument = parts.universe.venue("synthetic").instrument(certificate.symbol)
        compact.freeze(connection, parts, instrument, certificate)


def restate(parts: Platform, connection: psycopg.Connection) -> None:
    """Put right the first price of the first symbol's first and last day, and compact them."""
    instrument = instruments(parts)[0]
    for day in (DAYS[0], DAYS[-1]):
        put_right(parts, connection, instrument, day)


def put_right(
    parts: Platform, connection: psycopg.Connection, instrument: Instrument, day: date
) -> None:
    """Correct the first price of a day, certify it anew and compact it."""
    trades = corrected(compact.stored_trades(connection, parts, instrument, day))
    certificate = put(connection, instrument, day, trades)
    compact.freeze(connection, parts, instrument, certificate)


def put(
    connection: psycopg.Connection, instrument: Instrument, day: date, trades: pl.DataFrame
) -> Certificate:
    """Write these trades into hot and certify them."""
    certificate = certify(
        trades,
        venue=instrument.venue,
        symbol=instrument.symbol,
        day=day,
        source="a correction",
        synthetic=True,
        reconciled={},
    )
    with connection.transaction():
        hot.hold_day(connection, instrument, day)
        hot.write_day(connection, instrument, day, trades)
        manifest.put_certificate(connection, certificate)
    return certificate


def corrected(trades: pl.DataFrame) -> pl.DataFrame:
    """The same trades with another first price; once corrected it stays as it is."""
    first = pl.int_range(pl.len()) == 0
    return trades.with_columns(price=pl.when(first).then(1).otherwise(pl.col("price")))


def read(url: str, parts: Platform, symbol: str, day: date) -> pl.DataFrame:
    """A symbol's day as a reader gets it, over a connection of his own."""
    instrument = parts.universe.venue("synthetic").instrument(symbol)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    with database.connect(url) as connection:
        connection.autocommit = True
        end = start + timedelta(days=1)
        return read_ticks(connection, parts.cold, [instrument], start, end).drop("symbol")
