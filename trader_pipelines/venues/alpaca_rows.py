"""Pages of Alpaca's trades as checked rows: nanoseconds, taker side, revisions."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, NamedTuple

import polars as pl

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES
from trader_pipelines.venues.asking import SuspectError
from trader_pipelines.venues.decimals import NotANumberError, TooFineError, scaled, too_fine

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)
#: The taker of a trade, as crypto tells it.
SIDES = {"B": 1, "S": -1, None: 0, "": 0}

#: `u` of a trade that no longer stands. A ``corrected`` one stands in the place of another.
#: https://docs.alpaca.markets/reference/stocktrades-1
_VOID = {"canceled", "cancelled", "incorrect"}
_UPDATES = {None, "", "corrected"} | _VOID


class Row(NamedTuple):
    """One row of a trades page; `place` is the exchange's letter, `number` the venue's id."""

    ts_event: int
    place: str
    number: int
    update: str
    price: int
    size: int
    side: int

    @property
    def identity(self) -> tuple[int, str, int]:
        """What makes it itself: US-equity ids are unique in a day and an exchange only."""
        return self.ts_event, self.place, self.number

    @property
    def stands(self) -> bool:
        """False when the venue has cancelled or replaced it."""
        return self.update not in _VOID


@dataclass(frozen=True, slots=True)
class Told:
    """What the venue's rows of a day come to.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES`: what stands after every revision.
    void_ids : tuple of int
        Ids of the rows that the venue cancelled or replaced.
    canceled, corrected : int
        How many rows it cancelled, and how many it replaced.
    """

    trades: pl.DataFrame
    void_ids: tuple[int, ...]
    canceled: int
    corrected: int


def read_trades(
    got: Any, symbol: str, instrument: Instrument, start: int, end: int, where: str
) -> list[Row]:
    """Rows of one page, in the venue's order.

    Raises
    ------
    SuspectError
        When it is no page of trades of that symbol and time (nanoseconds, `end` excluded), or its
        stamps fall.
    SettingsError
        When a price or size is finer than the instrument's grid.
    """
    rows: list[Row] = []
    for number, told in enumerate(rows_of(got, "trades", symbol), 1):
        row = _trade(told, number, instrument, where)
        if not start <= row.ts_event < end:
            raise SuspectError(f"row {number} is not of the time that was asked for")
        if rows and row.ts_event < rows[-1].ts_event:
            raise SuspectError(f"row {number} is older than the one before it")
        rows.append(row)
    return rows


def merged(pages: Iterable[Sequence[Row]]) -> list[Row]:
    """Rows of all pages, each identity once: a row that is told twice is one trade.

    Exact duplicates in price, size and time with numbers of their own are trades of their own. A
    row that has been cancelled or replaced since it was first told counts as it is now.

    Raises
    ------
    SuspectError
        When one identity stands for two different trades.
    """
    seen: dict[tuple[int, str, int], Row] = {}
    for page in pages:
        for row in page:
            before = seen.setdefault(row.identity, row)
            if before._replace(update=row.update) != row:
                raise SuspectError(f"id {row.number} stands for two different trades")
            if before.update != row.update:
                seen[row.identity] = row
    return list(seen.values())


def number(rows: Sequence[Row]) -> list[int]:
    """Ids of rows in the venue's order; see `settle`."""
    ids: list[int] = []
    for row in rows:
        ids.append(max(row.ts_event, ids[-1] + 1 if ids else 0))
    return ids


def settle(rows: Sequence[Row]) -> Told:
    """Number the rows, and leave out those that the venue has cancelled or replaced.

    Alpaca's own numbers repeat from day to day and exchange to exchange, and those of crypto are
    not in order. A row's id is its stamp in nanoseconds, or one more than the id before it where
    that is taken. It is unique in a symbol, ascends, says when the trade was, and stays the same
    when a trade is cancelled: revisions are numbered too.

    Parameters
    ----------
    rows : sequence of Row
        A whole day, in the venue's order.
    """
    ids = number(rows)
    kept = [(i, row) for i, row in zip(ids, rows, strict=True) if row.stands]
    columns = {
        "id": [i for i, _ in kept],
        **{name: [getattr(row, name) for _, row in kept] for name in TRADES if hasattr(Row, name)},
        "fills": [1] * len(kept),
    }
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Int64))
    return Told(
        trades=frame.select(TRADES.names()).cast(TRADES),
        void_ids=tuple(i for i, row in zip(ids, rows, strict=True) if not row.stands),
        canceled=sum(row.update in ("canceled", "cancelled") for row in rows),
        corrected=sum(row.update == "incorrect" for row in rows),
    )


def stamp(text: Any, number: int) -> int:
    """Nanoseconds of RFC 3339 text in UTC, all nine digits kept."""
    found = _STAMP.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise SuspectError(f"row {number}: {str(text)[:30]!r} is no time stamp")
    return _second(found[1]) * 10**9 + int((found[2] or "").ljust(9, "0"))


@lru_cache(maxsize=256)
def _second(text: str) -> int:
    """Seconds since the epoch; neighbours in a page share theirs."""
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise SuspectError(f"{text!r} is no time") from None


def rows_of(got: Any, what: str, symbol: str) -> list[Any]:
    """A symbol's rows of a page, and nobody else's."""
    told = got.get(what, ()) if isinstance(got, dict) else ()
    if told is None:  # Alpaca's way to say that there are none
        return []
    if not isinstance(told, dict):
        raise SuspectError(f"a {type(got).__name__} without {what}")
    if set(told) - {symbol}:
        raise SuspectError(f"{what} of another symbol than {symbol}")
    rows = told.get(symbol) or []
    if not isinstance(rows, list):
        raise SuspectError(f"a {type(rows).__name__} where a list of {what} belongs")
    return rows


def _trade(told: Any, number: int, instrument: Instrument, where: str) -> Row:
    if not isinstance(told, dict) or not {"t", "p", "s", "i"} <= set(told):
        raise SuspectError(f"row {number} is {str(told)[:20]!r}, no trade")
    update, side, venue_id = told.get("u"), told.get("tks"), told["i"]
    if update not in _UPDATES or side not in SIDES:
        raise SuspectError(f"row {number}: update {update!r} or side {side!r} is not known")
    if isinstance(venue_id, bool) or not isinstance(venue_id, int):
        raise SuspectError(f"row {number}: {str(venue_id)[:20]!r} is no id")
    ts = stamp(told["t"], number)
    values = {}
    for column, key, scale in (
        ("price", "p", instrument.price_scale),
        ("size", "s", instrument.size_scale),
    ):
        try:
            values[column] = decimal(told[key], scale, number)
        except TooFineError:
            raise too_fine(instrument, column, str(told[key]), f"{where}, id {venue_id}") from None
        if values[column] <= 0:
            raise SuspectError(f"row {number}: {column} is {told[key]}")
    place = str(told.get("x", ""))
    return Row(ts, place, venue_id, update or "", values["price"], values["size"], SIDES[side])


def decimal(value: Any, scale: int, number: int) -> int:
    """Exact integer of a JSON number; row `number` is named where it is none."""
    text = str(value)
    try:
        # A JSON number may be written 1e-8.
        return scaled(format(Decimal(text), "f") if "e" in text.lower() else text, scale)
    except (NotANumberError, InvalidOperation):
        raise SuspectError(f"row {number}: {text[:20]!r} is no number") from None
