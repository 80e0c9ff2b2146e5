"""Which days of an instrument can be asked for: listed, and over."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from trader_pipelines.core.errors import DayNotOverError, UnknownSymbolError
from trader_pipelines.core.instruments import Instrument

#: Tells the current UTC day; tests give their own.
Today = Callable[[], date]


def utc_today() -> date:
    """The UTC day that is going on now."""
    return datetime.now(UTC).date()


def check_listed(venue: str, instrument: Instrument, day: date) -> None:
    """Refuse an instrument that `venue` cannot have on a day: another venue's, or not listed.

    Raises
    ------
    UnknownSymbolError
    """
    where = f"venue {venue}, symbol {instrument.symbol}, day {day}"
    if instrument.venue != venue:
        raise UnknownSymbolError(
            f"{instrument.id} is not an instrument of venue {venue!r}",
            where=where,
            remedy=f"ask venue {instrument.venue!r} for it",
        )
    if not instrument.listed_on(day):
        until = f" to {instrument.until}" if instrument.until else " on"
        raise UnknownSymbolError(
            f"{instrument.id} is not in the universe on {day}",
            where=where,
            remedy=f"ask for a day from {instrument.since}{until}, or correct its days in "
            "universe.yaml",
        )


def check_day(venue: str, instrument: Instrument, day: date, today: Today) -> None:
    """Refuse a day that `venue` cannot have: another venue's, not listed, or not over.

    Raises
    ------
    UnknownSymbolError
        When the instrument is another venue's, or not in the universe on `day`.
    DayNotOverError
        When the UTC day lies in the future or is still going on.
    """
    check_listed(venue, instrument, day)
    now = today()
    if day >= now:
        raise DayNotOverError(
            f"{day} is {'still going on' if day == now else 'in the future'}",
            where=f"venue {venue}, symbol {instrument.symbol}, day {day}",
            remedy=f"ask for a day up to {now - timedelta(days=1)}, or wait until {day} is over "
            "(UTC)",
            retry=True,
        )
