"""The gate: a candidate is promoted only on evidence that chance and the champion cannot match."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from trader_pipelines.core.instruments import UTC_DAYS
from trader_pipelines.core.learning.scores import brier, score
from trader_pipelines.core.sessions import days_of


@dataclass(frozen=True, slots=True)
class GateParams:
    """What a candidate must show.

    Parameters
    ----------
    sigmas : float
        Least t-statistic of the daily gains over the base rate. It is read as a normal's: with few
        days more is asked, so that chance passes as rarely as `sigmas` say (Student's t).
    min_skill : float
        Least Brier skill score: an effect too small to matter is no effect.
    max_ece : float
        Most expected calibration error.
    min_days : int
        Least days with out-of-sample forecasts.
    min_champion_days : int
        Least days on which the champion can be compared, that is days it was not trained on.
    """

    sigmas: float = 3.0
    min_skill: float = 0.0005
    max_ece: float = 0.05
    min_days: int = 5
    min_champion_days: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to promote, why in one line, and the figures.

    Parameters
    ----------
    promote : bool
    reason : str
        For a person.
    checks : mapping of str to float
        Every figure compared and its limit; NaN where there was nothing to compute.
    """

    promote: bool
    reason: str
    checks: Mapping[str, float]


def decide(
    candidate: pl.DataFrame,
    champion: pl.DataFrame | None = None,
    params: GateParams = GateParams(),
    calendar: str = UTC_DAYS,
) -> Decision:
    """Promote a candidate or keep it back.

    The gain of a day is the base-rate forecast's Brier score less the candidate's, over all
    symbols: rows of a day share the market's moves, so days are what can be counted as independent.
    The mean gain must be significant over days (Diebold and Mariano, Comparing predictive accuracy,
    1995). Where there is a champion, the candidate must not be worse on the same rows.

    Parameters
    ----------
    candidate : DataFrame
        ``ts, symbol, up, p, base``, out of sample.
    champion : DataFrame or None
        ``ts, symbol, p`` for those of the candidate's rows that the champion was not trained on, as
        `unseen_forecasts` gives them; None where there is no champion.
    params : GateParams
    calendar : str
        Whose trading days count.

    Returns
    -------
    Decision
    """
    scores = score(candidate, calendar=calendar)
    gains = daily_gains(candidate, calendar)
    t = t_statistic(gains)
    needed = t_needed(gains.size, params.sigmas)
    checks = {
        "days": float(gains.size),
        "days_needed": float(params.min_days),
        "days_won": float((gains > 0).sum()),
        "brier": scores.brier,
        "brier_base": scores.brier_base,
        "skill": scores.skill,
        "skill_needed": params.min_skill,
        "t": t,
        "t_needed": needed,
        "ece": scores.ece,
        "ece_limit": params.max_ece,
    }
    figures = (
        f"Brier {scores.brier:.5f} against the base rate's {scores.brier_base:.5f}"
        f" (skill {scores.skill:+.2%}) on {gains.size} days, {checks['days_won']:.0f} won"
    )
    objections = []
    if gains.size < params.min_days:
        objections.append(f"{gains.size} scored days, {params.min_days} needed")
    if not scores.skill >= params.min_skill:
        objections.append(f"skill {scores.skill:+.2%}, {params.min_skill:.2%} needed")
    if not t >= needed:
        objections.append(f"t {t:.1f}, {needed:.1f} needed")
    if not scores.ece <= params.max_ece:
        objections.append(f"calibration error {scores.ece:.2%}, at most {params.max_ece:.2%}")
    versus = ""
    if champion is not None:
        shared = _shared(candidate, champion, calendar)
        checks |= shared
        days = int(shared["champion_days"])
        if days < params.min_champion_days:
            objections.append(
                f"{days} days the champion was not trained on, {params.min_champion_days} needed"
            )
        else:
            versus = (
                f"; {shared['candidate_brier']:.5f} against the champion's"
                f" {shared['champion_brier']:.5f} on {days} days"
            )
            if not shared["candidate_brier"] <= shared["champion_brier"]:
                objections.append("worse than the champion on the same rows")
    if objections:
        return Decision(False, f"kept back: {'; '.join(objections)} ({figures}{versus})", checks)
    return Decision(
        True,
        f"promoted: {figures}, t {t:.1f} ({needed:.1f} needed), calibration error"
        f" {scores.ece:.2%}{versus}",
        checks,
    )


def daily_gains(oos: pl.DataFrame, calendar: str = UTC_DAYS) -> np.ndarray:
    """Mean Brier gain over the base rate by trading day, symbols pooled.

    Returns
    -------
    ndarray of float64, shape (days,)
        In order of days; positive where the forecast was better.
    """
    p, up, base = (oos[name].cast(pl.Float64).to_numpy() for name in ("p", "up", "base"))
    _, day = np.unique(_days(oos, calendar), return_inverse=True)
    return np.asarray(np.bincount(day, (base - up) ** 2 - (p - up) ** 2) / np.bincount(day))


def _days(frame: pl.DataFrame, calendar: str) -> np.ndarray:
    return days_of(calendar, frame["ts"].dt.epoch("ns").to_numpy())


def t_statistic(gains: np.ndarray) -> float:
    """Mean over standard error; NaN of fewer than two days, infinite where all days agree."""
    if gains.size < 2:
        return math.nan
    mean, error = float(gains.mean()), float(gains.std(ddof=1)) / math.sqrt(gains.size)
    if error == 0.0:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / error


def t_needed(days: int, sigmas: float) -> float:
    """The t-statistic over `days` that chance exceeds as rarely as a normal exceeds `sigmas`.

    Student's quantile with ``days - 1`` degrees of freedom: 6.6 for 5 days, 3.6 for 17 and
    3 in the limit, at three sigmas. Infinite for fewer than two days.
    """
    from scipy.special import ndtr, stdtrit

    if days < 2:
        return math.inf
    return float(-stdtrit(days - 1, ndtr(-sigmas)))


def _shared(candidate: pl.DataFrame, champion: pl.DataFrame, calendar: str) -> dict[str, float]:
    both = candidate.join(
        champion.select("ts", "symbol", pl.col("p").alias("champion_p")),
        on=["ts", "symbol"],
        how="inner",
        validate="1:1",
        maintain_order="left",
    )
    if not both.height:
        return {"champion_days": 0.0, "candidate_brier": math.nan, "champion_brier": math.nan}
    mine, theirs, up = (
        both[name].cast(pl.Float64).to_numpy() for name in ("p", "champion_p", "up")
    )
    return {
        "champion_days": float(np.unique(_days(both, calendar)).size),
        "candidate_brier": brier(mine, up),
        "champion_brier": brier(theirs, up),
    }
