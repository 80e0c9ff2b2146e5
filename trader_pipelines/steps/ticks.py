"""Ticks: a fetched day committed under its certificate, and copied to cold once proven."""

from datetime import date

import psycopg

from trader_pipelines.core.certificates import Certificate, certify
from trader_pipelines.core.errors import TraderError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import content_hash
from trader_pipelines.platform import Platform
from trader_pipelines.stores import datasets, hot, manifest
from trader_pipelines.stores.datasets import Key, Lineage
from trader_pipelines.venues.base import Venue

COLD = "cold_ticks"
HOT_VERSION, COLD_VERSION = "1", "1"


def ingest(
    connection: psycopg.Connection, source: Venue, instrument: Instrument, day: date
) -> Certificate:
    """Fetch a symbol's day and commit it with its certificate, both or neither."""
    fetched = source.fetch_day(instrument, day)
    certificate = certify(
        fetched.trades,
        venue=instrument.venue,
        symbol=instrument.symbol,
        day=day,
        source=fetched.source,
        synthetic=source.synthetic,
        reconciled=fetched.reconciled,
        sequential=source.sequential_ids,
        void_ids=fetched.void_ids,
    )
    with connection.transaction():
        hot.write_day(connection, instrument, day, fetched.trades)
        manifest.put_certificate(connection, certificate)
    return certificate


def freeze(
    connection: psycopg.Connection,
    platform: Platform,
    instrument: Instrument,
    certificate: Certificate,
) -> manifest.DatasetEntry:
    """Copy a certified day from hot to cold, proven against the certificate."""
    trades = hot.read_day(connection, instrument, certificate.day)
    if content_hash(trades) != certificate.content_hash:
        raise TraderError(
            f"the hot table holds {trades.height} trades, not the {certificate.count} certified",
            where=f"hot_ticks, {instrument.id} on {certificate.day}",
            remedy="materialize hot_ticks of that day again; nothing was written to cold",
        )
    return datasets.put(
        connection,
        platform.cold,
        Key(COLD, instrument.venue, instrument.symbol, certificate.day),
        trades,
        Lineage(
            COLD_VERSION,
            certificate.status,
            certificate.synthetic,
            {"hot_ticks": certificate.content_hash},
        ),
        content_hash=certificate.content_hash,
        about={
            "price_scale": str(instrument.price_scale),
            "size_scale": str(instrument.size_scale),
            "source": certificate.source,
        },
    )
