"""How good probabilities are: proper scores, calibration, and what to compare them with."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from trader_pipelines.core.instruments import UTC_DAYS
from trader_pipelines.core.sessions import days_of

BINS = 10


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of out-of-sample forecasts of "up".

    Parameters
    ----------
    n, days : int
        Rows, and trading days they lie on.
    up_rate : float
        Share of rows that went up.
    brier, brier_base : float
        Mean squared error of the forecast and of the base-rate forecast (Brier 1950).
    skill : float
        Brier skill score ``1 - brier / brier_base``: 0 is no better than the base rate.
    log_loss : float
        Mean negative log likelihood, nats.
    auc : float
        Chance that a row that went up was given more than one that went down; NaN without both.
    ece : float
        Expected calibration error over equal-mass bins (Naeini et al. 2015).
    hit_rate : float
        Share of rows on the side that the forecast took (up from 0.5).
    """

    n: int
    days: int
    up_rate: float
    brier: float
    brier_base: float
    skill: float
    log_loss: float
    auc: float
    ece: float
    hit_rate: float


def score(oos: pl.DataFrame, bins: int = BINS, calendar: str = UTC_DAYS) -> Scores:
    """Scores of a frame of forecasts.

    Parameters
    ----------
    oos : DataFrame
        ``ts`` (Datetime ns UTC), ``up`` (0 or 1), ``p`` (the forecast) and ``base`` (the base-rate
        forecast of the same row, from earlier rows only); at least one row.
    calendar : str
        Whose trading days are counted.
    """
    p, up, base = (oos[name].cast(pl.Float64).to_numpy() for name in ("p", "up", "base"))
    if not p.size:
        raise ValueError("no forecasts to score")
    mine, bases = brier(p, up), brier(base, up)
    return Scores(
        n=p.size,
        days=np.unique(days_of(calendar, oos["ts"].dt.epoch("ns").to_numpy())).size,
        up_rate=float(up.mean()),
        brier=mine,
        brier_base=bases,
        skill=1.0 - mine / bases if bases else 0.0,
        log_loss=log_loss(p, up),
        auc=auc(p, up),
        ece=calibration_error(p, up, bins),
        hit_rate=float(((p >= 0.5) == (up == 1)).mean()),
    )


def score_by_symbol(oos: pl.DataFrame, bins: int = BINS, calendar: str = UTC_DAYS) -> pl.DataFrame:
    """One row of scores a symbol, by symbol.

    Returns
    -------
    DataFrame
        ``symbol`` and the fields of `Scores`.
    """
    parts = {str(key): rows for (key,), rows in oos.group_by("symbol")}
    return pl.DataFrame(
        [{"symbol": key, **_fields(score(parts[key], bins, calendar))} for key in sorted(parts)]
    )


def _fields(scores: Scores) -> dict[str, float]:
    return {name: getattr(scores, name) for name in Scores.__slots__}


def brier(p: np.ndarray, up: np.ndarray) -> float:
    """Mean squared error of probabilities, in [0, 1]; a coin scores 0.25."""
    return float(np.mean((p - up) ** 2))


def log_loss(p: np.ndarray, up: np.ndarray) -> float:
    """Mean negative log likelihood, nats; certainty is clipped to the float's precision."""
    eps = np.finfo(np.float64).eps
    clipped = np.clip(p, eps, 1.0 - eps)
    return float(-np.mean(np.where(up == 1, np.log(clipped), np.log1p(-clipped))))


def auc(p: np.ndarray, up: np.ndarray) -> float:
    """Area under the ROC curve by mean ranks (Mann-Whitney); NaN when all rows went one way."""
    ups = float(np.sum(up))
    downs = up.size - ups
    if not ups or not downs:
        return float("nan")
    ranks = pl.Series(p).rank("average").to_numpy()
    return float((ranks[up == 1].sum() - ups * (ups + 1.0) / 2.0) / (ups * downs))


def reliability(p: np.ndarray, up: np.ndarray, bins: int = BINS) -> pl.DataFrame:
    """Forecast against frequency, for a calibration picture.

    Bins hold equal numbers of rows as far as ties allow: equal forecasts share a bin, so the table
    does not depend on the order of rows.

    Parameters
    ----------
    p, up : ndarray, shape (n,)
        Forecasts, and 1.0 or 0.0.
    bins : int
        Bins at most.

    Returns
    -------
    DataFrame
        ``bin`` (from 0), ``n, p_low, p_high, p_mean, up_rate``, ascending.
    """
    edges = np.unique(np.quantile(p, np.arange(1, bins) / bins, method="inverted_cdf"))
    _, at = np.unique(np.searchsorted(edges, p, side="left"), return_inverse=True)
    n = np.bincount(at)
    low, high = np.full(n.size, np.inf), np.full(n.size, -np.inf)
    np.minimum.at(low, at, p)
    np.maximum.at(high, at, p)
    return pl.DataFrame(
        {
            "bin": np.arange(n.size),
            "n": n,
            "p_low": low,
            "p_high": high,
            "p_mean": np.bincount(at, p) / n,
            "up_rate": np.bincount(at, up) / n,
        }
    )


def calibration_error(p: np.ndarray, up: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: mean distance of forecast and frequency over `reliability`."""
    table = reliability(p, up, bins)
    gaps = (table["p_mean"] - table["up_rate"]).abs()
    return float((gaps * table["n"]).sum() / p.size)
