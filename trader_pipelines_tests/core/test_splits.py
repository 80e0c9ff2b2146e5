"""Walk-forward folds never let a training row know anything of the block it is tested on."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.learning.splits import Fold, leaking, nanoseconds, walk_forward
from trader_pipelines.core.trades import NS_PER_DAY
from trader_pipelines_tests.core.made_rows import utc

MINUTE_NS = 60_000_000_000
START = 19_723 * NS_PER_DAY  # 2024-01-01


def series(ns: np.ndarray) -> pl.Series:
    return utc(np.asarray(ns, dtype=np.int64).view("datetime64[ns]"))


def daily(days: int, label_minutes: int = 10) -> tuple[pl.Series, pl.Series]:
    """Three rows a day: at 00:00, 12:00 and 23:55."""
    at = np.array([0, 720, 1_435]) * MINUTE_NS
    ts = (START + np.arange(days)[:, None] * NS_PER_DAY + at).ravel()
    return series(ts), series(ts + label_minutes * MINUTE_NS)


@st.composite
def rows(draw):
    days = draw(st.integers(2, 12))
    gaps = draw(st.lists(st.integers(1, 3), min_size=days, max_size=days))
    starts = START + np.cumsum(gaps) * NS_PER_DAY
    ts = [
        int(start) + draw(st.integers(0, NS_PER_DAY - 1))
        for start in starts
        for _ in range(draw(st.integers(1, 5)))
    ]
    spans = st.one_of(st.integers(0, 2 * NS_PER_DAY), st.just(0))
    exits = [one + draw(spans) for one in ts]
    order = draw(st.permutations(range(len(ts))))
    min_train = draw(st.integers(1, days - 1))
    folds = draw(st.integers(1, days - min_train))
    embargo = timedelta(minutes=draw(st.integers(0, 600)))
    return series(np.array(ts)[order]), series(np.array(exits)[order]), folds, embargo, min_train


@settings(max_examples=150, deadline=None)
@given(rows())
def test_walk_forward_any_rows_train_only_on_what_was_over(made):
    ts, ts_exit, folds, embargo, min_train = made
    start, known = nanoseconds(ts), nanoseconds(ts_exit)
    margin = embargo // timedelta(microseconds=1) * 1_000
    days = np.unique(start // NS_PER_DAY)
    try:
        split = walk_forward(*made)
    except MissingDataError:
        # Only where some possible block has nothing settled before it.
        firsts = [start[start // NS_PER_DAY >= day].min() for day in days[min_train:]]
        assert any((known + margin >= first).all() for first in firsts)
        return
    assert len(split) == folds
    for fold in split:
        first = start[fold.test].min()
        assert fold.test_start == first
        assert (known[fold.train] + margin < first).all()
        assert (start[fold.train] < first).all()
        # Nothing is purged without a reason.
        left_out = np.setdiff1d(np.arange(start.size), fold.train)
        assert (known[left_out] + margin >= first).all()
        assert leaking(fold, ts, ts_exit, embargo).size == 0
    tested = np.concatenate([fold.test for fold in split])
    assert np.unique(tested).size == tested.size
    assert set(tested) == set(np.flatnonzero(start // NS_PER_DAY >= days[min_train]))
    blocks = [np.unique(start[fold.test] // NS_PER_DAY) for fold in split]
    assert np.concatenate(blocks).tolist() == days[min_train:].tolist()


def test_walk_forward_label_ending_at_the_embargo_is_purged_one_nanosecond_before_is_not():
    ts = series(START + np.array([0, 1, 2, NS_PER_DAY]))
    edge = START + NS_PER_DAY - 60 * MINUTE_NS
    ts_exit = series(np.array([edge - 1, edge, edge + 1, START + NS_PER_DAY]))
    (fold,) = walk_forward(ts, ts_exit, 1, timedelta(minutes=60), 1)
    assert fold.train.tolist() == [0]
    assert fold.test.tolist() == [3]


def test_walk_forward_days_that_do_not_divide_make_the_last_blocks_larger():
    ts, ts_exit = daily(15)
    split = walk_forward(ts, ts_exit, 5, timedelta(0), 3)
    assert [fold.test.size // 3 for fold in split] == [2, 2, 2, 3, 3]
    # 23:55 of the day before runs over midnight and is purged each time.
    assert [fold.train.size for fold in split] == [8, 14, 20, 26, 35]


def test_leaking_purged_from_the_end_of_the_first_test_label_names_the_rows():
    ts, ts_exit = daily(6, label_minutes=60)
    (sound,) = walk_forward(ts, ts_exit, 1, timedelta(0), 4)
    start, known = nanoseconds(ts), nanoseconds(ts_exit)
    # The mistake of purging from the first test label's end instead of its start.
    late = known[sound.test].min()
    planted = Fold(
        np.flatnonzero((known < late) & (start < sound.test_start)), sound.test, sound.test_start
    )
    assert leaking(sound, ts, ts_exit, timedelta(0)).tolist() == []
    assert leaking(planted, ts, ts_exit, timedelta(0)).tolist() == [11]


def test_leaking_training_row_of_the_future_is_named():
    ts, ts_exit = daily(6)
    (sound,) = walk_forward(ts[:15], ts_exit[:15], 1, timedelta(0), 4)
    planted = Fold(np.append(sound.train, 16), sound.test, sound.test_start)
    assert leaking(planted, ts, ts_exit, timedelta(0)).tolist() == [16]


def test_leaking_longer_embargo_than_split_with_names_the_rows_between():
    ts, ts_exit = daily(3)
    (fold,) = walk_forward(ts, ts_exit, 1, timedelta(0), 2)
    assert leaking(fold, ts, ts_exit, timedelta(hours=12)).tolist() == [4]


def test_walk_forward_too_few_days_says_how_many():
    with pytest.raises(MissingDataError, match="4 days of rows are too few") as error:
        walk_forward(*daily(4), 3, timedelta(0), 2)
    assert error.value.remedy == "train on at least 5 days"
    assert "2024-01-01T00:00:00Z to 2024-01-04T23:55:00Z" in error.value.where


def test_walk_forward_no_rows_says_so():
    empty = series(np.array([], dtype=np.int64))
    with pytest.raises(MissingDataError, match="0 days") as error:
        walk_forward(empty, empty, 1, timedelta(0), 1)
    assert error.value.where == "training set without rows"


def test_walk_forward_embargo_longer_than_the_past_says_so():
    with pytest.raises(MissingDataError, match="leaves no training row") as error:
        walk_forward(*daily(3), 1, timedelta(days=5), 2)
    assert "2024-01-03T00:00:00Z" in error.value.what


@pytest.mark.parametrize(
    ("folds", "embargo", "min_train"), [(0, 0, 1), (1, -1, 1), (1, 0, 0)], ids=str
)
def test_walk_forward_senseless_arguments_are_refused(folds, embargo, min_train):
    with pytest.raises(ValueError, match=f"folds={folds}"):
        walk_forward(*daily(5), folds, timedelta(minutes=embargo), min_train)
