"""Merging what another source has: each trade once and in order, or named as missing."""

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines.core import healing
from trader_pipelines.core.certificates import Certificate, Range, Status, certify
from trader_pipelines.core.errors import BadTradeError
from trader_pipelines.core.healing import Found
from trader_pipelines.core.ranges import difference
from trader_pipelines.core.trades import TRADES, content_hash, utc_day_bounds

DAY = date(2024, 1, 2)
BOUNDS = utc_day_bounds(DAY)


def day_of(*ids: int, day: date = DAY, price: int = 100) -> pl.DataFrame:
    """Trades of these ids, a second apart."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    rows = {
        "id": list(ids),
        "ts_event": [int(start.timestamp() + i % 80_000) * 10**9 for i in ids],
        "price": [price + i for i in ids],
        "size": [i % 7 + 1 for i in ids],
        "side": [1 if i % 2 else -1 for i in ids],
        "fills": [i % 3 + 1 for i in ids],
    }
    return pl.DataFrame(rows, schema=dict.fromkeys(TRADES, pl.Int64)).cast(TRADES).sort("id")


def certificate_of(trades: pl.DataFrame, void: tuple[int, ...] = (), **more: Any) -> Certificate:
    """The certificate of trades, as an ingest makes it."""
    told = {"venue": "v", "symbol": "S", "day": DAY, "source": "a tape", "reconciled": {"rows": 9}}
    return certify(trades, synthetic=False, void_ids=void, **{**told, **more})


def again(
    fetched: pl.DataFrame,
    stored: pl.DataFrame,
    before: Certificate | None,
    void: tuple[int, ...] = (),
) -> tuple[pl.DataFrame, Certificate]:
    """What an ingest stores and certifies when it fetches a day that is there already."""
    merged = healing.merge(fetched, stored, void)
    told: dict[str, Any] = {"venue": "v", "symbol": "S", "day": DAY, "source": "a tape"}
    return merged.trades, healing.certify_merged(
        merged, before, stored, reconciled={"rows": 9}, void_ids=void, **told
    )


def test_heal_with_all_that_is_missing_is_healed_and_says_from_where() -> None:
    stored = day_of(1, 2, 5, 6, 9)
    lacking = certificate_of(stored)
    assert lacking.missing == ((3, 4), (7, 8))
    found = [Found("rest", day_of(3, 4)), Found("archive", day_of(7, 8))]
    trades, healed = healing.heal(stored, lacking, found, bounds=BOUNDS)
    assert trades.equals(day_of(*range(1, 10)))
    assert (healed.status, healed.missing) == (Status.HEALED, ())
    assert healed.reconciled == {"rows": 9, "healed_from rest": 2, "healed_from archive": 2}
    assert healed.source == "a tape; healed from rest and archive"
    assert (healed.count, healed.fills) == (9, int(trades["fills"].sum()))
    assert healed.content_hash == content_hash(trades)


def test_heal_with_a_part_names_the_rest() -> None:
    stored = day_of(1, 9)
    trades, healed = healing.heal(
        stored, certificate_of(stored), [Found("rest", day_of(2, 5), (3,))], bounds=BOUNDS
    )
    assert trades["id"].to_list() == [1, 2, 5, 9]
    assert (healed.status, healed.missing) == (Status.INCOMPLETE, ((4, 4), (6, 8)))
    assert healed.reconciled["healed_void_ids"] == 1
    # The rest is found later, by another: what the first one gave is not forgotten.
    trades, healed = healing.heal(
        trades, healed, [Found("archive", day_of(4, 6, 7, 8))], bounds=BOUNDS
    )
    assert trades["id"].to_list() == [1, 2, 4, 5, 6, 7, 8, 9]
    assert healed.status is Status.HEALED
    assert healed.reconciled["healed_from rest"] == 2
    assert healed.reconciled["healed_from archive"] == 4


def test_heal_by_void_ids_alone_is_healed_and_stores_nothing() -> None:
    stored = day_of(1, 4)
    trades, healed = healing.heal(
        stored, certificate_of(stored), [Found("archive", day_of(), (2, 3))], bounds=BOUNDS
    )
    assert trades.equals(stored)
    assert (healed.status, healed.missing) == (Status.HEALED, ())


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (Found("rest", day_of(2, price=7)), "another trade for an id that is stored"),
        (Found("rest", day_of(10)), "ids that were not missing: 10"),
        (Found("rest", day_of(3, day=date(2024, 1, 3))), "a trade of another day"),
        (Found("rest", day_of(3), (3,)), "a trade for an id that it calls void"),
        (Found("rest", day_of(3).reverse().vstack(day_of(3))), "strictly ascending"),
        (Found("rest", day_of(3).with_columns(size=pl.lit(0, pl.Int64))), "price or size"),
        (Found("rest", day_of(3).drop("fills")), "strictly ascending"),
    ],
)
def test_heal_with_a_contradiction_is_refused(found: Found, what: str) -> None:
    stored = day_of(1, 2, 5)
    with pytest.raises(BadTradeError, match=what):
        healing.heal(stored, certificate_of(stored), [found], bounds=BOUNDS)


def test_heal_with_a_row_that_came_meanwhile_takes_it_once() -> None:
    # A live collector stored 3 after the certificate was made.
    lacking = certificate_of(day_of(1, 2, 5))
    trades, healed = healing.heal(
        day_of(1, 2, 3, 5), lacking, [Found("rest", day_of(3, 4))], bounds=BOUNDS
    )
    assert trades["id"].to_list() == [1, 2, 3, 4, 5]
    assert healed.status is Status.HEALED


def test_ingest_after_healing_keeps_what_was_found_and_gives_the_same_certificate() -> None:
    holey = day_of(1, 2, 5, 8)
    found = [Found("rest", day_of(3)), Found("archive", day_of(6, 7), (4,))]
    stored, healed = healing.heal(holey, certificate_of(holey), found, bounds=BOUNDS)
    assert healed.status is Status.HEALED
    trades, certificate = again(holey, stored, healed)
    assert trades.equals(stored)
    assert certificate == healed


def test_ingest_that_has_all_at_last_is_complete_and_forgets_the_healing() -> None:
    holey, whole = day_of(1, 3), day_of(1, 2, 3)
    stored, healed = healing.heal(
        holey, certificate_of(holey), [Found("rest", day_of(2))], bounds=BOUNDS
    )
    trades, certificate = again(whole, stored, healed)
    assert trades.equals(whole)
    assert certificate == certificate_of(whole)


def test_ingest_over_rows_of_a_collector_fills_its_own_holes_with_them() -> None:
    trades, certificate = again(day_of(1, 4), day_of(2, 3), None)
    assert trades["id"].to_list() == [1, 2, 3, 4]
    assert certificate.status is Status.HEALED
    assert certificate.reconciled["healed_kept"] == 2
    assert again(day_of(1, 4), trades, certificate)[1] == certificate


def test_ingest_of_other_values_takes_the_venues_new_word_and_counts_them() -> None:
    stored = day_of(1, 2, 3)
    corrected = pl.concat([day_of(1), day_of(2, price=7), day_of(3)])
    trades, certificate = again(corrected, stored, certificate_of(stored))
    assert trades.equals(corrected)
    assert certificate.reconciled["restated"] == 1
    assert certificate.status is Status.COMPLETE
    assert again(corrected, trades, certificate)[1] == certificate


def test_ingest_that_calls_a_stored_id_void_drops_it() -> None:
    stored = day_of(1, 2, 3)
    trades, certificate = again(day_of(1, 3), stored, certificate_of(stored), void=(2,))
    assert trades["id"].to_list() == [1, 3]
    assert (certificate.status, certificate.missing) == (Status.COMPLETE, ())


def test_gap_between_days_is_what_neither_has_or_names() -> None:
    first, second = certificate_of(day_of(1, 2)), certificate_of(day_of(6, 7))
    assert healing.gap_between(first, second) == (3, 5)
    assert healing.gap_between(first, certificate_of(day_of(3, 4))) is None
    assert healing.gap_between(certificate_of(day_of()), second) is None
    # Named by the later day, it is a gap no more, but still to be asked of both.
    _, named = healing.heal(
        day_of(6, 7), second, [], bounds=BOUNDS, missing=[(4, 5)], joined_from=3
    )
    assert (named.status, named.missing) == (Status.INCOMPLETE, ((4, 5),))
    assert healing.gap_between(first, named) is None
    assert healing.between(first, named) == [(4, 5)]
    # 3 was void: what is accounted for once stays so when the rest is found.
    _, found = healing.heal(
        day_of(6, 7), named, [Found("rest", day_of(4, 5))], bounds=BOUNDS, joined_from=4
    )
    assert (found.missing, found.first_id) == ((), 4)
    assert healing.between(first, found) == []


@given(
    ids=st.sets(st.integers(1, 60), min_size=2),
    lost=st.sets(st.integers(1, 60)),
    rest=st.sets(st.integers(1, 60)),
    archive=st.sets(st.integers(1, 60)),
    again_lost=st.sets(st.integers(1, 60)),
)
def test_every_trade_is_there_once_or_named_whatever_the_sources_lack(
    ids: set[int], lost: set[int], rest: set[int], archive: set[int], again_lost: set[int]
) -> None:
    # The venue printed `ids` of a contiguous run; what it never printed is void, and all know it.
    low, high = min(ids), max(ids)
    void = tuple(sorted(set(range(low, high + 1)) - ids))
    kept = sorted((ids - lost) | {low, high})
    stored = day_of(*kept)
    certificate = certificate_of(stored, void)
    wanted: list[Range] = list(certificate.missing)
    found = []
    for name, has in (("rest", rest & ids), ("archive", archive & ids)):
        gives = [i for i in sorted(has) if any(a <= i <= b for a, b in wanted)]
        found.append(Found(name, day_of(*gives)))
        wanted = difference(wanted, [(i, i) for i in gives])
    trades, healed = healing.heal(stored, certificate, found, bounds=BOUNDS)
    there = trades["id"].to_list()
    named = [i for a, b in healed.missing for i in range(a, b + 1)]
    assert there == sorted(set(there))
    assert sorted(there + named) == sorted(ids)
    assert trades.equals(day_of(*there))
    # Whatever a source gives the next time, nothing that was found is lost again.
    fetched = day_of(*sorted((ids - again_lost) | {low, high}))
    then, certified = again(fetched, trades, healed, void)
    named = [i for a, b in certified.missing for i in range(a, b + 1)]
    assert set(then["id"]) == set(there) | set(fetched["id"])
    assert sorted(then["id"].to_list() + named) == sorted(ids)
    assert again(fetched, then, certified, void)[1] == certified
