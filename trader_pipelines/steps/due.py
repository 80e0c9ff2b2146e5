"""Symbol-days that are due to be healed: open again, incomplete, or apart from the day before."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import psycopg

from trader_pipelines.core import healing
from trader_pipelines.core.certificates import describe_ranges
from trader_pipelines.core.instruments import VenueSpec
from trader_pipelines.core.sessions import previous_day
from trader_pipelines.platform import Platform
from trader_pipelines.steps.ticks import lacking
from trader_pipelines.stores import manifest, outages


@dataclass(frozen=True, slots=True)
class Due:
    """A symbol's day that wants healing.

    Parameters
    ----------
    day, symbol
        Which.
    why : str
        For a person.
    state : str
        Changes when there is something new to ask, or when the pause is over.
    """

    day: date
    symbol: str
    why: str
    state: str


def due(
    connection: psycopg.Connection,
    platform: Platform,
    spec: VenueSpec,
    now: datetime,
    *,
    patient: bool = True,
) -> list[Due]:
    """Symbol-days of the universe to heal now, by day and symbol.

    Parameters
    ----------
    now : datetime
        UTC.
    patient : bool
        Whether what every source was asked for in vain is left alone until the pause of the
        settings is over.
    """
    pause = timedelta(hours=platform.settings.heal_again_hours)
    turn = int(now.timestamp() // pause.total_seconds())
    asked = {
        (one.day, one.symbol, one.lacks): one.asked_at for one in outages.get(connection, spec.name)
    }
    found: dict[tuple[date, str], Due] = {}

    def note(day: date, symbol: str, why: str, *state: object) -> None:
        if symbol in spec.instruments and spec.instrument(symbol).listed_on(day):
            told = ":".join(map(str, (symbol, *state, turn)))
            found.setdefault((day, symbol), Due(day, symbol, why, told))

    for (day, symbol), reason in outages.reopened(connection, spec.name).items():
        note(day, symbol, f"reopened: {reason}", "reopened", reason)
    for certificate, revision in outages.incomplete(connection, spec.name):
        day, symbol = certificate.day, certificate.symbol
        last = [
            asked.get((day, symbol, one if isinstance(one, str) else describe_ranges([one])))
            for one in lacking(certificate)
        ]
        if not patient or any(at is None or at + pause <= now for at in last):
            note(day, symbol, f"lacks {certificate.describe_missing()}", revision)
    if platform.healers(spec):
        for day, symbol in gaps(connection, spec):
            note(day, symbol, "does not join the day before", "gap")
    return [found[place] for place in sorted(found)]


def gaps(connection: psycopg.Connection, spec: VenueSpec) -> list[tuple[date, str]]:
    """Days whose first id does not follow the last one of the day before, by day and symbol."""
    found = []
    for symbol, day, before in outages.apart(connection, spec.name):
        if previous_day(spec.calendar, day) != before:
            continue
        pair = [manifest.get_certificate(connection, spec.name, symbol, d) for d in (before, day)]
        if pair[0] and pair[1] and healing.gap_between(pair[0], pair[1]):
            found.append((day, symbol))
    return sorted(found)
