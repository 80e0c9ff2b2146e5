"""Healing: what a symbol's day lacks, asked for, merged and certified in one transaction."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime

import polars as pl
import psycopg

from trader_pipelines.core import healing
from trader_pipelines.core.certificates import Certificate, Range, Status, describe_ranges
from trader_pipelines.core.errors import BadTradeError, TraderError
from trader_pipelines.core.healing import Found
from trader_pipelines.core.instruments import Instrument, VenueSpec
from trader_pipelines.core.ranges import difference, union
from trader_pipelines.core.sessions import day_bounds, previous_day
from trader_pipelines.platform import Platform
from trader_pipelines.steps.asking import Asked, Clock, Report, accounted, ask, utc_now
from trader_pipelines.steps.compact import stored_trades
from trader_pipelines.steps.ticks import ingest, lacking
from trader_pipelines.stores import hot, manifest, outages
from trader_pipelines.venues.base import Healer

_HIGHEST = 2**63 - 1


def heal(
    connection: psycopg.Connection,
    platform: Platform,
    spec: VenueSpec,
    instrument: Instrument,
    day: date,
    *,
    now: Clock = utc_now,
) -> Report:
    """Ask every source for what a symbol's day lacks, and certify it anew with what they have.

    That is what the certificate names, and the ids between it and the day before; found trades go
    to the day of their stamp. A day that got rows since it was certified, or that never was, is
    completed and certified first. What every source was asked for in vain becomes an outage. Doing
    it again changes nothing.

    Raises
    ------
    TraderError
        When the day has to be fetched again and cannot be. What a source of missing ids says
        wrong is told in the report.
    """
    place = (instrument.venue, instrument.symbol, day)
    certificate = manifest.get_certificate(connection, *place)
    report = Report(instrument.symbol, day)
    report.lacked = certificate.describe_missing() if certificate else "certificate"
    report.reopened = outages.why_reopened(connection, *place) is not None
    sources = platform.healers(spec)
    if certificate is None or report.reopened:
        certificate = _certify(connection, platform, spec, instrument, day, sources)
    elif certificate.status is Status.INCOMPLETE and not sources:
        certificate = _fetch_again(connection, platform, spec, instrument, certificate, report, now)
    report.certificate = certificate
    if not sources:
        return report
    before = manifest.get_certificate(
        connection, instrument.venue, instrument.symbol, previous_day(spec.calendar, day)
    )
    between = healing.between(before, certificate) if before else []
    wanted = {day: union(certificate.missing, between)}
    if before and between:
        # On which of the two days they were, only a source can tell: each is asked for both.
        wanted = {before.day: between, **wanted}
        report.lacked = describe_ranges(wanted[day])
    if wanted[day]:
        answers = ask(sources, instrument, wanted, report, now)
        _commit(connection, platform, spec, instrument, wanted, answers, report, now())
    return report


def _certify(
    connection: psycopg.Connection,
    platform: Platform,
    spec: VenueSpec,
    instrument: Instrument,
    day: date,
    sources: Mapping[str, Healer],
) -> Certificate:
    """Certify a day as its own source gives it, or else as another one does.

    A source that lacks a day's first or last trades cannot prove that day, and gives none of it.
    """
    own = platform.venue(spec)
    refused: TraderError | None = None
    for source in (own, *(one for one in sources.values() if type(one) is not type(own))):
        try:
            return ingest(connection, platform, source, instrument, day)
        except TraderError as error:
            refused = refused or error
    assert refused is not None, "there is one source at least"
    raise refused


def _fetch_again(
    connection: psycopg.Connection,
    platform: Platform,
    spec: VenueSpec,
    instrument: Instrument,
    certificate: Certificate,
    report: Report,
    now: Clock,
) -> Certificate:
    """Heal a day whose ids do not count: only the day as a whole can be asked for."""
    asked = now()
    made = ingest(connection, platform, platform.venue(spec), instrument, certificate.day)
    more = made.count - certificate.count
    said = f"{made.count} trades, {made.describe_missing() or 'nothing'} missing"
    report.asked.append(Asked(None, outages.answer(made.source, asked, said)))
    report.found[spec.source] = max(more, 0)
    with connection.transaction():
        _declare(connection, made, lacking(made), report, now())
    return made


def _commit(
    connection: psycopg.Connection,
    platform: Platform,
    spec: VenueSpec,
    instrument: Instrument,
    wanted: Mapping[date, list[Range]],
    answers: Mapping[date, list[Found]],
    report: Report,
    now: datetime,
) -> None:
    """Merge, write and certify the day, and the day before where ids lack between the two."""
    between = next((ranges for day, ranges in wanted.items() if day != report.day), [])
    rest = between
    with connection.transaction():
        for day in sorted(wanted):
            hot.hold_day(connection, instrument, day)
        for day in sorted(wanted):
            known = manifest.get_certificate(connection, instrument.venue, instrument.symbol, day)
            assert known is not None, "a certificate is never taken back"
            trades = stored_trades(connection, platform, instrument, day)
            bounds = day_bounds(spec.calendar, day)
            own = difference(known.missing, between)
            found = _believed(trades, known, answers[day], bounds, union(own, rest), report)
            mine = rest
            if day != report.day:
                # What lacks after a day's last trade is named by the day after.
                ends = [one.trades["id"][-1] for one in found if one.trades.height]
                mine = difference(rest, [(max(ends, default=-1) + 1, _HIGHEST)])
            healed, made = healing.heal(
                trades,
                known,
                found,
                bounds=bounds,
                missing=union(own, mine),
                joined_from=between[0][0] if between and day == report.day else None,
            )
            rest = difference(rest, union(mine, *(accounted(one) for one in found)))
            if healed.height != trades.height:
                hot.write_day(connection, instrument, day, healed)
            for one in found:
                new = one.trades.join(trades, on="id", how="anti").height
                report.found[one.source] = report.found.get(one.source, 0) + new
            manifest.put_certificate(connection, made)
            if day == report.day:
                report.certificate = made
            _declare(connection, made, made.missing, report, now)


def _believed(
    trades: pl.DataFrame,
    certificate: Certificate,
    answers: list[Found],
    bounds: tuple[int, int],
    missing: list[Range],
    report: Report,
) -> list[Found]:
    """The answers that contradict neither what is stored nor one another."""
    believed: list[Found] = []
    for one in answers:
        try:
            healing.accepted(one, trades, missing, certificate, bounds)
        except BadTradeError as error:
            report.errors.append(error)
        else:
            believed.append(one)
            missing = difference(missing, accounted(one))
    return believed


def _declare(
    connection: psycopg.Connection,
    certificate: Certificate,
    lacks: Iterable[Range | str],
    report: Report,
    now: datetime,
) -> None:
    """End the outages that are over; open those of which every source said that it has nothing."""
    place = (certificate.venue, certificate.symbol, certificate.day)
    still = list(lacks)
    outages.close(connection, place, still, [one.told for one in report.asked], now)
    if report.errors:
        return
    for one in still:
        told = [asked.told for asked in report.asked if _touches(asked.range, one)]
        if told:
            outages.declare(connection, place, [one], told, now)


def _touches(asked: Range | None, lacks: Range | str) -> bool:
    if asked is None or isinstance(lacks, str):
        return True
    return asked[0] <= lacks[1] and lacks[0] <= asked[1]
