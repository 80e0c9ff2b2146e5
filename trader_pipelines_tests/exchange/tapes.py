"""What the exchange printed: one symbol's trades as exact integers, and cuts of them."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

#: `Tape.update` of a print: valid, cancelled, corrected away, or the correction itself.
VALID, CANCELED, INCORRECT, CORRECTED = 0, 1, 2, 3
UPDATES = ("", "canceled", "incorrect", "corrected")

#: Corrections get numbers of their own, as a consolidated tape gives them.
CORRECTION_OFFSET = 1 << 40


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """One symbol's prints, strictly ascending by `id`; every array has the same length.

    Parameters
    ----------
    venue : str
        ``binance``, ``alpaca`` (US equities) or ``crypto`` (Alpaca crypto).
    symbol : str
        As the venue writes it: ``BTCUSDT``, ``SPY``, ``BTC/USDT``.
    price_dp, size_dp : int
        Decimals of the integers `price` and `size`; the venue's strings carry exactly as many.
    id : int64
        Identity inside the exchange. On Binance the aggregate trade id; on Alpaca twice the row
        number, so that a correction finds room after its original.
    ts : int64
        The venue's clock, nanoseconds since the epoch, never falling.
    side : int64
        The aggressor: 1 buyer, -1 seller, 0 not told.
    first, last : int64
        Raw trade ids that the print stands for (Binance); equal to `id` elsewhere.
    number : int64
        The trade id that Alpaca shows; unique in a day and exchange code only.
    place : int64
        Code point of the exchange letter, 0 where there is none.
    update : int64
        `VALID`, `CANCELED`, `INCORRECT` or `CORRECTED`.
    """

    venue: str
    symbol: str
    price_dp: int
    size_dp: int
    id: Ints
    ts: Ints
    price: Ints
    size: Ints
    side: Ints
    first: Ints
    last: Ints
    number: Ints
    place: Ints
    update: Ints

    def __len__(self) -> int:
        return len(self.id)


COLUMNS = tuple(f.name for f in fields(Tape) if f.type == Ints)


def build(
    venue: str,
    symbol: str,
    *,
    price_dp: int,
    size_dp: int,
    id: Ints,
    ts: Ints,
    price: Ints,
    size: Ints,
    side: Ints,
    first: Ints | None = None,
    last: Ints | None = None,
    number: Ints | None = None,
    place: Ints | None = None,
) -> Tape:
    """Sort by id, drop repeated ids, and fill the columns that a source does not tell."""
    _, order = np.unique(id, return_index=True)
    zeros = np.zeros(len(order), np.int64)

    def column(values: Ints | None, default: Ints) -> Ints:
        return default if values is None else np.asarray(values, np.int64)[order]

    ids = np.asarray(id, np.int64)[order]
    return Tape(
        venue=venue,
        symbol=symbol,
        price_dp=price_dp,
        size_dp=size_dp,
        id=ids,
        ts=np.maximum.accumulate(np.asarray(ts, np.int64)[order]),
        price=np.asarray(price, np.int64)[order],
        size=np.asarray(size, np.int64)[order],
        side=np.asarray(side, np.int64)[order],
        first=column(first, ids),
        last=column(last, ids),
        number=column(number, ids),
        place=column(place, zeros),
        update=zeros,
    )


def take(tape: Tape, rows: Ints | slice | NDArray[np.bool_]) -> Tape:
    """Some rows of a tape, in their order."""
    columns: dict[str, Any] = {name: getattr(tape, name)[rows] for name in COLUMNS}
    return replace(tape, **columns)


def rescale(tape: Tape, price_dp: int, size_dp: int) -> Tape:
    """The same prices and sizes with more decimals."""
    return replace(
        tape,
        price_dp=price_dp,
        size_dp=size_dp,
        price=tape.price * 10 ** (price_dp - tape.price_dp),
        size=tape.size * 10 ** (size_dp - tape.size_dp),
    )


def merge(tapes: Iterable[Tape]) -> dict[tuple[str, str], Tape]:
    """One tape a (venue, symbol), sorted by both; a repeated id counts once."""
    grouped: dict[tuple[str, str], list[Tape]] = {}
    for tape in tapes:
        grouped.setdefault((tape.venue, tape.symbol), []).append(tape)
    merged = {}
    for key, parts in sorted(grouped.items()):
        if len(parts) == 1:
            merged[key] = parts[0]
            continue
        dps = max(p.price_dp for p in parts), max(p.size_dp for p in parts)
        scaled = [rescale(p, *dps) for p in parts]
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(p, name) for p in scaled])
            for name in COLUMNS
            if name != "update"
        }
        merged[key] = build(*key, price_dp=dps[0], size_dp=dps[1], **columns)
    return merged


def packed(
    separate: dict[tuple[str, str], Tape],
) -> tuple[dict[tuple[str, str], Tape], dict[str, Ints]]:
    """All tapes end to end in one array a column, and the same tapes as slices of them."""
    block = {
        name: np.concatenate([getattr(tape, name) for tape in separate.values()] or [[]]).astype(
            np.int64, copy=False
        )
        for name in COLUMNS
    }
    slices, start = {}, 0
    for key, tape in separate.items():
        rows = slice(start, start + len(tape))
        columns: dict[str, Any] = {name: block[name][rows] for name in COLUMNS}
        slices[key] = replace(tape, **columns)
        start = rows.stop
    return slices, block


def aggregate(tape: Tape) -> Tape:
    """Raw trades (their id in `id`) as Binance aggregates them.

    Neighbours with one time, one price and one aggressor become one print. Aggregate ids count
    from half the first raw id: a space of their own, as on the venue.
    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
    """
    if not len(tape):
        return tape
    changed = np.zeros(len(tape), bool)
    changed[0] = True
    for name in ("ts", "price", "side"):
        column = getattr(tape, name)
        changed[1:] |= column[1:] != column[:-1]
    changed[1:] |= np.diff(tape.id) != 1
    starts = np.flatnonzero(changed)
    ends = np.append(starts[1:], len(tape)) - 1
    ids = tape.id[0] // 2 + np.arange(len(starts))
    return replace(
        take(tape, starts),
        id=ids,
        number=ids,
        first=tape.id[starts],
        last=tape.id[ends],
        size=np.add.reduceat(tape.size, starts),
    )


def between(tape: Tape, start: int | None, end: int | None) -> tuple[int, int]:
    """Rows [lo, hi) whose `ts` lies in [start, end], both in nanoseconds, both optional."""
    lo = 0 if start is None else int(np.searchsorted(tape.ts, start, "left"))
    hi = len(tape) if end is None else int(np.searchsorted(tape.ts, end, "right"))
    return lo, max(lo, hi)


def without(tape: Tape, lost: Iterable[tuple[int, int]]) -> Tape:
    """The tape without the ids of some inclusive ranges."""
    keep = np.ones(len(tape), bool)
    for first, last in lost:
        keep[np.searchsorted(tape.id, first, "left") : np.searchsorted(tape.id, last, "right")] = (
            False
        )
    return tape if keep.all() else take(tape, keep)


def shifted(tape: Tape, start: int, nanoseconds: int) -> Tape:
    """A pause: every print at or after `start` comes later, ids go on without a gap."""
    return replace(tape, ts=np.where(tape.ts >= start, tape.ts + nanoseconds, tape.ts))


def revised(tape: Tape, revisions: Iterable[tuple[int, str]]) -> Tape:
    """Cancel or correct prints, given as (id, ``cancel`` or ``correct``).

    A correction marks its original `INCORRECT` and adds a print with the price one cent higher.
    """
    update = tape.update.copy()
    extra = []
    for trade_id, kind in revisions:
        row = int(np.searchsorted(tape.id, trade_id))
        if row == len(tape) or tape.id[row] != trade_id:
            continue
        update[row] = CANCELED if kind == "cancel" else INCORRECT
        if kind == "correct":
            extra.append(row)
    marked = replace(tape, update=update)
    if not extra:
        return marked
    rows = np.asarray(sorted(set(extra)))
    fixed = correction(take(tape, rows))
    order = np.argsort(np.concatenate([marked.id, fixed.id]), kind="stable")
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(marked, name), getattr(fixed, name)])[order]
        for name in COLUMNS
    }
    return replace(marked, **columns)


def correction(originals: Tape) -> Tape:
    """What replaces some prints: the next id, a new number, one cent more."""
    return replace(
        originals,
        id=originals.id + 1,
        number=originals.number + CORRECTION_OFFSET,
        price=originals.price + 10 ** (originals.price_dp - 2),
        update=np.full(len(originals), CORRECTED),
    )


def text(value: int, dp: int) -> str:
    """The venue's decimal string: ``text(1374862, 2)`` is ``13748.62``."""
    if not dp:
        return str(value)
    whole, part = divmod(value, 10**dp)
    return f"{whole}.{part:0{dp}d}"


def number(value: int, dp: int) -> str:
    """The same as a JSON number: no zeros at the end."""
    if not dp:
        return str(value)
    return text(value, dp).rstrip("0").rstrip(".")


def step(values: Ints, dp: int) -> tuple[Ints, int]:
    """The values with as few decimals as they need, and how many that is."""
    while dp and len(values) and not (values % 10).any():
        values, dp = values // 10, dp - 1
    return values, dp


def rounded(value: int, dp: int) -> str:
    """A sum of price times size with the venue's eight decimals."""
    return text(value * 10 ** (8 - dp) if dp <= 8 else value // 10 ** (dp - 8), 8)
