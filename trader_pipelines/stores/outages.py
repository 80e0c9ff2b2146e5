"""Outages: what no source has of a certified day, and who was asked; days to certify anew."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from trader_pipelines.core.certificates import Certificate, Range, Status, describe_ranges
from trader_pipelines.stores import manifest
from trader_pipelines.stores.manifest import as_json

#: Why a day is open again when a live trade came with other values than the stored one of its id.
CONTRADICTION = "contradiction"

#: An outage keeps so many of its latest answers.
_ANSWERS = 40


@dataclass(frozen=True, slots=True)
class Outage:
    """Trades that the venue printed and that nobody has.

    Parameters
    ----------
    venue, symbol, day
        Of the certificate that lacks them.
    lacks : str
        What, for a person: ids, or minutes where ids do not count.
    first_id, last_id : int or None
        The range, both included; None where ids do not count.
    evidence : tuple of mapping
        Who was asked, when (ISO, UTC) and what came: ``source``, ``asked_at``, ``answered``.
    opened_at, asked_at : datetime
        When it was first found that nobody has them, and when they were asked last. UTC.
    closed_at : datetime or None
        When they were found after all; None while they are missing.
    """

    venue: str
    symbol: str
    day: date
    lacks: str
    first_id: int | None
    last_id: int | None
    evidence: tuple[Mapping[str, Any], ...]
    opened_at: datetime
    asked_at: datetime
    closed_at: datetime | None = None


def answer(source: str, asked_at: datetime, answered: str) -> dict[str, str]:
    """One piece of evidence: who was asked, when, and what came."""
    return {
        "source": source,
        "asked_at": asked_at.isoformat(timespec="seconds"),
        "answered": answered,
    }


def declare(
    connection: psycopg.Connection,
    place: tuple[str, str, date],
    lacks: Iterable[Range | str],
    evidence: Sequence[Mapping[str, Any]],
    now: datetime,
) -> None:
    """Say that every source was asked and none has these, within the caller's transaction.

    Parameters
    ----------
    place : (venue, symbol, day)
        Of the certificate.
    lacks : iterable of Range or str
        Ranges of ids, or what else is missing.
    evidence : sequence of mapping
        What each source answered; added to what they answered before.
    now : datetime
        UTC.
    """
    for one in lacks:
        told = one if isinstance(one, str) else describe_ranges([one])
        ids = (None, None) if isinstance(one, str) else one
        row = connection.execute(
            "select evidence from outages where (venue, symbol, day, lacks) = (%s, %s, %s, %s) "
            "for update",
            (*place, told),
        ).fetchone()
        answers = [*(row[0] if row else ()), *evidence][-_ANSWERS:]
        connection.execute(
            """
            insert into outages (venue, symbol, day, lacks, first_id, last_id, evidence,
                                 opened_at, asked_at)
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            on conflict (venue, symbol, day, lacks) do update set
                evidence = excluded.evidence, asked_at = excluded.asked_at, closed_at = null
            """,
            (*place, told, *ids, as_json([dict(answer) for answer in answers]), now, now),
        )


def close(
    connection: psycopg.Connection,
    place: tuple[str, str, date],
    still: Iterable[Range | str],
    evidence: Sequence[Mapping[str, Any]],
    now: datetime,
) -> None:
    """End the outages of a symbol's day that are not missing any more; they stay as history.

    Parameters
    ----------
    still : iterable of Range or str
        What is missing now; outages of these stay open.
    evidence : sequence of mapping
        Where it was found.
    """
    told = [one if isinstance(one, str) else describe_ranges([one]) for one in still]
    connection.execute(
        "update outages set closed_at = %s, evidence = evidence || %s "
        "where (venue, symbol, day) = (%s, %s, %s) and closed_at is null "
        "and not lacks = any(%s)",
        (now, as_json([dict(answer) for answer in evidence[-_ANSWERS:]]), *place, told),
    )


def get(
    connection: psycopg.Connection,
    venue: str,
    *,
    symbols: Sequence[str] | None = None,
    first: date = date.min,
    last: date = date.max,
    closed: bool = False,
) -> list[Outage]:
    """Outages of a venue by day, symbol and first id; with `closed` those of the past too."""
    narrowed = "" if closed else " and closed_at is null"
    narrowed += " and symbol = any(%(symbols)s)" if symbols is not None else ""
    query = (
        "select * from outages where venue = %(venue)s and day between %(first)s and %(last)s"  # noqa: S608
        f"{narrowed} order by day, symbol, first_id, lacks"
    )
    told = {"venue": venue, "first": first, "last": last}
    told["symbols"] = None if symbols is None else list(symbols)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query.encode(), told).fetchall()
    return [Outage(**{**row, "evidence": tuple(row["evidence"])}) for row in rows]


def reopened(
    connection: psycopg.Connection,
    venue: str,
    *,
    symbols: Sequence[str] | None = None,
    first: date = date.min,
    last: date = date.max,
) -> dict[tuple[date, str], str]:
    """Days and symbols that are to be certified anew, and why."""
    narrowed = "" if symbols is None else " and symbol = any(%(symbols)s)"
    told = {"venue": venue, "first": first, "last": last}
    told["symbols"] = None if symbols is None else list(symbols)
    rows = connection.execute(
        (
            "select day, symbol, reason from reopened where venue = %(venue)s "  # noqa: S608
            f"and day between %(first)s and %(last)s{narrowed} order by day, symbol"
        ).encode(),
        told,
    ).fetchall()
    return {(day, symbol): reason for day, symbol, reason in rows}


def why_reopened(connection: psycopg.Connection, venue: str, symbol: str, day: date) -> str | None:
    """Why a symbol's day is to be certified anew; None when it is not."""
    found = reopened(connection, venue, symbols=(symbol,), first=day, last=day)
    return found.get((day, symbol))


def certified_anew(connection: psycopg.Connection, venue: str, symbol: str, day: date) -> None:
    """Take the mark of a reopened day away, in the transaction that certifies it."""
    connection.execute(
        "delete from reopened where (venue, symbol, day) = (%s, %s, %s)", (venue, symbol, day)
    )


def incomplete(connection: psycopg.Connection, venue: str) -> list[tuple[Certificate, int]]:
    """A venue's incomplete certificates with their revisions, by day and symbol."""
    rows = connection.execute(
        "select symbol, day, revision from certificates "
        "where venue = %s and status = 'incomplete' order by day, symbol",
        (venue,),
    ).fetchall()
    found = []
    for symbol, day, revision in rows:
        certificate = manifest.get_certificate(connection, venue, symbol, day)
        if certificate is not None and certificate.status is Status.INCOMPLETE:
            found.append((certificate, revision))
    return found


def apart(connection: psycopg.Connection, venue: str) -> list[tuple[str, date, date]]:
    """Symbol, day and the certified day before it, where ids lie between the two."""
    return connection.execute(
        """
        select symbol, day, before from (
            select symbol, day, first_id, lag(day) over by_day before,
                lag(last_id) over by_day ended
            from certificates where venue = %s and count > 0
            window by_day as (partition by symbol order by day)
        ) joined where first_id > ended + 1
        """,
        (venue,),
    ).fetchall()
