"""The detector of look-ahead: features must not change when the future is cut off or poisoned."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from trader_pipelines.core.features.compute import feature_values
from trader_pipelines.core.features.feature import Feature
from trader_pipelines.core.features.registry import FEATURES
from trader_pipelines.core.instruments import UTC_DAYS
from trader_pipelines.core.trades import NS_PER_DAY

#: What the future is replaced by: nothing known, absurdly much, the right values in a wrong
#: order, or these in turn, bar by bar, which finds the same in a third of the time.
POISONS = ("missing", "huge", "shuffled", "mixed")

GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Leak:
    """A feature that knew something too early.

    Parameters
    ----------
    feature : str
        Its name.
    found_by : str
        ``prefix``, or one of `POISONS`.
    cut : datetime
        What came after it was cut off or poisoned, UTC (microseconds).
    ts : datetime
        The first moment at or before `cut` at which the value changed, UTC (microseconds).
    rows : int
        At how many moments it changed.
    """

    feature: str
    found_by: str
    cut: datetime
    ts: datetime
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.feature} at {self.ts} changes when what comes after {self.cut} does "
            f"({self.found_by}, rows: {self.rows})"
        )


def audit(
    bars: pl.DataFrame,
    warm_up: pl.DataFrame | None = None,
    features: Sequence[Feature] = FEATURES,
    cuts: Sequence[int] | None = None,
    poisons: Sequence[str] = ("mixed",),
    calendar: str = UTC_DAYS,
) -> list[Leak]:
    """Features that use what was not known yet.

    Two experiments at every cut: features of the bars up to it must equal, bit for bit, the first
    rows of the features of the whole day; and they must not change when all bars after it are
    replaced by garbage.

    Parameters
    ----------
    bars, warm_up : DataFrame
        As for `compute_features`.
    features : sequence of Feature
        Which to audit.
    cuts : sequence of int or None
        How many bars of the day are known at each cut, each from 1 to ``bars.height - 1``; by
        default `daily_cuts`. A leak that shows at few moments takes many cuts to find.
    poisons : sequence of str
        Of `POISONS`.
    calendar : str
        As for `compute_features`.

    Returns
    -------
    list of Leak
        By cut, experiment and feature; empty for a clean registry.
    """
    cuts = daily_cuts(bars) if cuts is None else cuts
    rest = (warm_up, features, calendar)
    truth = feature_values(bars, *rest)
    leaks: list[Leak] = []
    for cut in cuts:
        known = truth.head(cut)
        leaks += _differences("prefix", known, feature_values(bars.head(cut), *rest))
        for kind in poisons:
            poisoned = feature_values(poison(bars, cut, kind), *rest)
            leaks += _differences(kind, known, poisoned.head(cut))
    return leaks


def daily_cuts(bars: pl.DataFrame) -> list[int]:
    """Two cuts, cheap enough for every build: all but the last bar, and one that moves.

    It moves from day to day by the golden section, so that the builds of some weeks cut the day
    nearly everywhere, and the same day always at the same bar.
    """
    if bars.height < 2:
        return []
    day = bars["ts_open"].to_physical()[0] // NS_PER_DAY
    moving = 1 + int(day * GOLDEN % 1 * (bars.height - 1))
    return sorted({moving, bars.height - 1})


def poison(bars: pl.DataFrame, cut: int, kind: str) -> pl.DataFrame:
    """Bars whose first `cut` rows are true and the rest garbage of the same types.

    Parameters
    ----------
    bars : DataFrame
        Of `trader_pipelines.core.bars.bar_schema`.
    cut : int
        How many rows stay as they are.
    kind : str
        One of `POISONS`.

    Returns
    -------
    DataFrame
        As many rows, of the same schema. Stamps stay: that the next minute comes is known.
    """
    future = bars.slice(cut)
    columns = [name for name in bars.columns if name not in {"ts_open", "ts_close"}]
    garbage = {
        "missing": [pl.lit(None, bars.schema[name]).alias(name) for name in columns],
        "huge": [_huge(name, bars.schema[name]) for name in columns],
        # A rotation by about a third leaves no bar in its place and is the same every time.
        "shuffled": [_rotated(name, future.height) for name in columns],
    }
    turn = pl.int_range(pl.len()) % 3
    garbage["mixed"] = [
        pl.when(turn == 0).then(huge).when(turn == 1).then(missing).otherwise(shuffled).alias(name)
        for name, huge, missing, shuffled in zip(
            columns, garbage["huge"], garbage["missing"], garbage["shuffled"], strict=True
        )
    ]
    return pl.concat([bars.head(cut), future.with_columns(garbage[kind])])


def _huge(name: str, dtype: pl.DataType) -> pl.Expr:
    most = 10**20 if dtype.is_decimal() else 1e300 if dtype.is_float() else 2**62
    # Alternating signs, so that a sum over the future does not cancel nor a ratio become 1.
    sign = 1 - 2 * (pl.int_range(pl.len()) % 2)
    return (pl.lit(most).cast(dtype) * sign.cast(dtype)).cast(dtype).alias(name)


def _rotated(name: str, height: int) -> pl.Expr:
    by = height // 3 + 1
    return pl.col(name).gather((pl.int_range(height) + by) % max(height, 1))


def _differences(found_by: str, known: pl.DataFrame, seen: pl.DataFrame) -> list[Leak]:
    leaks = []
    for name in known.columns[1:]:
        changed = np.flatnonzero(_bits(known[name]) != _bits(seen[name]))
        if changed.size:
            ts = known["ts"]
            leaks.append(Leak(name, found_by, ts[-1], ts[int(changed[0])], int(changed.size)))
    return leaks


def _bits(values: pl.Series) -> np.ndarray:
    # Bits, so that equal means equal; but there are many NaN, and all say "not known".
    numbers = values.fill_null(float("nan")).to_numpy()
    return np.where(np.isnan(numbers), np.int64(-1), numbers.view(np.int64))
