"""The gate lets real effects through, chance practically never, and nothing worse than the champion."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from trader_pipelines.core.learning.gate import (
    GateParams,
    daily_gains,
    decide,
    t_needed,
    t_statistic,
)
from trader_pipelines_tests.core.made_rows import utc


def forecasts(
    seed: int, strength: float, *, days: int = 14, rows: int = 600, noise: float = 0.0, drift=0.0
) -> pl.DataFrame:
    """Two symbols; `strength` of log-odds is known to the forecast, `noise` it imagines."""
    rng = np.random.default_rng(seed)
    shape = (days, rows, 2)
    known = strength * rng.normal(size=shape)
    of_day = drift * rng.normal(size=(days, 1, 1))
    up = rng.random(shape) < 1 / (1 + np.exp(-known - of_day))
    p = 1 / (1 + np.exp(-known - noise * rng.normal(size=shape)))
    ts = np.datetime64("2024-01-01", "ns") + (
        np.arange(days)[:, None] * 1_440 + np.arange(rows)
    ) * np.timedelta64(60, "s")
    return pl.DataFrame(
        {
            "ts": utc(np.repeat(ts.ravel(), 2)),
            "symbol": ["A", "B"] * (days * rows),
            "up": up.ravel().astype(np.int8),
            "p": p.ravel(),
            "base": 0.5,
        }
    )


def two_days(p: list[float], up: list[int], base: list[float]) -> pl.DataFrame:
    ts = np.array(["2024-01-02", "2024-01-01", "2024-01-02", "2024-01-01"], "datetime64[ns]")
    return pl.DataFrame(
        {"ts": utc(ts), "symbol": ["A", "A", "B", "B"], "up": up, "p": p, "base": base}
    )


def test_daily_gains_two_days_equal_the_figures_by_hand():
    frame = two_days([0.6, 0.5, 0.7, 0.4], [1, 1, 0, 0], [0.5] * 4)
    # day 1: rows 2 and 4; day 2: rows 1 and 3
    assert daily_gains(frame) == pytest.approx(
        [(0.0 + 0.25 - 0.16) / 2, ((0.25 - 0.16) + (0.25 - 0.49)) / 2], abs=1e-15
    )


def test_t_statistic_of_gains_equals_scipy():
    gains = np.random.default_rng(1).normal(0.3, 1.0, 17)
    assert t_statistic(gains) == pytest.approx(stats.ttest_1samp(gains, 0.0).statistic, abs=1e-12)


def test_t_statistic_degenerate_gains_have_a_sign_or_nothing():
    assert t_statistic(np.full(5, 0.25)) == math.inf
    assert t_statistic(np.full(5, -0.25)) == -math.inf
    assert t_statistic(np.zeros(5)) == 0.0
    assert math.isnan(t_statistic(np.array([0.25])))


@pytest.mark.parametrize("days", [2, 5, 9, 17, 250])
def test_t_needed_at_three_sigmas_is_students_quantile(days: int):
    assert t_needed(days, 3.0) == pytest.approx(stats.t.isf(stats.norm.sf(3.0), days - 1), rel=1e-9)
    assert t_needed(days, 3.0) > 3.0


def test_t_needed_one_day_cannot_be_reached():
    assert t_needed(1, 3.0) == math.inf


def test_decide_known_effect_is_promoted_with_its_figures():
    decision = decide(forecasts(1, 0.14, rows=1_400))
    assert decision.promote
    assert decision.reason.startswith("promoted: Brier 0.24")
    assert "on 14 days" in decision.reason
    assert "\n" not in decision.reason
    checks = decision.checks
    assert checks["days"] == 14
    assert checks["t"] >= checks["t_needed"] > 3.0
    assert checks["skill"] == pytest.approx(1 - checks["brier"] / checks["brier_base"])
    assert 0.002 < checks["skill"] < 0.01


@pytest.mark.parametrize("noise", [0.005, 0.05, 0.2])
def test_decide_two_hundred_seeds_of_noise_promote_none(noise: float):
    promoted = [
        seed for seed in range(200) if decide(forecasts(seed, 0.0, rows=60, noise=noise)).promote
    ]
    assert promoted == []


def test_decide_noise_on_days_that_drift_promotes_none_by_significance_alone():
    alone = GateParams(min_skill=-1.0, max_ece=1.0)
    frames = (forecasts(seed, 0.0, rows=60, noise=0.05, drift=0.5) for seed in range(200))
    assert sum(decide(frame, params=alone).promote for frame in frames) == 0


def test_decide_base_rate_itself_is_kept_back():
    frame = forecasts(1, 0.0).with_columns(p=pl.col("base"))
    decision = decide(frame)
    assert not decision.promote
    assert "t 0.0" in decision.reason


def test_decide_one_lucky_day_is_not_significant():
    frame = forecasts(1, 0.0)
    lucky = pl.col("ts").dt.day() == 3
    p = pl.when(lucky).then(0.2 + 0.6 * pl.col("up")).otherwise("base")
    decision = decide(frame.with_columns(p=p), params=GateParams(max_ece=1.0))
    assert decision.checks["skill"] > 0.05
    assert not decision.promote
    assert decision.reason.startswith("kept back: t 1.0, ")


def test_decide_too_few_days_is_kept_back():
    decision = decide(forecasts(1, 1.0, days=4))
    assert not decision.promote
    assert "4 scored days, 5 needed" in decision.reason


def test_decide_single_day_is_kept_back_without_a_statistic():
    decision = decide(forecasts(1, 1.0, days=1))
    assert not decision.promote
    assert math.isnan(decision.checks["t"])


def test_decide_significant_but_tiny_effect_is_kept_back():
    decision = decide(forecasts(1, 1.0), params=GateParams(min_skill=0.5))
    assert decision.checks["t"] > decision.checks["t_needed"]
    assert not decision.promote
    assert "50.00% needed" in decision.reason


def test_decide_badly_calibrated_effect_is_kept_back():
    frame = forecasts(1, 1.0)
    squeezed = 0.5 + (pl.col("p") - 0.5) * 0.5
    decision = decide(frame.with_columns(p=squeezed))
    assert decision.checks["t"] > decision.checks["t_needed"]
    assert not decision.promote
    assert "calibration error" in decision.reason
    assert "at most 5.00%" in decision.reason


def champion_of(frame: pl.DataFrame, trust: float, days: tuple[int, ...]) -> pl.DataFrame:
    """The candidate's own forecasts drawn towards 0.5 on some days: 1 is as good, 0 knows nothing."""
    mine = frame.filter(pl.col("ts").dt.day().is_in(days))
    return mine.select("ts", "symbol", p=0.5 + (pl.col("p") - 0.5) * trust)


def test_decide_better_than_the_champion_is_promoted_and_says_on_how_many_days():
    frame = forecasts(1, 0.5)
    decision = decide(frame, champion_of(frame, 0.0, (12, 13, 14)).reverse())
    assert decision.promote
    assert decision.reason.endswith("against the champion's 0.25000 on 3 days")
    assert decision.checks["champion_days"] == 3
    assert decision.checks["champion_brier"] == 0.25
    same_rows = frame.filter(pl.col("ts").dt.day() >= 12)
    squares = (same_rows["p"].to_numpy() - same_rows["up"].to_numpy()) ** 2
    assert decision.checks["candidate_brier"] == pytest.approx(squares.mean(), abs=1e-12)


def test_decide_worse_than_the_champion_on_the_same_rows_is_kept_back():
    truth = forecasts(1, 0.5)
    candidate = truth.with_columns(p=0.5 + (pl.col("p") - 0.5) * 0.8)
    assert decide(candidate).promote
    decision = decide(candidate, truth.select("ts", "symbol", "p"))
    assert not decision.promote
    assert decision.reason.startswith("kept back: worse than the champion on the same rows (")


def test_decide_as_good_as_the_champion_is_promoted():
    frame = forecasts(1, 0.5)
    assert decide(frame, frame.select("ts", "symbol", "p")).promote


def test_decide_champion_that_knew_every_row_is_not_replaced():
    frame = forecasts(1, 0.5)
    decision = decide(frame, champion_of(frame, 0.0, ()))
    assert not decision.promote
    assert "0 days the champion was not trained on, 1 needed" in decision.reason
    assert math.isnan(decision.checks["champion_brier"])
