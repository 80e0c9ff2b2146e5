"""The training set: features and labels of the same moment, and the hash that names it."""

import hashlib
from collections.abc import Mapping, Sequence

import polars as pl

from trader_pipelines.core.errors import MissingDataError

#: The columns of a training set that are not features: two before them, three after.
KEYS = ("ts", "symbol")
OUTCOMES = ("up", "exit_return", "ts_exit")


def training_set(
    features: Mapping[str, pl.DataFrame], labels: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Features known at a moment beside what happened after it, for several symbols.

    Flat labels (0) are left out. How often nothing is touched depends on volatility, and volatility
    is predictable: with ties in, "up or not" could be forecast on a market whose direction cannot.
    What remains asks one thing only: given a move, which way.

    Parameters
    ----------
    features : mapping of symbol to DataFrame
        ``ts`` (Datetime ns UTC, the moment known, unique) and Float64 features, the same columns
        for every symbol.
    labels : mapping of symbol to DataFrame
        ``ts, label`` (Int8; 1, -1, 0 = flat), ``touched, exit_return`` and ``ts_exit`` (the moment
        at which the label became known, Datetime ns UTC).

    Returns
    -------
    DataFrame
        ``ts, symbol``, the features, ``up`` (Int8, 1 or 0), ``exit_return, ts_exit``; rows that are
        in both, sorted by (ts, symbol).

    Raises
    ------
    MissingDataError
        No symbol at all, or one with features and without labels or the other way round.
    """
    lone = sorted(features.keys() ^ labels.keys())
    if lone or not features:
        raise MissingDataError(
            f"features and labels do not cover the same symbols: {', '.join(lone)}"
            if lone
            else "there are features and labels of no symbol",
            where=f"features of {sorted(features)}, labels of {sorted(labels)}",
            remedy="materialize features and labels of the same symbols and days, then try again",
        )
    return pl.concat(
        _one_symbol(symbol, features[symbol], labels[symbol]) for symbol in sorted(features)
    ).sort(KEYS)


def _one_symbol(symbol: str, features: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    names = [name for name in features.columns if name != "ts"]
    moved = labels.filter(pl.col("label") != 0).select(
        "ts", (pl.col("label") == 1).cast(pl.Int8).alias("up"), "exit_return", "ts_exit"
    )
    joined = features.join(moved, on="ts", how="inner", validate="1:1")
    return joined.select("ts", pl.lit(symbol).alias("symbol"), *names, *OUTCOMES)


def snapshot_hash(frame: pl.DataFrame, feature_names: Sequence[str]) -> str:
    """SHA-256 of what a model learns from, whatever file it lies in.

    Parameters
    ----------
    frame : DataFrame
        As `training_set` returns it: the order of rows counts.
    feature_names : sequence of str
        The features learned from, in the order in which the model takes them.

    Returns
    -------
    str
        Hex digest over the names, the row count and each column's little-endian values. A missing
        value and NaN are the same to a model and hash alike.
    """
    symbols = frame["symbol"].unique().sort().to_list()
    heading = "\0".join([*feature_names, "", *symbols, "", str(frame.height)])
    digest = hashlib.sha256(heading.encode())
    codes = frame["symbol"].cast(pl.Enum(symbols)).to_physical()
    digest.update(codes.to_numpy().astype("<u4").tobytes())
    for name in ("ts", "ts_exit", "up"):
        digest.update(frame[name].to_physical().to_numpy().astype("<i8").tobytes())
    for name in feature_names:
        values = frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        digest.update(values.astype("<f8").tobytes())
    return digest.hexdigest()
