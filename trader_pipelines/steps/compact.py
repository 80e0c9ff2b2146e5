"""Compaction: a certified day copied from hot to cold in flat memory, proven before it counts."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date

import polars as pl
import psycopg

from trader_pipelines.core.certificates import Certificate
from trader_pipelines.core.errors import TraderError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import content_hash
from trader_pipelines.platform import Platform
from trader_pipelines.stores import datasets, hot, manifest, parquet
from trader_pipelines.stores.cold import streaming
from trader_pipelines.stores.cold.ticks import COLD
from trader_pipelines.stores.datasets import Key, Lineage
from trader_pipelines.stores.manifest import DatasetEntry

COLD_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Content:
    """Trades by their number and content hash."""

    count: int
    hashed: str


@dataclass(frozen=True, slots=True)
class Compared:
    """A symbol's day in both tiers, read again just now, and what it was certified to be."""

    hot: Content
    cold: Content
    certified: Content | None

    @property
    def dropped(self) -> bool:
        """Whether hot has let go of the day: it has no trade of those that are certified."""
        return not self.hot.count and self.certified is not None and self.certified.count > 0

    @property
    def equal(self) -> bool:
        """Whether cold holds what hot does, or what hot did hold."""
        return self.cold == (self.certified if self.dropped else self.hot)


def freeze(
    connection: psycopg.Connection,
    platform: Platform,
    instrument: Instrument,
    certificate: Certificate,
) -> DatasetEntry:
    """Copy a certified day from hot to cold, proven against the certificate.

    A day that hot has let go of is written anew from its cold copy. Memory does not grow with the
    number of trades, but for the compressed file's bytes.

    Raises
    ------
    TraderError, ChecksumError
        When what is stored, or what is read back, is not what was certified; nothing is committed.
    DiskFullError
        With the old copy still in place.
    """
    key = Key(COLD, instrument.venue, instrument.symbol, certificate.day)
    proven = (certificate.count, certificate.content_hash)
    lineage = Lineage(
        COLD_VERSION,
        certificate.status,
        certificate.synthetic,
        {"hot_ticks": certificate.content_hash},
    )
    about = {
        "price_scale": str(instrument.price_scale),
        "size_scale": str(instrument.size_scale),
        "source": certificate.source,
    }
    with _spooled(platform, _chunks(connection, platform, instrument, certificate.day)) as day:
        if (day.rows, day.content_hash()) != proven:
            raise TraderError(
                f"the hot table holds {day.rows} trades, not the {certificate.count} certified",
                where=f"hot_ticks, {instrument.id} on {certificate.day}",
                remedy="materialize hot_ticks of that day again; nothing was written to cold",
            )
        content = day.encode(datasets.words(key, lineage, about))

    def current() -> None:
        # Copied after those that were certified later, these trades would take their place.
        now = manifest.get_certificate(connection, key.venue, key.symbol, key.day)
        if now is None or now.content_hash != certificate.content_hash:
            raise TraderError(
                f"the {certificate.count} trades are not the certified ones any more",
                where=f"hot_ticks, {instrument.id} on {certificate.day}",
                remedy="run it again; nothing was written to cold",
                retry=True,
            )

    def proves(read_back: bytes) -> bool:
        return streaming.proof(read_back, str(key)) == proven

    return datasets.put_content(
        connection,
        platform.cold,
        key,
        content,
        certificate.count,
        lineage,
        proves=proves,
        content_hash=certificate.content_hash,
        first=current,
    )


def stored_trades(
    connection: psycopg.Connection, platform: Platform, instrument: Instrument, day: date
) -> pl.DataFrame:
    """A symbol's day as it stands, whichever tier has it.

    Returns
    -------
    DataFrame
        Of schema `TRADES`, ascending by id. Hot's rows; with those of the cold copy of the
        certified day where hot has let go of it, and has perhaps got late rows since.

    Raises
    ------
    MissingDataError, DamagedFileError
        When only cold has the day, and its file is not as it was written.
    """
    warm = hot.read_day(connection, instrument, day)
    certificate = manifest.get_certificate(connection, instrument.venue, instrument.symbol, day)
    entry = _copy(connection, instrument, day)
    if certificate is None or entry is None or entry.content_hash != certificate.content_hash:
        return warm
    if warm.height == certificate.count and content_hash(warm) == certificate.content_hash:
        return warm
    cold = pl.concat(streaming.chunks_of(_content(platform, entry), entry.path))
    return pl.concat([warm, cold]).unique("id", keep="first", maintain_order=True).sort("id")


def compare(
    connection: psycopg.Connection, platform: Platform, instrument: Instrument, day: date
) -> Compared:
    """Read both tiers of a symbol's day again, in flat memory.

    Raises
    ------
    MissingDataError, DamagedFileError
        When there is no cold copy, or its file is not as it was written.
    """
    entry = datasets.entry(connection, Key(COLD, instrument.venue, instrument.symbol, day))
    cold = Content(*streaming.proof(_content(platform, entry), entry.path))
    with _spooled(platform, _warm(connection, instrument, day)) as rows:
        warm = Content(rows.rows, rows.content_hash())
    found = manifest.get_certificate(connection, instrument.venue, instrument.symbol, day)
    certified = Content(found.count, found.content_hash) if found is not None else None
    return Compared(warm, cold, certified)


def _chunks(
    connection: psycopg.Connection, platform: Platform, instrument: Instrument, day: date
) -> Generator[pl.DataFrame, None, None]:
    """Hot's rows, or those of the cold copy where hot has none."""
    empty = True
    with closing(_warm(connection, instrument, day)) as warm:
        for chunk in warm:
            empty = False
            yield chunk
    if empty and (entry := _copy(connection, instrument, day)) is not None:
        yield from streaming.chunks_of(_content(platform, entry), entry.path)


def _warm(
    connection: psycopg.Connection, instrument: Instrument, day: date
) -> Generator[pl.DataFrame, None, None]:
    with connection.transaction():
        yield from hot.read_chunks(connection, instrument, day)


@contextmanager
def _spooled(
    platform: Platform, chunks: Generator[pl.DataFrame, None, None]
) -> Iterator[streaming.Spool]:
    # Closed at once when the disk is full: it holds a transaction open.
    with closing(chunks), streaming.spooled(chunks, platform.settings.home / "spool") as spool:
        yield spool


def _content(platform: Platform, entry: DatasetEntry) -> bytes:
    return parquet.fetch(platform.cold, entry.path, entry.sha256)


def _copy(connection: psycopg.Connection, instrument: Instrument, day: date) -> DatasetEntry | None:
    return datasets.find(connection, Key(COLD, instrument.venue, instrument.symbol, day))
