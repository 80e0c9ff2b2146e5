"""Candidates learn what is there, nothing that is not, and never from what they are tested on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.learning.gate import decide
from trader_pipelines.core.learning.model import DEFAULTS, Params, predict
from trader_pipelines.core.learning.training import Candidate, calibration_slope, train_candidate
from trader_pipelines_tests.core.made_rows import made_rows, names

QUICK = replace(DEFAULTS, max_iter=20, min_samples_leaf=100)


def train(frame: pl.DataFrame, params: Params = QUICK, **options: Any) -> Candidate:
    made_of: dict[str, Any] = {"feature_version": "1", "synthetic": True} | options
    return train_candidate(frame, names(frame), params, **made_of)


def test_train_candidate_fourteen_days_scores_the_last_nine_in_four_blocks():
    frame = made_rows(1, 0.5, rows=200)
    made = train(frame)
    assert made.oos.columns == ["ts", "symbol", "up", "p", "base", "fold"]
    scored = frame.filter(pl.col("ts") >= datetime(2024, 1, 6, tzinfo=UTC))
    assert made.oos.select("ts", "symbol", "up").equals(scored.select("ts", "symbol", "up"))
    blocks = made.oos.group_by("fold").agg(pl.col("ts").dt.day().unique().sort()).sort("fold")
    assert blocks["ts"].to_list() == [[6, 7], [8, 9], [10, 11], [12, 13, 14]]
    assert made.scores.n == scored.height
    assert made.scores.days == 9


def test_train_candidate_base_is_the_up_rate_of_settled_rows_only():
    frame = made_rows(2, 0.0, rows=300)
    made = train(frame)
    for number, first in enumerate([6, 8, 10, 12], start=1):
        start = made.oos.filter(fold=number)["ts"].min()
        assert isinstance(start, datetime)
        assert start.day == first
        settled = frame.filter(pl.col("ts_exit") + timedelta(minutes=60) < start)
        bases = made.oos.filter(fold=number)["base"].unique().to_list()
        assert bases == pytest.approx([settled["up"].mean()], abs=1e-15)


def test_train_candidate_later_days_poisoned_changes_no_earlier_forecast():
    frame = made_rows(3, 0.6, rows=200)
    later = pl.col("ts") >= datetime(2024, 1, 10, tzinfo=UTC)
    poisoned = frame.with_columns(
        pl.when(later).then(1e6).otherwise("f0").alias("f0"),
        pl.when(later).then(1 - pl.col("up")).otherwise("up").alias("up"),
    )
    clean, dirty = train(frame).oos, train(poisoned).oos
    before = ~later
    assert clean.filter(before).height == 2 * 4 * 200
    assert clean.filter(before).equals(dirty.filter(before))
    assert not clean.filter(later)["p"].equals(dirty.filter(later)["p"])


def test_train_candidate_labels_that_end_in_the_test_block_teach_it_nothing():
    # One row a day knows its outcome and ends in the next day: were it trained on, or did it
    # calibrate, changing it would change the forecasts of that next day.
    frame = made_rows(4, 0.6, rows=200)
    straddles = pl.col("ts").dt.epoch("s") % 86_400 > 3 * 3_600
    longer = frame.with_columns(
        pl.when(straddles)
        .then(pl.col("ts").dt.offset_by("1d"))
        .otherwise("ts_exit")
        .alias("ts_exit")
    )
    first = pl.col("ts").dt.day() == pl.lit(8)
    eve = straddles & (pl.col("ts").dt.day() == 7)
    changed = longer.with_columns(pl.when(eve).then(1 - pl.col("up")).otherwise("up").alias("up"))
    assert changed["up"].ne(frame["up"]).sum() > 50
    one, other = train(longer).oos, train(changed).oos
    assert one.filter(first).select("p", "base").equals(other.filter(first).select("p", "base"))


def test_train_candidate_twice_in_other_thread_counts_is_equal():
    frame = made_rows(5, 0.3, rows=300)
    one, other = train(frame), train(frame, threads=2)
    assert one.oos.equals(other.oos)
    assert one.model.version == other.model.version
    assert (one.model.intercept, one.model.slope) == (other.model.intercept, other.model.slope)
    assert predict(one.model, frame).tolist() == predict(other.model, frame).tolist()


def test_train_candidate_more_rows_than_the_limit_learns_from_a_draw_of_them():
    frame = made_rows(6, 0.5, rows=300)
    all_rows, some = train(frame), train(frame, replace(QUICK, max_train_rows=1_000))
    assert all_rows.model.version != some.model.version
    assert not all_rows.oos["p"].equals(some.oos["p"])
    assert all_rows.oos["base"].equals(some.oos["base"])
    assert some.model.rows == frame.height
    assert 0.55 < some.scores.auc < all_rows.scores.auc


def test_train_candidate_model_says_what_it_rests_on():
    frame = made_rows(7, 0.3, rows=200, horizon=30)
    model = train(frame, feature_version="9", synthetic=False).model
    assert model.feature_names == ("f0", "f1", "f2", "f3", "f4", "f5")
    assert model.feature_version == "9"
    assert model.synthetic is False
    assert model.trained_from == frame["ts"].min()
    assert model.trained_until == frame["ts_exit"].max()
    assert model.base == frame["up"].mean()
    assert model.rows == frame.height


def test_train_candidate_strong_effect_is_learned_and_calibrated():
    frame = made_rows(8, 1.0)
    made = train(frame)
    truth = 1.0 / (1.0 + np.exp(-frame["f0"].to_numpy()))
    assert np.abs(predict(made.model, frame) - truth).mean() < 0.03
    assert made.scores.ece < 0.02
    assert made.scores.skill > 0.12
    assert decide(made.oos).promote


def test_train_candidate_effect_of_auc_054_on_a_full_month_is_promoted():
    made = train_candidate(
        frame := made_rows(9, 0.14, symbols=4, days=28, features=20),
        names(frame),
        feature_version="1",
        synthetic=True,
    )
    assert frame.height == 156_800
    assert 0.53 < made.scores.auc < 0.55
    assert decide(made.oos).promote


@pytest.mark.parametrize("seed", range(8))
def test_train_candidate_noise_is_never_promoted(seed: int):
    made = train(made_rows(100 + seed, 0.0, rows=400))
    decision = decide(made.oos)
    assert not decision.promote
    assert decision.reason.startswith("kept back: ")
    assert np.abs(made.oos["p"] - made.oos["base"]).max() < 0.1


def test_train_candidate_seven_days_are_trained_but_cannot_be_promoted():
    made = train(made_rows(10, 1.0, days=7, rows=400))
    decision = decide(made.oos)
    assert made.scores.days == 4
    assert made.scores.skill > 0.1
    assert not decision.promote
    assert "4 scored days, 5 needed" in decision.reason


def test_train_candidate_eight_days_of_strong_effect_are_promoted():
    made = train(made_rows(10, 1.0, days=8, rows=400))
    assert made.scores.days == 5
    assert decide(made.oos).promote


def test_train_candidate_five_days_are_enough_to_train():
    made = train(made_rows(11, 0.5, days=5, rows=200))
    assert made.scores.days == 2


def test_train_candidate_four_days_says_how_many_are_needed():
    with pytest.raises(MissingDataError, match=r"4 days .* needs 5"):
        train(made_rows(12, 0.5, days=4, rows=200))


def test_train_candidate_outcomes_all_up_says_so():
    frame = made_rows(13, 0.5, days=6, rows=200).with_columns(up=pl.lit(1, pl.Int8))
    with pytest.raises(MissingDataError, match="labels to learn from went up"):
        train(frame)


def test_calibration_slope_even_base_rate_equals_penalised_logistic_regression():
    rng = np.random.default_rng(1)
    lift = rng.normal(0.0, 0.5, 4_000)
    up = (rng.random(4_000) < 1 / (1 + np.exp(-0.7 * lift))).astype(float)
    reference = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10)
    reference.fit(lift[:, None], up)
    slope = calibration_slope(lift, np.full(4_000, 0.5), up)
    assert slope == pytest.approx(float(reference.coef_[0, 0]), abs=1e-6)


def test_calibration_slope_uneven_base_rate_is_not_mistaken_for_an_effect():
    rng = np.random.default_rng(2)
    lift = rng.normal(0.0, 0.5, 50_000)
    base = np.full(50_000, 0.8)
    up = (rng.random(50_000) < 1 / (1 + np.exp(-(np.log(4.0) + 0.7 * lift)))).astype(float)
    assert calibration_slope(lift, base, up) == pytest.approx(0.7, abs=0.05)


def test_calibration_slope_score_that_points_the_wrong_way_is_not_used():
    lift = np.array([1.0, 1.0, -1.0, -1.0])
    assert calibration_slope(lift, np.full(4, 0.5), np.array([0.0, 0.0, 1.0, 1.0])) == 0.0


def test_calibration_slope_nothing_to_learn_from_is_not_used():
    assert calibration_slope(np.empty(0), np.empty(0), np.empty(0)) == 0.0
