"""Healing: what another source has of a day's missing ids, merged in and certified anew."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from trader_pipelines.core.certificates import (
    Certificate,
    Range,
    Status,
    certify,
    describe_ranges,
    missing_ranges,
)
from trader_pipelines.core.errors import BadTradeError
from trader_pipelines.core.ranges import difference, inside, runs, union
from trader_pipelines.core.trades import TRADES, content_hash

#: Keys of `Certificate.reconciled` that healing adds, and that outlive another ingest.
_FROM = "healed_from "
_VOID = "healed_void_ids"
_KEPT = "healed_kept"
_JOINED = "joined_from"
_RESTATED = "restated"

#: What a day's comparison of two sources adds; it speaks of these very trades.
COMPARED = "compared_"

_SAID = "; healed from "


@dataclass(frozen=True, slots=True)
class Found:
    """What a source had of the ids that it was asked for.

    Parameters
    ----------
    source : str
        Who was asked, in a word: ``rest``, ``archive``.
    trades : DataFrame
        Of schema `TRADES`, strictly ascending by `id`.
    void_ids : tuple of int
        Ids that the venue declared void.
    """

    source: str
    trades: pl.DataFrame
    void_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Merged:
    """A fetched day and what was stored of it before.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES`, ascending by `id`.
    kept : int
        Stored trades that the fetch lacks.
    restated : int
        Ids that the fetch tells other values of.
    """

    trades: pl.DataFrame
    kept: int
    restated: int


def merge(fetched: pl.DataFrame, stored: pl.DataFrame, void_ids: Sequence[int] = ()) -> Merged:
    """A fetched day over what was stored: the venue's new word wins, nothing that it lacks goes.

    Parameters
    ----------
    fetched, stored : DataFrame
        Of schema `TRADES`, of the same symbol and day, ascending by `id`.
    void_ids : sequence of int
        Ids that the venue declares void now: they go, if they were stored.
    """
    if stored.is_empty() or fetched.equals(stored):
        return Merged(fetched, 0, 0)
    void = pl.Series("void", void_ids, pl.Int64)
    kept = stored.join(fetched, on="id", how="anti").filter(~pl.col("id").is_in(void.implode()))
    same = fetched.join(stored, on=TRADES.names(), how="semi").height
    common = stored.join(fetched, on="id", how="semi").height
    trades = pl.concat([fetched, kept]).sort("id") if kept.height else fetched
    return Merged(trades, kept.height, common - same)


def certify_merged(
    merged: Merged,
    before: Certificate | None,
    stored: pl.DataFrame,
    *,
    venue: str,
    symbol: str,
    day: date,
    source: str,
    reconciled: Mapping[str, str | int],
    void_ids: Sequence[int] = (),
) -> Certificate:
    """Certificate of a day of sequential ids that was fetched again, what healing found included.

    The same fetch over what it left behind gives the same certificate.

    Parameters
    ----------
    before : Certificate or None
        Of the day as it was stored, None where it had none.
    stored : DataFrame
        The trades of the day as they were stored.
    source, reconciled, void_ids
        Of the fetch.
    """
    told: dict[str, str | int] = dict(reconciled)
    void = runs(np.unique(np.asarray(void_ids, np.int64)))
    outside: list[Range] = []
    if before is not None:
        void = union(void, voids(stored, before))
        outside = _outside(before.missing, merged.trades)
        carried = {name: value for name, value in before.reconciled.items() if _outlives(name)}
        if content_hash(merged.trades) == before.content_hash:
            carried |= {k: v for k, v in before.reconciled.items() if k.startswith(COMPARED)}
        if not merged.kept:
            carried = {k: v for k, v in carried.items() if not k.startswith(_FROM)}
        told |= carried
    restated = merged.restated + int(told.get(_RESTATED, 0))
    if restated:
        told[_RESTATED] = restated
    told.pop(_KEPT, None)
    unexplained = merged.kept - _healed(told)
    if unexplained > 0:
        told[_KEPT] = unexplained
    made = certify(
        merged.trades,
        venue=venue,
        symbol=symbol,
        day=day,
        source=_sources(source, told),
        synthetic=False,
        reconciled=told,
    )
    ids = merged.trades["id"].to_numpy()
    missing = difference(union(made.missing, outside), union(void, runs(ids)))
    healed = merged.kept or _VOID in told
    whole = Status.HEALED if healed else Status.COMPLETE
    return replace(made, missing=tuple(missing), status=Status.INCOMPLETE if missing else whole)


def heal(
    trades: pl.DataFrame,
    certificate: Certificate,
    found: Sequence[Found],
    *,
    bounds: tuple[int, int],
    missing: Iterable[Range] | None = None,
    joined_from: int | None = None,
) -> tuple[pl.DataFrame, Certificate]:
    """Merge what sources had of a day's missing ids, and certify the day anew.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES`, ascending by `id`: the day as it is stored.
    certificate : Certificate
        Of that day.
    found : sequence of Found
        What was found, in the order in which the sources were asked.
    bounds : (int, int)
        First nanosecond of the day, and the first one after it.
    missing : iterable of Range, optional
        What was missing and is named if it stays so, in place of what the certificate names: ids
        between this day and a neighbour belong to either.
    joined_from : int, optional
        The first id after those of the day before: each one from there on is accounted for.

    Returns
    -------
    DataFrame, Certificate
        The day afterwards. `HEALED` when nothing is missing any more.

    Raises
    ------
    BadTradeError
        When a source gave what was not missing, contradicts what is stored or another source, or
        gave a trade of another day; nothing of it may be stored.
    """
    missing = union(certificate.missing if missing is None else missing)
    # A live collector may have brought some since the day was certified.
    missing = difference(missing, runs(trades["id"].to_numpy()))
    told: dict[str, str | int] = dict(certificate.reconciled)
    for one in found:
        new = accepted(one, trades, missing, certificate, bounds)
        void = runs(np.unique(np.asarray(one.void_ids, np.int64)))
        closed = sum(b - a + 1 for a, b in missing) - new.height
        missing = difference(missing, union(runs(new["id"].to_numpy()), void))
        closed -= sum(b - a + 1 for a, b in missing)
        trades = pl.concat([trades, new]).sort("id") if new.height else trades
        for name, count in ((f"{_FROM}{one.source}", new.height), (_VOID, closed)):
            if count:
                told[name] = int(told.get(name, 0)) + count
    hashed = content_hash(trades)
    if hashed != certificate.content_hash:
        told = {name: value for name, value in told.items() if not name.startswith(COMPARED)}
    if joined_from is not None:
        told[_JOINED] = min(joined_from, int(told.get(_JOINED, joined_from)))
    base = certificate.source.partition(_SAID)[0]
    status = Status.INCOMPLETE if missing else certificate.status
    if not missing and (status is Status.INCOMPLETE or _healed(told) or _VOID in told):
        status = Status.HEALED
    ids = trades["id"]
    return trades, replace(
        certificate,
        status=status,
        count=trades.height,
        fills=int(trades["fills"].sum()),
        first_id=ids[0] if trades.height else None,
        last_id=ids[-1] if trades.height else None,
        missing=tuple(missing),
        content_hash=hashed,
        source=_sources(base, told),
        reconciled=told,
    )


def gap_between(before: Certificate, after: Certificate) -> Range | None:
    """Ids between two days that follow one another that neither of them has or names as missing.

    Days without any id say nothing of their neighbours.
    """
    ends, begins = span(before), span(after)
    if ends is None or begins is None:
        return None
    first, last = ends[1] + 1, begins[0] - 1
    joined = after.reconciled.get(_JOINED)
    if isinstance(joined, int) and joined <= last:
        last = joined - 1
    return (first, last) if first <= last else None


def between(before: Certificate, after: Certificate) -> list[Range]:
    """Ids that belong to either of two days that follow one another, and that neither has.

    Those that the later day names as missing before its first trade, and those that nobody names.
    """
    gap = gap_between(before, after)
    first = after.first_id
    named = [one for one in after.missing if first is None or one[1] < first]
    return union(named, [gap] if gap else [])


def span(certificate: Certificate) -> Range | None:
    """The first and the last id that a certificate speaks of, missing ones included."""
    ids = [certificate.first_id, certificate.last_id]
    ids += [end for one in certificate.missing for end in one]
    known = [one for one in ids if one is not None]
    return (min(known), max(known)) if known else None


def voids(stored: pl.DataFrame, certificate: Certificate) -> list[Range]:
    """Ids of which a certificate knows that the venue declared them void.

    They are neither stored nor named as missing, and lie between the first and the last one.
    """
    if certificate.first_id is None or certificate.last_id is None:
        return []
    within = stored.filter(pl.col("id").is_between(certificate.first_id, certificate.last_id))
    return difference(missing_ranges(within["id"].to_numpy()), certificate.missing)


def accepted(
    one: Found,
    trades: pl.DataFrame,
    missing: list[Range],
    certificate: Certificate,
    bounds: tuple[int, int],
) -> pl.DataFrame:
    """The trades that a source gave and that are new.

    Parameters
    ----------
    one : Found
        What it gave.
    trades, certificate
        The day as it is stored, and its certificate.
    missing : list of Range
        What it could have been asked for.
    bounds : (int, int)
        First nanosecond of the day, and the first one after it.

    Raises
    ------
    BadTradeError
        When it contradicts what is known, see `heal`.
    """
    ids = one.trades["id"].to_numpy()
    void = np.asarray(one.void_ids, np.int64)
    stored = trades.filter(pl.col("id").is_in(pl.Series(np.append(ids, void)).implode()))
    if one.trades.schema != TRADES or (ids.size > 1 and (np.diff(ids) <= 0).any()):
        raise _refused(one, certificate, "rows that are not strictly ascending by id")
    if stored.join(one.trades, on=TRADES.names(), how="anti").height:
        raise _refused(one, certificate, "another trade for an id that is stored")
    if np.isin(ids, void).any():
        raise _refused(one, certificate, "a trade for an id that it calls void")
    new = one.trades.join(stored, on="id", how="anti") if stored.height else one.trades
    beyond = new["id"].to_numpy()[~inside(new["id"].to_numpy(), missing)]
    if beyond.size:
        raise _refused(
            one, certificate, f"ids that were not missing: {describe_ranges(runs(beyond))}"
        )
    stamps = new["ts_event"].to_physical().to_numpy()
    if stamps.size and (stamps.min() < bounds[0] or stamps.max() >= bounds[1]):
        raise _refused(one, certificate, "a trade of another day")
    if new.filter((pl.col("price") <= 0) | (pl.col("size") <= 0)).height:
        raise _refused(one, certificate, "a price or size that no trade can have")
    return new


def _refused(one: Found, certificate: Certificate, what: str) -> BadTradeError:
    return BadTradeError(
        f"{one.source} gives {what}",
        where=f"healing of {certificate.symbol} of venue {certificate.venue}, {certificate.day}",
        remedy="nothing of it was stored; look at both sources, or materialize hot_ticks again",
    )


def _outside(missing: Iterable[Range], trades: pl.DataFrame) -> list[Range]:
    """Ranges named as missing before the first or after the last trade."""
    if trades.is_empty():
        return list(missing)
    return difference(missing, [(trades["id"][0], trades["id"][-1])])


def _outlives(name: str) -> bool:
    return name.startswith(_FROM) or name in (_VOID, _JOINED, _RESTATED)


def _healed(told: Mapping[str, str | int]) -> int:
    return sum(int(count) for name, count in told.items() if name.startswith(_FROM))


def _sources(base: str, told: Mapping[str, str | int]) -> str:
    others = [name.removeprefix(_FROM) for name in told if name.startswith(_FROM)]
    return base + (_SAID + " and ".join(others) if others else "")
