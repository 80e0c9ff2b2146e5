"""Retention: hot lets go of days whose cold copy is proven now; cold of what is long superseded.

Timescale's own retention policies are not used: they go by the wall clock and drop historical days
at once, and they know nothing of a proven copy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import psycopg

from trader_pipelines.core.errors import TraderError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.retention import (
    CLOSED_AFTER,
    Decision,
    Holding,
    Verdict,
    decide,
    lacking,
)
from trader_pipelines.platform import Platform
from trader_pipelines.steps import compact
from trader_pipelines.stores import hot
from trader_pipelines.stores.cold import history, orphans
from trader_pipelines.stores.cold.holdings import drop_empty, empty_days, holding, holdings
from trader_pipelines.stores.cold.ticks import COLD


@dataclass(frozen=True, slots=True)
class Report:
    """What retention did, or in a dry run would do.

    Parameters
    ----------
    decisions : list of Decision
        Of every symbol's day in hot, by day, venue and symbol.
    partitions : list of date
        Days of which hot has nothing left: their partitions are dropped.
    forgotten, swept : list of str
        Cold files removed: superseded for longer than is kept; named by no row.
    """

    decisions: list[Decision]
    partitions: list[date]
    forgotten: list[str]
    swept: list[str]

    def of(self, verdict: Verdict) -> list[Decision]:
        """The decisions with that verdict."""
        return [one for one in self.decisions if one.verdict is verdict]


def retain(
    connection: psycopg.Connection,
    platform: Platform,
    *,
    now: datetime,
    dry_run: bool = False,
    told: Callable[[Decision], None] | None = None,
) -> Report:
    """Apply the settings' limits; what is not proven stays, and is named.

    A symbol's day goes in a transaction of its own, in which its file is read back and matched with
    the certificate by count and content hash, and so are the rows that go.

    Parameters
    ----------
    connection : Connection
        Outside of any transaction.
    now : datetime
        With a time zone. Nothing else tells the age of a day.
    dry_run : bool
        Prove and report, and let go of nothing.
    told : callable or None
        Called with each decision that was carried out or refused.
    """
    settings = platform.settings
    today = now.astimezone(UTC).date()
    limits = {"days": settings.hot_days, "size": settings.hot_bytes}

    def unproven(one: Holding) -> str | None:
        return lacking(one) or _let_go(connection, platform, one, dry_run=dry_run)

    decisions = []
    for decision in decide(holdings(connection), today, **limits, unproven=unproven):
        decisions.append(decision)
        if told is not None and decision.verdict is not Verdict.KEPT:
            told(decision)
    left = {one.holding.day for one in decisions if one.verdict is not Verdict.GOES}
    emptied = {one.holding.day for one in decisions} - left
    # With those of a run that was killed, or kept from it by readers, before it came to this.
    emptied |= set(empty_days(connection, today - timedelta(days=CLOSED_AFTER)))
    gone = [day for day in sorted(emptied) if dry_run or drop_empty(connection, day)]
    return Report(decisions, gone, *_tidy(connection, platform, now, dry_run=dry_run))


def _let_go(
    connection: psycopg.Connection, platform: Platform, one: Holding, *, dry_run: bool
) -> str | None:
    """Drop a symbol's day if it is proven; else why not."""
    try:
        instrument = platform.universe.venue(one.venue).instrument(one.symbol)
        with connection.transaction():
            # Nobody commits another file, and nobody writes rows of the day, until this is over.
            history.lock(connection, COLD, one.venue, one.symbol, one.day)
            hot.hold_day(connection, instrument, one.day)
            unproven = _unproven(connection, platform, instrument, one)
            if unproven is None and not dry_run:
                hot.drop_day(connection, instrument, one.day)
            return unproven
    except TraderError as error:
        return f"{error.what} ({error.where})"


def _unproven(
    connection: psycopg.Connection, platform: Platform, instrument: Instrument, one: Holding
) -> str | None:
    """Why the day must stay after all, by what is there under its locks; None when it may go."""
    if (now := holding(connection, one.venue, one.symbol, one.day)) is None:
        return "hot has let go of it already"
    if (unproven := lacking(now)) is not None:
        return unproven
    found = compact.compare(connection, platform, instrument, one.day)
    if found.cold != found.certified:
        return f"the cold file's {found.cold.count} trades are not those of the certificate"
    if found.hot != found.certified:
        return f"hot's {found.hot.count} trades are not those of the certificate"
    return None


def _tidy(
    connection: psycopg.Connection, platform: Platform, now: datetime, *, dry_run: bool
) -> tuple[list[str], list[str]]:
    """Cold files that nothing needs any more: superseded for long enough, and orphans."""
    kept = platform.settings.cold_history_days
    before = now - timedelta(days=kept) if kept is not None else None
    old = [
        file
        for file in history.superseded(connection)
        if before is not None and file.superseded_at < before
    ]
    if dry_run:
        return [file.path for file in old], orphans.orphans(connection, platform.cold)
    gone = [file.path for file in old if history.forget(connection, platform.cold, file)]
    return gone, orphans.sweep(connection, platform.cold)
