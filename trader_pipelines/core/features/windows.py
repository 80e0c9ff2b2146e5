"""Sums, extremes and z-scores over the last n bars, each window reckoned by itself.

A rolling sum that adds the new and takes off the old keeps a rounding error of every value it ever
saw: after one huge volume, a window of zeros no longer sums to zero. Here nothing is carried, so a
value depends on its n bars alone: the same bits in a backtest of a year and on a live tail.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

Kernel = Callable[[np.ndarray], np.ndarray]


def lag(x: pl.Expr, bars: int) -> pl.Expr:
    """`x` as it was some bars ago; NaN where that is before the first bar."""
    return x.shift(bars, fill_value=float("nan"))


def ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """`part / whole`, and 0 where `whole` is 0: nothing traded, nothing moved.

    A part that is not known yet (NaN) stays so over a whole of 0.
    """
    return pl.when(whole == 0).then(part * 0.0).otherwise(part / whole)


def window_sum(x: pl.Expr, n: int) -> pl.Expr:
    """Sum over the last `n` bars, this one included; NaN before there are as many."""
    return _apply(x, partial(fold, np.add, n=n))


def window_max(x: pl.Expr, n: int) -> pl.Expr:
    """Maximum over the last `n` bars, this one included; NaN before there are as many."""
    return _apply(x, partial(fold, np.maximum, n=n))


def window_min(x: pl.Expr, n: int) -> pl.Expr:
    """Minimum over the last `n` bars, this one included; NaN before there are as many."""
    return _apply(x, partial(fold, np.minimum, n=n))


def window_z(x: pl.Expr, n: int) -> pl.Expr:
    """Standard deviations between `x` and its mean over the last `n` bars; see `zscore`."""
    return _apply(x, partial(zscore, n=n))


def fold(op: np.ufunc, x: np.ndarray, n: int) -> np.ndarray:
    """Join every window of `n` neighbours by `op`, in about ``2 log2(n)`` passes.

    Parameters
    ----------
    op : ufunc
        Associative, of two arguments: add, maximum, minimum.
    x : ndarray of float64, shape (m,)
    n : int
        Window length, positive.

    Returns
    -------
    ndarray of float64, shape (m,)
        At i, ``op`` over ``x[i-n+1 : i+1]``; NaN where i < n - 1. Values are joined in an order
        that depends on `n` only.
    """
    out = np.full(x.size, np.nan)
    if x.size < n:
        return out
    # run[i] joins x[i : i+width], with width a power of two; total[i] joins x[i : i+covered].
    run, width = x, 1
    total, covered = x, 0
    while covered < n:
        if n & width:
            ends = run[covered:]
            total = op(total[: ends.size], ends) if covered else run
            covered += width
        if covered < n:
            run = op(run[:-width], run[width:])
            width *= 2
    out[n - 1 :] = total
    return out


def zscore(x: np.ndarray, n: int) -> np.ndarray:
    """Population z-score of each value in the window of `n` that ends with it.

    Parameters
    ----------
    x : ndarray of float64, shape (m,)
    n : int
        Window length, positive.

    Returns
    -------
    ndarray of float64, shape (m,)
        0 where all values of a window are equal; NaN where i < n - 1. At most ``sqrt(n - 1)`` in
        size.

    Notes
    -----
    Two passes over differences to the window's own last value (Chan, Golub & LeVeque 1983, The
    American Statistician 37(3), 242-247): integers of near-flat windows lose no digit.
    """
    out = np.full(x.size, np.nan)
    rows = x.size - n + 1
    if rows < 1:
        return out
    last = x[n - 1 :]
    mean, variance = np.zeros(rows), np.zeros(rows)
    # Poison tests feed infinities on purpose: they become NaN, which is the answer wanted.
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        differences = [x[k : k + rows] - last for k in range(n)]
        for difference in differences:
            mean += difference
        mean /= n
        for difference in differences:
            variance += (difference - mean) ** 2
        out[n - 1 :] = np.where(variance == 0, 0.0 * mean, -mean / np.sqrt(variance / n))
    return out


def _apply(x: pl.Expr, kernel: Kernel) -> pl.Expr:
    def on_series(values: pl.Series) -> pl.Series:
        return pl.Series(values.name, kernel(values.to_numpy()))

    return x.map_batches(on_series, return_dtype=pl.Float64())
