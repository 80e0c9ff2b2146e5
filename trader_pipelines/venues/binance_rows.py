"""Pages of Binance's aggTrades and klines as checked rows; nothing untrue is let through."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import polars as pl

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.reconciliation import KLINES
from trader_pipelines.core.trades import TRADES
from trader_pipelines.venues.asking import SuspectError
from trader_pipelines.venues.decimals import (
    NotANumberError,
    TooFineError,
    nanoseconds,
    scaled,
    too_fine,
)

_INT32_MAX = 2**31 - 1
_MINUTE = 60_000_000_000

#: Binance's archive stamps microseconds from this day on and milliseconds before; so do we, that
#: REST and archive give the same trades. https://github.com/binance/binance-public-data
_MICROSECONDS_FROM = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 10**9


class Print(NamedTuple):
    """One aggregate trade; `first` and `last` are raw trade ids, -1 when it was declared void."""

    id: int
    ts_event: int
    price: int
    size: int
    side: int
    fills: int
    first: int
    last: int


def read_prints(
    answer: Any, instrument: Instrument, *, from_id: int, limit: int, where: str
) -> list[Print]:
    """Rows of an answer, ascending by id, each once.

    Parameters
    ----------
    answer : object
        What the client made of the body. Status 200 is no proof that it is a list of trades.
    from_id : int
        No id may be lower.
    limit : int
        No page may be longer.

    Raises
    ------
    SuspectError
        When a row cannot be a trade of that instrument, one id stands for two different trades, or
        the ids are of two id spaces.
    SettingsError
        When a price or size is finer than the instrument's grid.
    """
    if not isinstance(answer, list):
        raise SuspectError(f"a {type(answer).__name__} where a list of trades belongs")
    by_id: dict[int, Print] = {}
    for number, row in enumerate(answer, 1):
        trade = _print(row, number, instrument, where)
        if by_id.setdefault(trade.id, trade) != trade:
            raise SuspectError(f"row {number}: id {trade.id} stands for two different trades")
    prints = [by_id[i] for i in sorted(by_id)]
    if len(prints) > limit:
        raise SuspectError(f"{len(prints)} rows where {limit} were asked for")
    if prints and prints[0].id < from_id:
        raise SuspectError(f"id {prints[0].id} where {from_id} was asked for")
    check_spaces(prints)
    return prints


def check_spaces(prints: Iterable[Print]) -> None:
    """Refuse ids of two spaces: as many aggregates as raw trades can be missing, and no more.

    Between neighbours every missing aggregate stands for at least one missing raw trade. Where
    aggregate ids jump further than raw ids do, some of them are raw ids.

    Raises
    ------
    SuspectError
    """
    for a, b in pairwise(prints):
        if a.first < 0 or b.first < 0:  # declared void: it stands for no raw trade
            continue
        lacking, raw = b.id - a.id - 1, b.first - a.last - 1
        if lacking > max(raw, 0):
            raise SuspectError(
                f"ids jump by {lacking + 1} after {a.id} where raw trade ids jump by {raw + 1}: "
                "aggregate and raw trade ids are mixed"
            )


def _print(row: Any, number: int, instrument: Instrument, where: str) -> Print:
    if not isinstance(row, dict):
        raise SuspectError(f"row {number} is {str(row)[:20]!r}, no trade")
    try:
        trade_id, first, last, stamp = (_integer(row[key]) for key in ("a", "f", "l", "T"))
        price_text, size_text, maker = row["p"], row["q"], row["m"]
    except KeyError as error:
        raise SuspectError(f"row {number} has no field {error}") from None
    except (TypeError, ValueError):
        raise SuspectError(f"row {number} has an id or stamp that is no integer") from None
    if not (isinstance(price_text, str) and isinstance(size_text, str) and isinstance(maker, bool)):
        raise SuspectError(f"row {number} has a field of a wrong type")
    column, text = "price", price_text
    try:
        price = scaled(text, instrument.price_scale)
        column, text = "size", size_text
        size = scaled(text, instrument.size_scale)
    except TooFineError:
        raise too_fine(instrument, column, text, f"{where}, id {trade_id}") from None
    except NotANumberError:
        raise SuspectError(f"row {number}: {column} {text[:20]!r} is no number") from None
    void = price == 0 and size == 0 and first == -1 and last == -1
    fills = last - first + 1
    if not void and (price <= 0 or size <= 0 or first < 0 or not 1 <= fills <= _INT32_MAX):
        raise SuspectError(f"row {number}: price, size or raw trade ids that no trade can have")
    if trade_id < 0 or stamp <= 0:
        raise SuspectError(f"row {number}: id or stamp that no trade can have")
    ts = as_archived(nanoseconds(stamp))
    return Print(trade_id, ts, price, size, -1 if maker else 1, fills, first, last)


def as_archived(ts: int) -> int:
    """A stamp, nanoseconds, as fine as the archive has it: stream, REST and archive agree."""
    return ts - ts % 1_000_000 if ts < _MICROSECONDS_FROM else ts


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(value)
    return int(value)


#: One row a `Print`, those that Binance declared void as well.
PRINTS = pl.Schema(dict.fromkeys(Print._fields, pl.Int64()))


def table(prints: Sequence[Print]) -> pl.DataFrame:
    """Prints of schema `PRINTS`."""
    return pl.DataFrame(prints, schema=PRINTS, orient="row")


def trades_of(prints: pl.DataFrame) -> pl.DataFrame:
    """Trades of schema `TRADES` out of prints of schema `PRINTS`, without the void ones."""
    return prints.filter(pl.col("first") >= 0).select(TRADES.names()).cast(TRADES)


def frame(prints: Sequence[Print]) -> pl.DataFrame:
    """Trades of schema `TRADES`, without those that Binance declared void."""
    return trades_of(table(prints))


def read_klines(answer: Any, instrument: Instrument, first: int, last: int) -> list[list[int]]:
    """Opening minute (ns), fills, size and bought size of one page of minute klines.

    Raises
    ------
    SuspectError
        When a row is no kline, or not of the time that was asked for.
    """
    if not isinstance(answer, list):
        raise SuspectError(f"a {type(answer).__name__} where a list of klines belongs")
    rows: list[list[int]] = []
    for number, row in enumerate(answer, 1):
        try:
            opened, fills = nanoseconds(_integer(row[0])), _integer(row[8])
            size = scaled(str(row[5]), instrument.size_scale)
            bought = scaled(str(row[9]), instrument.size_scale)
        except (ValueError, TypeError, IndexError, KeyError):
            raise SuspectError(f"row {number} is {str(row)[:20]!r}, no kline") from None
        if not first <= opened <= last or (rows and opened <= rows[-1][0]):
            raise SuspectError(f"row {number} is not of the minutes that were asked for")
        if fills < 0 or bought > size or (fills == 0) != (size == 0):
            raise SuspectError(f"row {number}: count or volumes that no kline can have")
        rows.append([opened, fills, size, bought])
    return rows


def klines_frame(rows: Sequence[Sequence[int]]) -> pl.DataFrame:
    """Klines of schema `KLINES`; the few odd openings of 2017 are counted to their minute."""
    columns = list(zip(*rows, strict=True)) or [()] * 4
    told = pl.DataFrame(
        dict(zip(KLINES, columns, strict=True)), schema=dict.fromkeys(KLINES, pl.Int64)
    )
    return (
        told.with_columns(pl.col("minute") // _MINUTE * _MINUTE)
        .group_by("minute", maintain_order=True)
        .sum()
        .cast(KLINES)
    )
