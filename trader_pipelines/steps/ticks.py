"""Ticks: a fetched day committed under its certificate, with what is stored already."""

from dataclasses import replace
from datetime import UTC, date, datetime

import polars as pl
import psycopg

from trader_pipelines.core import healing
from trader_pipelines.core.certificates import Certificate, Range, Status, certify
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import content_hash
from trader_pipelines.platform import Platform
from trader_pipelines.steps.compact import stored_trades
from trader_pipelines.stores import hot, manifest, outages
from trader_pipelines.venues.base import Completing, DayTrades, Venue

COLD = "cold_ticks"
HOT_VERSION = "1"


def ingest(
    connection: psycopg.Connection,
    platform: Platform,
    source: Venue,
    instrument: Instrument,
    day: date,
) -> Certificate:
    """Fetch a symbol's day and commit it with its certificate, both or neither.

    What is stored already is not lost to a source that lacks it: of a venue that counts its trades,
    stored ids that the fetch has not are kept, and the day is healed; what the fetch tells of other
    ids wins. Rows that nobody certified yet (a live collector's) are completed where the source can
    do that. A day that was proven whole is never replaced by one that is not.

    Raises
    ------
    TraderError
        As `Venue.fetch_day`; what was stored stays as it was.
    """
    place = (instrument.venue, instrument.symbol, day)
    fetched = _fetch(connection, platform, source, instrument, day)
    with connection.transaction():
        hot.hold_day(connection, instrument, day)
        before = manifest.get_certificate(connection, *place)
        if source.synthetic:
            # A generator's word is the whole truth: what an earlier seed left is no trade of it.
            trades, certificate = fetched.trades, _certify(source, instrument, day, fetched)
        else:
            stored = stored_trades(connection, platform, instrument, day)
            trades, certificate = _settle(source, instrument, day, fetched, stored, before)
        hot.write_day(connection, instrument, day, trades)
        manifest.put_certificate(connection, certificate)
        outages.certified_anew(connection, *place)
        now = datetime.now(UTC)
        answer = outages.answer(fetched.source, now, "the day as it is certified now")
        outages.close(connection, place, lacking(certificate), [answer], now)
    return certificate


def lacking(certificate: Certificate) -> list[Range | str]:
    """What a day lacks as outages name it: ranges of ids, or minutes where ids do not count."""
    if certificate.missing or certificate.status is not Status.INCOMPLETE:
        return list(certificate.missing)
    return [certificate.describe_missing()]


def _fetch(
    connection: psycopg.Connection,
    platform: Platform,
    source: Venue,
    instrument: Instrument,
    day: date,
) -> DayTrades:
    """The day whole, or what rows that nobody certified lack of it.

    Where two words of one trade are known, the whole day is asked for: bars do not tell prices.
    """
    if isinstance(source, Completing):
        place = (instrument.venue, instrument.symbol, day)
        certified = manifest.get_certificate(connection, *place) is not None
        reason = outages.why_reopened(connection, *place)
        if reason != outages.CONTRADICTION and (reason or not certified):
            have = stored_trades(connection, platform, instrument, day)
            if have.height:
                return source.complete_day(instrument, day, have)
    return source.fetch_day(instrument, day)


def _settle(
    source: Venue,
    instrument: Instrument,
    day: date,
    fetched: DayTrades,
    stored: pl.DataFrame,
    before: Certificate | None,
) -> tuple[pl.DataFrame, Certificate]:
    """The day as it is to be stored and certified, given what there is of it."""
    if source.sequential_ids:
        merged = healing.merge(fetched.trades, stored, fetched.void_ids)
        return merged.trades, healing.certify_merged(
            merged,
            before,
            stored,
            venue=instrument.venue,
            symbol=instrument.symbol,
            day=day,
            source=fetched.source,
            reconciled=fetched.reconciled,
            void_ids=fetched.void_ids,
        )
    made = _certify(source, instrument, day, fetched)
    if before is None:
        return fetched.trades, made
    if made.status is Status.INCOMPLETE:
        whole = before.status is not Status.INCOMPLETE
        if whole and content_hash(stored) == before.content_hash:
            return stored, before
    elif before.status is not Status.COMPLETE:
        made = replace(made, status=Status.HEALED)
    return fetched.trades, made


def _certify(source: Venue, instrument: Instrument, day: date, fetched: DayTrades) -> Certificate:
    return certify(
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
