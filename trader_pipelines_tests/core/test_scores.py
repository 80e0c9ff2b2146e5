"""Scores agree with figures worked out by hand and with scikit-learn's."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from trader_pipelines.core.learning.scores import (
    auc,
    brier,
    calibration_error,
    log_loss,
    reliability,
    score,
    score_by_symbol,
)
from trader_pipelines_tests.core.made_rows import utc


def forecasts(p: list[float], up: list[int], base: float = 0.5, symbols: str = "") -> pl.DataFrame:
    ts = np.datetime64("2024-01-01T12:00", "ns") + np.arange(len(p)) * np.timedelta64(12, "h")
    return pl.DataFrame(
        {
            "ts": utc(ts),
            "symbol": list(symbols or "A" * len(p)),
            "up": pl.Series(up, dtype=pl.Int8),
            "p": p,
            "base": [base] * len(p),
        }
    )


def test_score_four_rows_equals_the_figures_by_hand():
    scores = score(forecasts([0.8, 0.6, 0.4, 0.2], [1, 0, 1, 0]), bins=2)
    assert scores.n == 4
    assert scores.days == 3  # 12:00, 00:00, 12:00, 00:00
    assert scores.up_rate == 0.5
    assert scores.brier == pytest.approx((0.04 + 0.36 + 0.36 + 0.04) / 4, abs=1e-15)
    assert scores.brier_base == 0.25
    assert scores.skill == pytest.approx(1 - 0.2 / 0.25, abs=1e-15)
    assert scores.log_loss == pytest.approx(-(2 * math.log(0.8) + 2 * math.log(0.4)) / 4, abs=1e-15)
    assert scores.auc == 0.75
    assert scores.ece == pytest.approx(0.2, abs=1e-15)  # bins 0.3 and 0.7, each half up
    assert scores.hit_rate == 0.5


def test_score_base_rate_forecast_has_no_skill():
    scores = score(forecasts([0.6] * 5, [1, 1, 1, 0, 0], base=0.6))
    assert scores.skill == 0.0
    assert scores.auc == 0.5
    assert scores.ece == pytest.approx(0.0, abs=1e-15)


def test_score_perfect_base_rate_gives_skill_zero_not_a_division():
    scores = score(forecasts([0.9, 0.9], [1, 1], base=1.0))
    assert scores.skill == 0.0
    assert math.isnan(scores.auc)


def test_score_no_rows_is_refused():
    with pytest.raises(ValueError, match="no forecasts"):
        score(forecasts([0.5], [1])[:0])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), min_size=2, max_size=60))
def test_scores_any_forecasts_with_ties_equal_scikit_learn(rows):
    p = np.array([one for one, _ in rows]) / 12
    up = np.array([one for _, one in rows], dtype=float)
    assert brier(p, up) == pytest.approx(metrics.brier_score_loss(up, p, labels=[0, 1]), abs=1e-12)
    assert log_loss(p, up) == pytest.approx(metrics.log_loss(up, p, labels=[0, 1]), abs=1e-9)
    if 0 < up.sum() < up.size:
        assert auc(p, up) == pytest.approx(metrics.roc_auc_score(up, p), abs=1e-12)
    else:
        assert math.isnan(auc(p, up))


def test_reliability_ten_rows_in_five_bins_equals_the_table_by_hand():
    p = np.array([0.10, 0.12, 0.3, 0.32, 0.5, 0.52, 0.7, 0.72, 0.9, 0.92])
    up = np.array([0, 0, 1, 0, 1, 0, 1, 1, 1, 1.0])
    table = reliability(p, up, bins=5)
    assert table["bin"].to_list() == [0, 1, 2, 3, 4]
    assert table["n"].to_list() == [2, 2, 2, 2, 2]
    assert table["p_low"].to_list() == [0.10, 0.3, 0.5, 0.7, 0.9]
    assert table["p_high"].to_list() == [0.12, 0.32, 0.52, 0.72, 0.92]
    assert table["p_mean"].to_list() == pytest.approx([0.11, 0.31, 0.51, 0.71, 0.91])
    assert table["up_rate"].to_list() == [0.0, 0.5, 0.5, 1.0, 1.0]
    expected = (0.11 + 0.19 + 0.01 + 0.29 + 0.09) / 5
    assert calibration_error(p, up, bins=5) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_constant_forecast_is_its_distance_from_the_frequency():
    up = np.array([1.0] * 30 + [0.0] * 70)
    assert calibration_error(np.full(100, 0.4), up) == pytest.approx(0.1, abs=1e-12)
    assert reliability(np.full(100, 0.4), up).height == 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1)), min_size=1, max_size=60),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_reliability_rows_in_any_order_give_the_same_bins_and_lose_none(rows, bins, random):
    shuffled = random.sample(rows, len(rows))
    tables = [
        reliability(np.array([p for p, _ in one]) / 9, np.array([u for _, u in one]), bins)
        for one in (rows, shuffled)
    ]
    exact = ["bin", "n", "p_low", "p_high", "up_rate"]
    assert tables[0].select(exact).equals(tables[1].select(exact))
    assert tables[0]["n"].sum() == len(rows)
    assert tables[0].height <= bins
    assert (tables[0]["p_high"][:-1] < tables[0]["p_low"][1:]).all()


def test_reliability_distinct_forecasts_fill_bins_equally():
    p = np.random.default_rng(1).permutation(np.linspace(0.3, 0.7, 1_000))
    assert reliability(p, np.zeros(1_000))["n"].to_list() == [100] * 10


def test_score_by_symbol_scores_each_symbol_alone_by_name():
    frame = forecasts([0.8, 0.6, 0.4, 0.2], [1, 0, 1, 0], symbols="BABA")
    table = score_by_symbol(frame)
    assert table["symbol"].to_list() == ["A", "B"]
    assert table["n"].to_list() == [2, 2]
    assert table["up_rate"].to_list() == [0.0, 1.0]
    assert table["brier"].to_list() == pytest.approx([(0.36 + 0.04) / 2, (0.04 + 0.36) / 2])
    assert table["hit_rate"].to_list() == [0.5, 0.5]
