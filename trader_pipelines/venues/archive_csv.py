"""Rows of Binance's aggTrades files as trades, or the first that cannot be one, by name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES, utc_day_bounds
from trader_pipelines.venues.archive_table import FETCH_AGAIN, bad_row, read_table

#: A stamp from here on counts microseconds; in milliseconds it would be the year 5138.
_MICROSECONDS_FROM = 10**14
_NS_PER_MS, _NS_PER_US = 1_000_000, 1_000
_INT32_MAX, _INT64_MAX = 2**31 - 1, 2**63 - 1
_BOOLEANS = ("true", "false")


@dataclass(frozen=True, slots=True)
class Rows:
    """What a file held.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES`, ascending by id.
    count : int
        Rows of the file, without its header.
    void_ids : tuple of int
        Ids that Binance declared void: a duplicate once, now price 0, quantity 0, ids -1.
        https://github.com/binance/binance-spot-api-docs/blob/master/CHANGELOG.md#2022-04-12
    """

    trades: pl.DataFrame
    count: int
    void_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Flaw:
    """Rows whose `column` cannot be right, the reason (from its text), and the remedy."""

    column: str
    rows: pl.Series
    why: str | Callable[[str], str]
    remedy: str = FETCH_AGAIN


def parse(csv: bytes, instrument: Instrument, day: date, *, file: str) -> Rows:
    """Turn the text of an aggTrades file into trades.

    Parameters
    ----------
    csv : bytes
        With or without a header line; stamps in milliseconds or microseconds, UTC.
    instrument : Instrument
        Whose scales the exact decimal prices and quantities are stored in.
    day : date
        The UTC day that every stamp must lie in.
    file : str
        What errors call it. They count lines as an editor does, from 1, a header included.

    Raises
    ------
    BadTradeError
        For the first row that cannot be a trade: file, line, column, value.
    DamagedFileError
        When it is not text.
    """
    table, first_line = read_table(csv, file)
    if table.is_empty():
        return Rows(TRADES.to_frame(), 0, ())
    ids, first, last, stamp = (
        table[name].cast(pl.Int64, strict=False)
        for name in ("agg_trade_id", "first_trade_id", "last_trade_id", "transact_time")
    )
    price, price_fits = scaled(table["price"], instrument.price_scale)
    size, size_fits = scaled(table["quantity"], instrument.size_scale)
    fills = last - first + 1
    void = ((price == 0) & (size == 0) & (first == -1) & (last == -1)).fill_null(False)
    unit = _NS_PER_US if (stamp[0] or 0) >= _MICROSECONDS_FROM else _NS_PER_MS
    start, end = (bound // unit for bound in utc_day_bounds(day))
    maker, best = _lower(table["is_buyer_maker"]), _lower(table["is_best_match"])

    _refuse_first(
        [
            _Flaw("agg_trade_id", ids.is_null() | (ids < 0), "is not an id"),
            _Flaw("agg_trade_id", ids == ids.shift(1), "repeats the id of the row before"),
            _Flaw("agg_trade_id", ids < ids.shift(1), "is lower than the id of the row before"),
            *_decimal_flaws("price", price, price_fits, void, f"tick_size {instrument.tick_size}"),
            *_decimal_flaws("quantity", size, size_fits, void, f"lot_size {instrument.lot_size}"),
            _Flaw("first_trade_id", ~void & (first.is_null() | (first < 0)), "is not an id"),
            _Flaw("last_trade_id", ~void & (last.is_null() | (last < 0)), "is not an id"),
            _Flaw("last_trade_id", ~void & (fills < 1), "is lower than first_trade_id"),
            _Flaw("last_trade_id", fills > _INT32_MAX, "is too far from first_trade_id"),
            _Flaw("transact_time", stamp.is_null(), "is not a time stamp"),
            _Flaw(
                "transact_time",
                (stamp >= _MICROSECONDS_FROM) != (unit == _NS_PER_US),
                "is not in the unit of the file's first row (milliseconds or microseconds)",
            ),
            _Flaw(
                "transact_time",
                (stamp < start) | (stamp >= end),
                lambda text: f"is {_utc(int(text) * unit)}, outside {day}",
            ),
            _Flaw("is_buyer_maker", ~maker.is_in(_BOOLEANS), "is neither true nor false"),
            _Flaw("is_best_match", ~best.is_in(_BOOLEANS), "is neither true nor false"),
        ],
        table,
        first_line,
        file,
    )
    trades = pl.DataFrame(
        {
            "id": ids,
            "ts_event": stamp * unit,
            "price": price,
            "size": size,
            "side": 1 - 2 * (maker == "true").cast(pl.Int8),
            "fills": fills,
        }
    ).cast(TRADES)
    return Rows(trades.filter(~void), table.height, tuple(ids.filter(void)))


def scaled(text: pl.Series, scale: int) -> tuple[pl.Series, pl.Series]:
    """Exact ``number * 10**scale`` of plain decimal numbers, without a float on the way.

    Parameters
    ----------
    text : Series of String

    Returns
    -------
    value : Series of Int64
        Null where the text is no plain decimal number, or too large. Digits that the scale does
        not keep are cut off.
    fits : Series of Boolean
        Whether nothing but zeros was cut off.
    """
    if (even := _even(text, scale)) is not None:
        return even
    parts = text.str.splitn(".", 2).struct.unnest()
    whole, tail = parts.to_series(0), parts.to_series(1).fill_null("")
    digits = whole + tail.str.pad_end(scale, "0").str.head(scale)
    # What has no digit of its own got one by the padding.
    value = digits.cast(pl.Int64, strict=False).set(
        text.is_in(("", ".", "+", "-", "+.", "-.")), None
    )
    return value, tail.str.slice(scale).str.strip_chars("0") == ""


def _even(text: pl.Series, scale: int) -> tuple[pl.Series, pl.Series] | None:
    """`scaled` in less than half the time, of a column with equally many decimals in every cell.

    None where one cell has not, or is no such number, or might not fit into 64 bits on the way.
    """
    decimals = text.str.len_bytes() - text.str.find(".", literal=True) - 1
    if not text.len() or decimals.has_nulls() or decimals.min() != decimals.max():
        return None
    digits = text.str.replace(".", "", literal=True).cast(pl.Int64, strict=False)
    if digits.has_nulls() or (digits < 0).any():
        return None
    finer = int(decimals[0]) - scale
    if abs(finer) > 18:
        return None
    step = 10 ** abs(finer)
    if finer >= 0:
        return digits // step, digits % step == 0
    if (digits > _INT64_MAX // step).any():
        return None
    return digits * step, pl.repeat(True, text.len(), eager=True)


def _lower(text: pl.Series) -> pl.Series:
    """Lower case, told quickly where it is what Binance writes."""
    true = text == "True"
    if not (true | (text == "False")).all(ignore_nulls=False):
        return text.str.to_lowercase()
    return pl.select(pl.when(true).then(pl.lit("true")).otherwise(pl.lit("false"))).to_series()


def _decimal_flaws(
    column: str, value: pl.Series, fits: pl.Series, void: pl.Series, step: str
) -> tuple[_Flaw, ...]:
    finer = f"give the instrument a finer {step.partition(' ')[0]} in universe.yaml"
    return (
        _Flaw(column, value.is_null(), _why_no_number),
        _Flaw(column, value < 0, "is negative"),
        _Flaw(column, ~fits, f"has more decimals than {step} keeps", finer),
        _Flaw(column, ~void & (value == 0), "is zero"),
    )


def _why_no_number(text: str) -> str:
    plain = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", text, re.ASCII)
    return "does not fit into 64 bits" if plain else "is not a plain decimal number"


def _utc(nanoseconds: int) -> str:
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1_000)
    except OverflowError:
        return "no date at all"
    return f"{moment:%Y-%m-%d %H:%M:%S.%f} UTC"


def _refuse_first(flaws: list[_Flaw], table: pl.DataFrame, first_line: int, file: str) -> None:
    """Raise for the flaw of the lowest row; of several in it, for the first listed."""
    found = [(flaw.rows.fill_null(False).arg_true()[0], flaw) for flaw in flaws if flaw.rows.any()]
    # A missing field makes a null in every comparison and is named as what it is.
    nulls = ((name, table[name].is_null()) for name in table.columns)
    gone = [(rows.arg_true()[0], _Flaw(name, rows, "")) for name, rows in nulls if rows.any()]
    if not (found or gone):
        return
    row, flaw = min([*gone, *found], key=lambda item: item[0])
    text = table[flaw.column][row]
    if text is None:
        what = f"{flaw.column} is empty or missing"
    else:
        what = f"{flaw.column} {text!r} {flaw.why if isinstance(flaw.why, str) else flaw.why(text)}"
    raise bad_row(what, row + first_line, flaw.column, file, flaw.remedy)
