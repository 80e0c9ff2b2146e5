"""Ranges and the ledger of ids against plain sets; exact decimals."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines.collector.ledger import LARGEST_JUMP, Ledger
from trader_pipelines.core.ranges import difference, inside, runs, union
from trader_pipelines.venues.stream import nanoseconds, scaled

SETS = st.sets(st.integers(0, 40))


def array(ids: set[int]) -> np.ndarray:
    return np.array(sorted(ids), np.int64)


def members(ranges: list[tuple[int, int]]) -> set[int]:
    assert all(a <= b for a, b in ranges)
    assert all(b + 1 < c for (_, b), (c, _) in pairwise(ranges))
    return {i for a, b in ranges for i in range(a, b + 1)}


@given(SETS, SETS)
def test_ranges_any_sets_the_algebra_is_that_of_sets(one: set[int], two: set[int]) -> None:
    a, b = runs(array(one)), runs(array(two))
    assert members(a) == one
    assert members(union(a, b)) == one | two
    assert members(difference(a, b)) == one - two
    assert set(array(one)[inside(array(one), b)].tolist()) == one & two


@given(st.lists(SETS.filter(bool), min_size=1), st.one_of(st.none(), st.integers(0, 40)))
def test_accept_any_batches_new_and_missing_are_exact(
    batches: list[set[int]], begin: int | None
) -> None:
    ledger = Ledger(begin, begin or 0)
    seen: set[int] = set()
    for batch in batches:
        new = ledger.accept(array(batch))
        assert set(array(batch)[new].tolist()) == batch - seen
        seen |= batch
        low = min(seen if begin is None else seen | {begin})
        high = max(seen if begin is None else seen | {begin - 1})
        assert members(ledger.missing) == set(range(low, high + 1)) - seen
        assert (ledger.first, ledger.after) == (low, high + 1)


def test_doubt_id_of_another_space_is_asked_for_and_refuted() -> None:
    ledger = Ledger()
    ledger.accept(np.arange(10, 20))
    ids = np.array([20, 20 + LARGEST_JUMP], np.int64)
    assert ledger.doubt(ids, np.zeros(2, np.bool_)).tolist() == [True, False]
    assert ledger.open() == [(20 + LARGEST_JUMP, 20 + LARGEST_JUMP)]
    assert ledger.dismiss(ledger.open()[0]) == 1
    assert ledger.open() == []
    assert ledger.missing == []


@pytest.mark.parametrize(
    "text", ["", ".", "1.", "-1", "1e5", "0.000", "1.001", "٣", "9" * 30, "nan"]
)
def test_scaled_not_exact_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"decimal|positive"):
        scaled(text, 2)


@given(st.integers(1, 10**15))
def test_scaled_any_value_is_exact(value: int) -> None:
    assert scaled(f"{value // 10**8}.{value % 10**8:08d}00", 8) == value


def test_nanoseconds_every_unit_is_the_same_moment() -> None:
    moment = 1_704_153_600_123_000_000
    assert {nanoseconds(moment // unit) for unit in (1, 10**3, 10**6)} == {moment}
    with pytest.raises(ValueError, match="no time"):
        nanoseconds(1_704_153_600)
