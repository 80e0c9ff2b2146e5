"""The protocol every venue keeps: give one symbol's whole day, or say exactly what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol, runtime_checkable

import polars as pl

from trader_pipelines.core.instruments import Instrument


@dataclass(frozen=True, slots=True)
class DayTrades:
    """One symbol's day as a venue gave it.

    Parameters
    ----------
    trades : DataFrame
        Of schema `trader_pipelines.core.trades.TRADES`, strictly ascending by `id`, every stamp
        inside the day.
    source : str
        Where it came from, for a person: a file's name, a generator and its seed. No secret.
    reconciled : mapping
        What the venue itself says of the day and was checked: archive checksum, rows.
    void_ids : tuple of int
        Ids that the venue itself declared void: no trades, and not missing.
    """

    trades: pl.DataFrame
    source: str
    reconciled: Mapping[str, str | int] = field(default_factory=dict)
    void_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RangeTrades:
    """What a source has of a range of ids.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES`, strictly ascending by `id`, every id within the range.
    source : str
        Who was asked, for a person. No secret.
    void_ids : tuple of int
        Ids of the range that the venue itself declared void.
    """

    trades: pl.DataFrame
    source: str
    void_ids: tuple[int, ...] = ()


class Venue(Protocol):
    """A source of trades."""

    @property
    def name(self) -> str:
        """The venue's name in the universe, in asset keys and in instrument ids."""
        ...

    @property
    def synthetic(self) -> bool:
        """True when no market ever printed these trades."""
        ...

    @property
    def sequential_ids(self) -> bool:
        """Whether ids count up by one, so that a hole is a lost trade."""
        ...

    def fetch_day(self, instrument: Instrument, day: date) -> DayTrades:
        """All trades of one UTC day.

        Raises
        ------
        TraderError
            Typed, when the day is missing, damaged, or holds what cannot be a trade.
        """
        ...


@runtime_checkable
class RangeSource(Protocol):
    """A source that can be asked again for a few ids, which heals a hole."""

    @property
    def name(self) -> str:
        """The venue's name in the universe."""
        ...

    def fetch_range(self, instrument: Instrument, day: date, first: int, last: int) -> RangeTrades:
        """What there is of the ids `first` to `last`, both included; `day` is where they belong.

        Raises
        ------
        TraderError
            Typed, when nobody answers or the day cannot be had. A source that answers and has
            nothing returns an empty frame.
        """
        ...


@runtime_checkable
class Completing(Protocol):
    """A source that fetches of a day only what is not there yet."""

    def complete_day(self, instrument: Instrument, day: date, have: pl.DataFrame) -> DayTrades:
        """`Venue.fetch_day`, given the trades of the day that are stored already.

        Parameters
        ----------
        have : DataFrame
            Of schema `TRADES`, ascending by `id`, as a live collector or a killed run left them.
        """
        ...


@runtime_checkable
class Healer(Venue, RangeSource, Protocol):
    """A source of a venue's days that can also be asked for a few ids of one."""


@runtime_checkable
class Rechecking(Protocol):
    """A source that can tell, for a request or two, whether a stored day is still what it has."""

    def recheck(self, instrument: Instrument, day: date, trades: pl.DataFrame) -> bool:
        """Whether the venue's own bars now say otherwise than these stored trades of a day do."""
        ...
