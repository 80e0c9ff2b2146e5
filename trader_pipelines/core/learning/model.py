"""What a model is: parameters, calibrated trees, where they come from, and how to ask them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from trader_pipelines.core.errors import MissingDataError

#: Changes whenever the same data and parameters would give another model.
CODE_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Params:
    """What decides a model, given its data.

    Parameters
    ----------
    folds : int
        Scored test blocks; one more before them only calibrates. Fewer when there are few days.
    train_share : float
        Share of the days that come before the first block.
    embargo_minutes : int
        Kept free between the end of a training label and the test block.
    max_train_rows : int
        Rows a fit learns from at most, drawn at random: minute rows with overlapping labels repeat
        each other, so fewer teach nearly as much.
    max_iter, max_leaf_nodes, max_depth, min_samples_leaf, max_bins : int
        Of the trees: few and small, for effects are weak.
    learning_rate, l2_regularization, max_features : float
        Of the trees.
    seed : int
        Of the draw and of the features that a split may look at.
    """

    folds: int = 4
    train_share: float = 0.25
    embargo_minutes: int = 60
    max_train_rows: int = 100_000
    max_iter: int = 60
    max_leaf_nodes: int = 8
    max_depth: int = 3
    min_samples_leaf: int = 500
    max_bins: int = 64
    learning_rate: float = 0.08
    l2_regularization: float = 10.0
    max_features: float = 0.5
    seed: int = 7


DEFAULTS = Params()


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A fitted model and where it comes from.

    Parameters
    ----------
    version : str
        12 hex digits over snapshot, parameters, feature version and code version.
    classifier : HistGradientBoostingClassifier
        Its raw score is a log-odds.
    intercept, slope : float
        Of the calibration ``logit p = intercept + slope * raw``.
    base : float
        Up rate of the training rows.
    feature_names : tuple of str
        In the order of the classifier's columns.
    feature_version, snapshot : str
        Version of the features' code; `snapshot_hash` of the training set.
    synthetic : bool
        Whether any training row came from a market that no venue ever printed.
    trained_from, trained_until : datetime, UTC
        First moment of the training set, and the moment at which its last label was known.
    rows : int
        Of the training set.
    params : Params
    """

    version: str
    classifier: Any
    intercept: float
    slope: float
    base: float
    feature_names: tuple[str, ...]
    feature_version: str
    snapshot: str
    synthetic: bool
    trained_from: datetime
    trained_until: datetime
    rows: int
    params: Params


def predict(model: Model, features: pl.DataFrame) -> np.ndarray:
    """Calibrated probabilities of "up".

    Parameters
    ----------
    features : DataFrame
        With every column of ``model.feature_names``; others are ignored.

    Returns
    -------
    ndarray of float64, shape (rows,)
        In (0, 1).

    Raises
    ------
    MissingDataError
        A feature of the model is not among the columns.
    """
    missing = [name for name in model.feature_names if name not in features.columns]
    if missing:
        raise MissingDataError(
            f"features that the model was trained on are missing: {', '.join(missing)}",
            where=f"model {model.version}, trained on feature version {model.feature_version}",
            remedy="materialize the features of that version, or train a model on these",
        )
    if not features.height:
        return np.empty(0)
    raw = model.classifier.decision_function(matrix(features, model.feature_names))
    return sigmoid(model.intercept + model.slope * raw)


def unseen_forecasts(model: Model, frame: pl.DataFrame) -> pl.DataFrame:
    """Forecasts of a model for the rows of a training set that came after all it knew.

    Returns
    -------
    DataFrame
        ``ts, symbol, p``; empty when the model knew every row.
    """
    unseen = frame.filter(pl.col("ts") > pl.lit(model.trained_until).dt.cast_time_unit("ns"))
    return unseen.select("ts", "symbol").with_columns(pl.Series("p", predict(model, unseen)))


def model_version(snapshot: str, params: Params, feature_version: str) -> str:
    """12 hex digits that name a model: equal exactly when all that decides it is equal."""
    import sklearn

    parts = {
        "snapshot": snapshot,
        "params": asdict(params),
        "features": feature_version,
        "code": [CODE_VERSION, sklearn.__version__],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def matrix(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Feature columns as float64, shape (rows, names); a missing value is NaN."""
    return frame.select(pl.col(names).cast(pl.Float64).fill_null(float("nan"))).to_numpy()


def logit(p: Any) -> Any:
    """Log-odds of a probability or of an array of them."""
    return np.log(p) - np.log1p(-p)


def sigmoid(log_odds: np.ndarray) -> np.ndarray:
    """Probabilities of log-odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-log_odds)))
