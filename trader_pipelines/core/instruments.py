"""What can be traded: instruments, the venues that list them, and the universe of a day."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from trader_pipelines.core.errors import UnknownSymbolError

#: The calendar of a venue that never closes: a trading day is a UTC day.
UTC_DAYS = "UTC"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One symbol of one venue, with the grid its prices and sizes lie on.

    Parameters
    ----------
    venue, symbol : str
        ``binance``, ``BTCUSDT``.
    tick_size, lot_size : Decimal
        The finest price and size step of the symbol's whole history, as powers of ten or multiples.
        Stored integers are ``price * 10**price_scale``: exact, never rounded.
    since : date
        First day in the universe.
    until : date or None
        Last day in the universe; None while it is listed.
    dollar_bar : Decimal
        Notional of one dollar bar, in the quote currency.
    """

    venue: str
    symbol: str
    tick_size: Decimal
    lot_size: Decimal
    since: date
    until: date | None = None
    dollar_bar: Decimal = Decimal(1_000_000)

    @property
    def id(self) -> str:
        """The field's name for it: ``BTCUSDT.BINANCE``."""
        return f"{self.symbol}.{self.venue.upper()}"

    @property
    def price_scale(self) -> int:
        """Decimals kept of a price."""
        return decimals(self.tick_size)

    @property
    def size_scale(self) -> int:
        """Decimals kept of a size."""
        return decimals(self.lot_size)

    def listed_on(self, day: date) -> bool:
        """Whether the instrument belongs to the universe of that day."""
        return self.since <= day and (self.until is None or day <= self.until)


@dataclass(frozen=True, slots=True)
class VenueSpec:
    """A venue as the universe file states it.

    Parameters
    ----------
    name, source : str
        ``binance``; the kind of source that its trades come from.
    synthetic : bool
        True when no market ever printed them.
    instruments : mapping
        By symbol.
    calendar : str
        What its trading days are: ``UTC``, or a calendar of exchange_calendars such as ``XNYS``.
    options : mapping
        What the source has to know besides: ``exchange`` of ccxt and what that can do.
    """

    name: str
    source: str
    synthetic: bool
    instruments: Mapping[str, Instrument]
    calendar: str = UTC_DAYS
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first_day(self) -> date:
        """The earliest day on which any of its instruments is in the universe."""
        return min(instrument.since for instrument in self.instruments.values())

    def instrument(self, symbol: str) -> Instrument:
        """Return one instrument, or say which symbols there are."""
        try:
            return self.instruments[symbol]
        except KeyError:
            raise UnknownSymbolError(
                f"symbol {symbol!r} is not in the universe of venue {self.name!r}",
                where=f"universe, venues.{self.name}.symbols",
                remedy=f"add it there, or choose one of: {', '.join(sorted(self.instruments))}",
            ) from None

    def on(self, day: date, symbols: tuple[str, ...] = ()) -> tuple[Instrument, ...]:
        """Instruments in the universe of `day`, by symbol; narrowed to `symbols` when given."""
        chosen = (
            [self.instrument(symbol) for symbol in symbols]
            if symbols
            else list(self.instruments.values())
        )
        listed = (instrument for instrument in chosen if instrument.listed_on(day))
        return tuple(sorted(listed, key=lambda instrument: instrument.symbol))


@dataclass(frozen=True, slots=True)
class Universe:
    """All venues of the team, from ``universe.yaml``."""

    venues: Mapping[str, VenueSpec]

    def venue(self, name: str) -> VenueSpec:
        """Return one venue, or say which there are."""
        try:
            return self.venues[name]
        except KeyError:
            raise UnknownSymbolError(
                f"venue {name!r} is not in the universe",
                where="universe, venues",
                remedy=f"add it there, or choose one of: {', '.join(sorted(self.venues))}",
            ) from None


def decimals(step: Decimal) -> int:
    """Number of decimals that represent every multiple of `step` exactly."""
    exponent = step.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)
