"""Completeness certificates: proof that a symbol's day is whole, or what is missing by name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

import numpy as np
import polars as pl

from trader_pipelines.core.trades import content_hash

#: Inclusive first and last id.
Range = tuple[int, int]

#: How `Certificate.reconciled` ends the name of the minutes that lack trades, see
#: `trader_pipelines.core.reconciliation.KlineReconciliation.told`.
_LACKING = "_lacking"


class Status(StrEnum):
    """How whole a symbol's day is."""

    COMPLETE = "complete"
    HEALED = "healed"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is known of the trades of one symbol and day; equal trades give equal certificates.

    Parameters
    ----------
    venue, symbol, day
        The partition it speaks of.
    status : Status
        `COMPLETE`, `HEALED` (a hole was refilled), or `INCOMPLETE` with `missing` named.
    count, fills : int
        Prints, and the single trades they stand for.
    first_id, last_id : int or None
        None on a day without trades.
    missing : tuple of Range
        Inclusive ranges of ids that should be there and are not, ascending.
    content_hash : str
        Of the trades, see `trader_pipelines.core.trades.content_hash`.
    source : str
        Where the trades came from, for a person.
    synthetic : bool
        True when no venue ever printed them.
    reconciled : mapping
        What it was compared against and what that said: checksum, row count, the venue's bars.
    """

    venue: str
    symbol: str
    day: date
    status: Status
    count: int
    fills: int
    first_id: int | None
    last_id: int | None
    missing: tuple[Range, ...]
    content_hash: str
    source: str
    synthetic: bool
    reconciled: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def missing_count(self) -> int:
        """How many ids are missing."""
        return sum(last - first + 1 for first, last in self.missing)

    def describe_missing(self, most: int = 5) -> str:
        """What is missing, for a person: ``4711``, ``5000-5010`` and how many more ranges.

        Where ids do not count, the minutes in which the venue's own bars count more trades.
        """
        if self.missing or self.status is not Status.INCOMPLETE:
            return describe_ranges(self.missing, most)
        told = [str(said) for name, said in self.reconciled.items() if name.endswith(_LACKING)]
        return f"trades of {', '.join(told)}"


def missing_ranges(ids: np.ndarray) -> tuple[Range, ...]:
    """Holes in a sequence of sequential ids.

    Parameters
    ----------
    ids : ndarray of int64, shape (n,)
        Strictly ascending.

    Returns
    -------
    tuple of Range
        Inclusive ranges strictly between the first and the last id.
    """
    at = np.flatnonzero(np.diff(ids) > 1)
    return tuple((int(ids[i]) + 1, int(ids[i + 1]) - 1) for i in at)


def describe_ranges(ranges: Iterable[Range], most: int = 5) -> str:
    """Ranges as a person writes them; the first `most`, then how many more."""
    listed = [str(a) if a == b else f"{a}-{b}" for a, b in ranges]
    rest = f" and {len(listed) - most} more ranges" if len(listed) > most else ""
    return ", ".join(listed[:most]) + rest


def worst(statuses: Iterable[Status]) -> Status:
    """The status of something built on several days: as weak as the weakest."""
    order = (Status.COMPLETE, Status.HEALED, Status.INCOMPLETE)
    return max(statuses, key=order.index, default=Status.COMPLETE)


def certify(
    trades: pl.DataFrame,
    *,
    venue: str,
    symbol: str,
    day: date,
    source: str,
    synthetic: bool,
    reconciled: Mapping[str, str | int],
    sequential: bool = True,
    void_ids: Sequence[int] = (),
) -> Certificate:
    """Certificate of one symbol's day from the trades as they are stored.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES`, strictly ascending by `id`.
    sequential : bool
        Whether the venue counts ids without gaps, so that a hole in them is a lost trade. Where
        it does not, its own bars prove the day: `reconciled` tells the minutes that lack trades.
    void_ids : sequence of int
        Ids that the venue declared void: a hole made of them is not a loss.
    """
    ids = trades["id"].to_numpy()
    counted = np.union1d(ids, np.asarray(void_ids, dtype=np.int64)) if len(void_ids) else ids
    missing = missing_ranges(counted) if sequential else ()
    unproven = not sequential and any(name.endswith(_LACKING) for name in reconciled)
    return Certificate(
        venue=venue,
        symbol=symbol,
        day=day,
        status=Status.INCOMPLETE if missing or unproven else Status.COMPLETE,
        count=trades.height,
        fills=int(trades["fills"].sum()),
        first_id=int(ids[0]) if ids.size else None,
        last_id=int(ids[-1]) if ids.size else None,
        missing=missing,
        content_hash=content_hash(trades),
        source=source,
        synthetic=synthetic,
        reconciled=dict(reconciled),
    )
