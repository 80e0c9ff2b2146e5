"""Signals: a calibrated probability with its side, horizon, model and provenance."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from trader_pipelines.core.certificates import Status

#: One row a decision, in order of (ts, symbol).
#:
#: ts                  when the decision could be taken: everything it rests on was known
#: probability         of going up, calibrated
#: side                the likelier one: buy or sell
#: edge                probability - 0.5, signed
#: horizon_minutes     how far ahead the probability looks
#: ts_expiry           ts + horizon
#: model_version       names the training snapshot, parameters and code
#: source              where the trades came from
#: synthetic           whether the trades or the model rest on anything no venue ever printed
#: certificate_status  of the day of trades: complete, healed or incomplete
#: feature_version     version of the features' code
SIGNALS = pl.Schema(
    {
        "ts": pl.Datetime("ns", "UTC"),
        "symbol": pl.String(),
        "probability": pl.Float64(),
        "side": pl.String(),
        "edge": pl.Float64(),
        "horizon_minutes": pl.Int32(),
        "ts_expiry": pl.Datetime("ns", "UTC"),
        "model_version": pl.String(),
        "source": pl.String(),
        "synthetic": pl.Boolean(),
        "certificate_status": pl.String(),
        "feature_version": pl.String(),
    }
)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the features of a signal rest on.

    Parameters
    ----------
    source : str
        Where the trades came from, as the certificate says.
    synthetic : bool
        Whether they were never printed by a venue.
    status : Status
        Of the day's certificate.
    feature_version : str
        Version of the features' code.
    """

    source: str
    synthetic: bool
    status: Status
    feature_version: str


def make_signals(
    probabilities: np.ndarray,
    ts: pl.Series,
    *,
    symbol: str,
    horizon_minutes: int,
    model_version: str,
    model_synthetic: bool,
    provenance: Provenance,
) -> pl.DataFrame:
    """Signals of one symbol.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (n,)
        Of going up, in [0, 1].
    ts : Series of Datetime ns UTC, shape (n,)
        When each forecast's features were known.
    symbol : str
    horizon_minutes : int
        Of the labels that the model learned from, positive.
    model_version : str
    model_synthetic : bool
        Whether the model learned from synthetic data. A signal is synthetic when either the model
        or the features are: neither washes the other clean.
    provenance : Provenance

    Returns
    -------
    DataFrame
        Of schema `SIGNALS`, sorted by ``ts``. A probability of exactly 0.5 says buy, edge 0.

    Raises
    ------
    ValueError
        Lengths differ, a probability lies outside [0, 1] or is NaN, or the horizon is not positive.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.shape != (ts.len(),):
        raise ValueError(f"{p.shape} probabilities for {ts.len()} moments")
    wrong = np.flatnonzero(~((p >= 0.0) & (p <= 1.0)))
    if wrong.size:
        raise ValueError(f"probability {p[wrong[0]]} of {symbol} in row {wrong[0]}")
    if horizon_minutes <= 0:
        raise ValueError(f"horizon of {horizon_minutes} minutes")
    probability = pl.col("probability")
    return (
        pl.DataFrame({"ts": ts, "probability": p})
        .sort("ts", maintain_order=True)
        .select(
            "ts",
            pl.lit(symbol).alias("symbol"),
            probability,
            pl.when(probability >= 0.5).then(pl.lit("buy")).otherwise(pl.lit("sell")).alias("side"),
            (probability - 0.5).alias("edge"),
            pl.lit(horizon_minutes, pl.Int32).alias("horizon_minutes"),
            (pl.col("ts") + pl.duration(minutes=horizon_minutes)).alias("ts_expiry"),
            pl.lit(model_version).alias("model_version"),
            pl.lit(provenance.source).alias("source"),
            pl.lit(provenance.synthetic or model_synthetic).alias("synthetic"),
            pl.lit(provenance.status.value).alias("certificate_status"),
            pl.lit(provenance.feature_version).alias("feature_version"),
        )
        .cast(SIGNALS)
    )
