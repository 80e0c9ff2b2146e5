"""Closed days asked about again: late and corrected trades, and one source against another."""

from dataclasses import dataclass, replace
from datetime import date

import psycopg

from trader_pipelines.core.certificates import Certificate
from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.healing import COMPARED
from trader_pipelines.core.instruments import Instrument, VenueSpec
from trader_pipelines.core.reconciliation import reconcile_sources
from trader_pipelines.core.trades import content_hash
from trader_pipelines.platform import Platform
from trader_pipelines.steps.compact import stored_trades
from trader_pipelines.steps.ticks import ingest
from trader_pipelines.stores import hot, manifest
from trader_pipelines.venues.base import Rechecking


@dataclass(frozen=True, slots=True)
class Rechecked:
    """What became of a closed day.

    Parameters
    ----------
    certificate : Certificate
        Afterwards.
    differed : bool or None
        Whether the venue's bars told otherwise than the stored trades, so that the day was fetched
        again; None when the venue has none to ask for.
    """

    certificate: Certificate
    differed: bool | None


def recheck(
    connection: psycopg.Connection,
    platform: Platform,
    spec: VenueSpec,
    instrument: Instrument,
    day: date,
) -> Rechecked | None:
    """Hold a certified day against the venue's own bars as they are now; fetch it if they differ.

    Where the archive has the day of a venue that is read over REST, it is compared as well.

    Returns
    -------
    Rechecked or None
        None when the day has no certificate: it is not this one's business.

    Raises
    ------
    TraderError
        As `Venue.fetch_day`.
    """
    certificate = manifest.get_certificate(connection, instrument.venue, instrument.symbol, day)
    if certificate is None:
        return None
    own = platform.venue(spec)
    judges = [one for one in (own, *platform.healers(spec).values()) if isinstance(one, Rechecking)]
    differed = None
    if judges:
        trades = stored_trades(connection, platform, instrument, day)
        differed = judges[0].recheck(instrument, day, trades)
        if differed:
            certificate = ingest(connection, platform, own, instrument, day)
    if spec.source == "binance_rest":
        certificate = reconcile(connection, platform, spec, instrument, certificate)
    return Rechecked(certificate, differed)


def reconcile(
    connection: psycopg.Connection,
    platform: Platform,
    spec: VenueSpec,
    instrument: Instrument,
    certificate: Certificate,
) -> Certificate:
    """Compare a stored day with what the venue's other source has of it, and certify the result.

    The certificate then tells how many trades both have, only one has, and tell differently:
    ``compared_rest_archive_common``, ``compared_rest_only``, ``compared_archive_only``,
    ``compared_rest_archive_differing``. Unchanged where the other source has no such day (yet).
    """
    sources = platform.healers(spec)
    kind = type(platform.venue(spec))
    mine = next((name for name, one in sources.items() if type(one) is kind), None)
    other = next((name for name in sources if name != mine), None)
    if mine is None or other is None:
        return certificate
    try:
        theirs = sources[other].fetch_day(instrument, certificate.day).trades
    except MissingDataError:
        return certificate
    with connection.transaction():
        hot.hold_day(connection, instrument, certificate.day)
        place = (certificate.venue, certificate.symbol, certificate.day)
        now = manifest.get_certificate(connection, *place)
        assert now is not None, "a certificate is never taken back"
        trades = stored_trades(connection, platform, instrument, certificate.day)
        if content_hash(trades) != now.content_hash:
            return now  # rows came; the day is to be certified anew first
        told = reconcile_sources(trades, theirs).told(mine, other)
        compared = {f"{COMPARED}{name}": value for name, value in told.items()}
        made = replace(now, reconciled={**now.reconciled, **compared})
        manifest.put_certificate(connection, made)
    return made
