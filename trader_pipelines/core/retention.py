"""Which symbol-days hot may let go of: by age, by size, never one that is not proven in cold."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

#: Days after its own from which a day may be let go: an exchange's session ends in the next UTC
#: day, and the day after that it is closed and compacted.
CLOSED_AFTER = 2


class Verdict(StrEnum):
    """What becomes of a symbol's day in hot."""

    KEPT = "kept"
    GOES = "goes"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Holding:
    """A symbol's day as it stands in hot, and what there is to prove its copy.

    Parameters
    ----------
    venue, symbol, day
        Which.
    trades, bytes : int
        In hot.
    certified : str or None
        Content hash of its certificate, None without one.
    count : int or None
        Trades that it certifies.
    copied : str or None
        Content hash of the committed cold file, None where there is none.
    reopened : str or None
        Why the day is to be certified anew, None where it is not.
    """

    venue: str
    symbol: str
    day: date
    trades: int
    bytes: int
    certified: str | None
    count: int | None
    copied: str | None
    reopened: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a holding, and why, for a person."""

    holding: Holding
    verdict: Verdict
    why: str


def lacking(one: Holding) -> str | None:
    """Why a symbol's day must stay in hot whatever the limits; None when its copy is committed."""
    if one.certified is None:
        return "it has no certificate"
    if one.reopened is not None:
        return f"it is open again: {one.reopened}"
    if one.copied is None:
        return "it has no committed cold copy"
    if one.copied != one.certified:
        return "its cold copy is of other trades than its certificate"
    if one.trades != one.count:
        return f"hot holds {one.trades} trades, the certificate says {one.count}"
    return None


def decide(
    holdings: Iterable[Holding],
    today: date,
    *,
    days: int | None = None,
    size: int | None = None,
    unproven: Callable[[Holding], str | None] = lacking,
) -> Iterator[Decision]:
    """Say of each symbol's day whether it may go, oldest first; nothing goes without a limit.

    A clock that was set back sees younger days, and lets go of fewer. What would go by age or by
    size and is not proven is refused; the size limit then takes the next one.

    Parameters
    ----------
    today : date
        UTC. Days are counted from it, by the venue's own day and not by when rows were written.
    days : int or None
        Days of more than this age go; None for no limit of age.
    size : int or None
        Bytes that hot may keep: the oldest go until it does; None for no limit of size.
    unproven : callable
        Asked of each that is beyond a limit: why it must stay, None when it may go.

    Yields
    ------
    Decision
        By day, venue and symbol.
    """
    ordered = sorted(holdings, key=lambda one: (one.day, one.venue, one.symbol))
    held = sum(one.bytes for one in ordered)
    for one in ordered:
        age = (today - one.day).days
        too_old = days is not None and age > days
        too_much = size is not None and held > size
        if not (too_old or too_much):
            yield Decision(one, Verdict.KEPT, "within the limits")
        elif age < CLOSED_AFTER:
            yield Decision(one, Verdict.KEPT, "its day is not closed yet")
        elif (why := unproven(one)) is not None:
            yield Decision(one, Verdict.REFUSED, why)
        else:
            old = f"{age} days old, {days} are kept"
            why = old if too_old else f"hot holds {held:,} bytes, {size:,} are kept"
            held -= one.bytes
            yield Decision(one, Verdict.GOES, why)
