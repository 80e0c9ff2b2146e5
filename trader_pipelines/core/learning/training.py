"""The candidate: boosted trees, calibrated and judged on walk-forward forecasts only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.instruments import UTC_DAYS
from trader_pipelines.core.learning.dataset import snapshot_hash
from trader_pipelines.core.learning.model import (
    DEFAULTS,
    Model,
    Params,
    logit,
    matrix,
    model_version,
    sigmoid,
)
from trader_pipelines.core.learning.scores import Scores, score
from trader_pipelines.core.learning.splits import Fold, nanoseconds, settled, walk_forward
from trader_pipelines.core.sessions import days_of

#: Below this many trading days nothing is trained at all.
MIN_DAYS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A model that asks for promotion, with the forecasts that speak for it.

    Parameters
    ----------
    model : Model
        Trained on every row.
    oos : DataFrame
        ``ts, symbol, up, p, base, fold``: forecasts by models that knew earlier days only, and the
        up rate of the rows they knew; sorted by (ts, symbol).
    scores : Scores
        Of `oos`.
    """

    model: Model
    oos: pl.DataFrame
    scores: Scores


def train_candidate(
    frame: pl.DataFrame,
    feature_names: Sequence[str],
    params: Params = DEFAULTS,
    *,
    feature_version: str,
    synthetic: bool,
    calendar: str = UTC_DAYS,
    threads: int = 1,
) -> Candidate:
    """Train on every row, and judge by walk-forward what such a model is worth.

    Each test block is forecast by trees of the settled past, calibrated on the settled forecasts of
    earlier blocks. The first block has none before it, so it calibrates and is not scored.

    Parameters
    ----------
    frame : DataFrame
        As `training_set` returns it.
    feature_names : sequence of str
        Columns to learn from.
    params : Params
    feature_version : str
        Version of the code that made the features.
    synthetic : bool
        Whether any row is synthetic.
    calendar : str
        Whose trading days the folds are made of.
    threads : int
        Threads to fit with; the result does not depend on them. Two save a third of the time on
        idle cores and cost several times as much on busy ones: OpenMP's threads spin.

    Raises
    ------
    MissingDataError
        Fewer than `MIN_DAYS` days, a fold without rows, or outcomes that all went one way.
    """
    names = tuple(feature_names)
    days = np.unique(days_of(calendar, nanoseconds(frame["ts"]))).size
    if days < MIN_DAYS:
        raise MissingDataError(
            f"{days} days of training rows are too few: a walk-forward needs {MIN_DAYS}",
            where=f"training set of {frame.height} rows",
            remedy=f"materialize features and labels of at least {MIN_DAYS} days",
        )
    min_train = max(2, int(days * params.train_share))
    folds = walk_forward(
        frame["ts"],
        frame["ts_exit"],
        min(params.folds + 1, days - min_train),
        timedelta(minutes=params.embargo_minutes),
        min_train,
        calendar,
    )
    x, up = matrix(frame, names), frame["up"].to_numpy().astype(np.int8)
    with _threads(threads):
        raw = _forecast_folds(x, up, folds, params)
        oos = _calibrated(frame, folds, raw, params)
        classifier, offset = _fit(x, up, np.arange(frame.height), params)
    base = float(up.mean())
    slope = calibration_slope(*raw.columns(slice(None)))
    snapshot = snapshot_hash(frame, names)
    exits, starts = nanoseconds(frame["ts_exit"]), nanoseconds(frame["ts"])
    model = Model(
        version=model_version(snapshot, params, feature_version),
        classifier=classifier,
        intercept=float(logit(base)) - slope * offset,
        slope=slope,
        base=base,
        feature_names=names,
        feature_version=feature_version,
        snapshot=snapshot,
        synthetic=synthetic,
        trained_from=_datetime(int(starts.min())),
        trained_until=_datetime(int(np.maximum(starts, exits).max())),
        rows=frame.height,
        params=params,
    )
    return Candidate(model, oos, score(oos, calendar=calendar))


@dataclass(frozen=True, slots=True, eq=False)
class _Raw:
    """Forecasts of the test blocks before calibration, by row of the frame; NaN where untested."""

    lift: np.ndarray  # log-odds above those of the rows trained on
    base: np.ndarray  # up rate of the settled rows before the block
    up: np.ndarray

    def columns(self, rows: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tested = ~np.isnan(self.lift[rows])
        return self.lift[rows][tested], self.base[rows][tested], self.up[rows][tested]


def _forecast_folds(x: np.ndarray, up: np.ndarray, folds: Sequence[Fold], params: Params) -> _Raw:
    lift, base = np.full(up.size, np.nan), np.full(up.size, np.nan)
    for fold in folds:
        classifier, offset = _fit(x, up, fold.train, params)
        lift[fold.test] = classifier.decision_function(x[fold.test]) - offset
        base[fold.test] = up[fold.train].mean()
    return _Raw(lift, base, up)


def _calibrated(
    frame: pl.DataFrame, folds: Sequence[Fold], raw: _Raw, params: Params
) -> pl.DataFrame:
    start, known = nanoseconds(frame["ts"]), nanoseconds(frame["ts_exit"])
    embargo = timedelta(minutes=params.embargo_minutes)
    parts = []
    for number, fold in enumerate(folds[1:], start=1):
        # The forecasts that calibrate are purged like rows that train: their outcomes must be over.
        slope = calibration_slope(*raw.columns(settled(start, known, fold.test_start, embargo)))
        base = raw.base[fold.test]
        parts.append(
            frame[fold.test].select(
                "ts",
                "symbol",
                "up",
                pl.Series("p", sigmoid(logit(base) + slope * raw.lift[fold.test])),
                pl.Series("base", base),
                pl.lit(number, pl.Int32).alias("fold"),
            )
        )
    return pl.concat(parts).sort("ts", "symbol")


def _fit(x: np.ndarray, up: np.ndarray, rows: np.ndarray, params: Params) -> tuple[Any, float]:
    """Trees on at most `max_train_rows` of the rows, and the log-odds of those drawn."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    if rows.size > params.max_train_rows:
        draw = np.random.default_rng(params.seed)
        rows = np.sort(draw.choice(rows, params.max_train_rows, replace=False))
    rate = float(up[rows].mean())
    if rate in (0.0, 1.0):
        raise MissingDataError(
            f"all {rows.size} labels to learn from went {'up' if rate else 'down'}",
            where="training set",
            remedy="train on more days, or narrow the labels' barriers",
        )
    classifier = HistGradientBoostingClassifier(
        max_iter=params.max_iter,
        max_leaf_nodes=params.max_leaf_nodes,
        max_depth=params.max_depth,
        min_samples_leaf=params.min_samples_leaf,
        max_bins=params.max_bins,
        learning_rate=params.learning_rate,
        l2_regularization=params.l2_regularization,
        max_features=params.max_features,
        early_stopping=False,
        random_state=params.seed,
    )
    classifier.fit(x[rows], up[rows])
    # It remembers how many threads it had, which is no part of what it learned.
    classifier._bin_mapper.n_threads = 1
    return classifier, float(logit(rate))


def calibration_slope(lift: np.ndarray, base: np.ndarray, up: np.ndarray) -> float:
    """Slope of Platt's sigmoid with the intercept held at the base rate, never negative.

    ``logit p = logit(base) + slope * lift`` by maximum a posteriori with a unit normal prior on the
    slope (Platt, Probabilistic outputs for support vector machines, 1999; one parameter as in Guo
    et al., On calibration of modern neural networks, 2017). A free intercept would follow the drift
    of the latest days, and so differ from the base-rate forecast where the features know nothing.
    Where the score points the wrong way the slope is 0 and the forecast is the base rate.
    """
    slope, prior = 0.0, logit(base)
    for _ in range(100):  # Newton on a concave function: about five steps
        p = sigmoid(prior + slope * lift)
        # Sums, not BLAS products: those depend on the number of threads in the last digit.
        gradient = np.sum((up - p) * lift) - slope
        step = float(gradient / (np.sum(p * (1.0 - p) * lift * lift) + 1.0))
        slope += step
        if abs(step) < 1e-12:
            break
    return max(0.0, slope)


def _datetime(ns: int) -> datetime:
    """The moment as Python has it, rounded up: nothing known later may look unseen."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=-(-ns // 1_000))


def _threads(threads: int) -> Any:
    import sklearn.ensemble  # noqa: F401  # loads the OpenMP that is to be limited
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads, user_api="openmp")
