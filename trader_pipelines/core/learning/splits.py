"""Walk-forward folds: train on the past, purge labels that reach into the test block, embargo."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.instruments import UTC_DAYS
from trader_pipelines.core.sessions import days_of


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Row numbers of one training stretch and of the block of whole days that follows it.

    Parameters
    ----------
    train, test : ndarray of int64
        Row numbers, ascending.
    test_start : int
        First moment of the test block, nanoseconds since the epoch, UTC.
    """

    train: np.ndarray
    test: np.ndarray
    test_start: int


def walk_forward(
    ts: pl.Series,
    ts_exit: pl.Series,
    folds: int,
    embargo: timedelta,
    min_train: int,
    calendar: str = UTC_DAYS,
) -> tuple[Fold, ...]:
    """Folds by time with an expanding training window.

    The first `min_train` trading days only train. The days after them are cut into `folds`
    contiguous blocks of whole days, the larger ones last; each is tested once, by what all earlier
    days know.
    A label is knowledge of its whole span, so a training row is purged unless its label ended more
    than `embargo` before the FIRST moment of the test block (López de Prado, Advances in Financial
    Machine Learning, 2018, section 7.4.1; purging from the first test label's end, or a fixed count
    of rows, leaks).

    Parameters
    ----------
    ts, ts_exit : Series of Datetime ns UTC, shape (n,)
        When a row's features were known and when its label was; in any order.
    folds : int
        Number of test blocks, at least 1.
    embargo : timedelta
        Not negative.
    min_train : int
        Days before the first test block, at least 1.
    calendar : str
        Whose trading days count: a session that crosses midnight UTC is one day.

    Returns
    -------
    tuple of Fold
        In order of time.

    Raises
    ------
    MissingDataError
        Fewer than ``min_train + folds`` days with rows, or a fold that purging leaves empty.
    """
    if folds < 1 or min_train < 1 or embargo < timedelta(0):
        raise ValueError(f"folds={folds}, min_train={min_train}, embargo={embargo}")
    start, known = nanoseconds(ts), nanoseconds(ts_exit)
    day_of = days_of(calendar, start)
    days = np.unique(day_of)
    if days.size < min_train + folds:
        raise MissingDataError(
            f"{days.size} days of rows are too few for {folds} test blocks after {min_train} days",
            where=_stretch(ts),
            remedy=f"train on at least {min_train + folds} days",
        )
    # The larger blocks come last: later folds know more.
    blocks = [block[::-1] for block in np.array_split(days[min_train:][::-1], folds)][::-1]
    made = []
    for block in blocks:
        test = np.flatnonzero((day_of >= block[0]) & (day_of <= block[-1]))
        test_start = int(start[test].min())
        fold = Fold(np.flatnonzero(settled(start, known, test_start, embargo)), test, test_start)
        if not fold.train.size:
            raise MissingDataError(
                f"purging with an embargo of {embargo} leaves no training row before"
                f" {_moment(test_start)}",
                where=_stretch(ts),
                remedy="train on more days, or shorten the embargo or the labels' horizon",
            )
        made.append(fold)
    return tuple(made)


def settled(
    start: np.ndarray, known: np.ndarray, test_start: int, embargo: timedelta
) -> np.ndarray:
    """Which rows were over, label and embargo included, before `test_start`.

    Parameters
    ----------
    start, known : ndarray of int64, shape (n,)
        `ts` and `ts_exit`, nanoseconds.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    margin = embargo // timedelta(microseconds=1) * 1_000
    return np.asarray(np.maximum(start, known) + margin < test_start)


def leaking(fold: Fold, ts: pl.Series, ts_exit: pl.Series, embargo: timedelta) -> np.ndarray:
    """Training rows of a fold, from any splitter, that know something of its test block.

    Returns
    -------
    ndarray of int64
        Row numbers; empty when the fold is sound.
    """
    start, known = nanoseconds(ts), nanoseconds(ts_exit)
    first = int(start[fold.test].min())
    sound = settled(start[fold.train], known[fold.train], first, embargo)
    return np.asarray(fold.train[~sound])


def nanoseconds(ts: pl.Series) -> np.ndarray:
    """A Datetime column as int64 nanoseconds since the epoch, shape (n,)."""
    return np.asarray(ts.dt.epoch("ns").to_numpy())


def _stretch(ts: pl.Series) -> str:
    if not ts.len():
        return "training set without rows"
    start = nanoseconds(ts)
    return (
        f"training set of {ts.len()} rows,"
        f" {_moment(int(start.min()))} to {_moment(int(start.max()))}"
    )


def _moment(ns: int) -> str:
    return f"{np.datetime64(ns, 'ns').astype('datetime64[s]')}Z"
