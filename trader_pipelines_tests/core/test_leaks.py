"""The detector of look-ahead finds planted leaks, and nothing in the registry."""

import itertools
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.features import FEATURES, Feature, audit, feature_values
from trader_pipelines.core.features.leaks import POISONS, daily_cuts, poison
from trader_pipelines.core.features.windows import lag, ratio, window_max, window_sum, window_z
from trader_pipelines.core.trades import NS_PER_DAY
from trader_pipelines_tests.core.made_bars import MIDNIGHT, at, random_bars, walk_bars

NAMES = [feature.name for feature in FEATURES]
CLOSE = pl.col("close")


def planted(expr: pl.Expr, look_back: int = 1) -> Feature:
    return Feature("planted", "a leak", "1", look_back, "a test", expr)


LEAKS = {
    "next_return": (CLOSE.shift(-1) / CLOSE).log(),
    "next_high_within_the_hour": window_max(pl.col("high"), 60).shift(-59) / CLOSE,
    "centred_mean": CLOSE / (window_sum(CLOSE, 5).shift(-2) / 5),
    "centred_z": window_z(CLOSE, 21).shift(-10),
    "z_of_the_day": (CLOSE - CLOSE.mean()) / CLOSE.std(),
    "rank_in_the_day": CLOSE.rank() / pl.len(),
    "share_of_the_days_volume": pl.col("volume").cum_sum() / pl.col("volume").sum(),
    "share_of_the_days_highest": CLOSE / CLOSE.max(),
    "backward_fill": pl.when(pl.col("trades") > 20).then(CLOSE).backward_fill(),
    "bars_still_to_come": pl.len() - pl.int_range(pl.len()).cast(pl.Float64),
    "next_return_where_it_is_finite": (CLOSE.shift(-1) / CLOSE).log().fill_nan(0.0).fill_null(0.0),
    "next_return_in_one_hour_only": pl.when(pl.col("ts_close").dt.hour() == 2)
    .then((CLOSE.shift(-1) / CLOSE).log())
    .otherwise(0.0),
}
FREE_OF_ORDER = {"rank_in_the_day", "share_of_the_days_volume", "share_of_the_days_highest"}
# Leaks that show at some moments only, so that a cut may miss them.
RARE = {"backward_fill", "next_return_in_one_hour_only"}


@pytest.mark.parametrize("name", sorted(LEAKS))
def test_audit_planted_leak_is_found(name: str):
    bars = walk_bars(300)
    leaks = audit(bars, features=[*FEATURES, planted(LEAKS[name])], cuts=[100, 150, 299])
    assert {leak.feature for leak in leaks} == {"planted"}
    assert {leak.found_by for leak in leaks} >= {"prefix"}


@pytest.mark.parametrize("kind", POISONS)
@pytest.mark.parametrize("name", sorted(set(LEAKS) - {"bars_still_to_come"}))
def test_audit_planted_leak_is_found_by_poison_alone(name: str, kind: str):
    bars = walk_bars(300)
    leaks = audit(bars, None, [planted(LEAKS[name])], cuts=[100, 150, 200], poisons=[kind])
    found = {leak.found_by for leak in leaks}
    # A shuffled future has the same ranks, maximum and total as the true one.
    assert (kind in found) is not (kind == "shuffled" and name in FREE_OF_ORDER)


@pytest.mark.parametrize("name", sorted(set(LEAKS) - RARE))
def test_audit_default_cuts_of_a_daily_build_find_the_leak(name: str):
    whole = walk_bars(400)
    leaks = audit(whole[120:], whole[:120], [planted(LEAKS[name])])
    assert {leak.feature for leak in leaks} == {"planted"}


@pytest.mark.parametrize("name", sorted(RARE))
def test_audit_daily_builds_of_three_weeks_find_a_rare_leak(name: str):
    days = [walk_bars(300, seed=day, start=MIDNIGHT + day * NS_PER_DAY) for day in range(21)]
    assert any(audit(bars, None, [planted(LEAKS[name])]) for bars in days)


def test_daily_cuts_move_from_day_to_day_and_stay_for_a_day():
    days = [walk_bars(1440, start=MIDNIGHT + day * NS_PER_DAY) for day in range(30)]
    cuts = [daily_cuts(bars) for bars in days]
    assert all(1 <= moving < last == 1439 for moving, last in cuts)
    moving = sorted(cut[0] for cut in cuts)
    assert max(b - a for a, b in itertools.pairwise([0, *moving, 1440])) < 120
    assert daily_cuts(days[3]) == cuts[3]


def test_audit_leak_says_where_and_how_it_was_found():
    bars = walk_bars(200)
    leaks = audit(bars, None, [planted(LEAKS["next_return"])], cuts=[100])
    assert [leak.found_by for leak in leaks] == ["prefix", "mixed"]
    for leak in leaks:
        assert (leak.feature, leak.cut, leak.ts, leak.rows) == ("planted", at(1, 40), at(1, 40), 1)
    assert str(leaks[0]) == (
        "planted at 2024-01-02 01:40:00+00:00 changes when what comes after "
        "2024-01-02 01:40:00+00:00 does (prefix, rows: 1)"
    )


def test_audit_leak_is_found_where_only_the_warm_up_makes_values_known():
    whole = walk_bars(150)
    leaks = audit(whole[120:], whole[:120], [planted(LEAKS["centred_z"], 21)], cuts=[5])
    assert {leak.ts for leak in leaks} == {at(2, 1)}


def test_audit_a_causal_feature_that_the_registry_lacks_is_clean():
    causal = planted(ratio(CLOSE - lag(CLOSE, 3), window_sum(CLOSE, 7)), 7)
    assert audit(walk_bars(100), None, [causal], cuts=range(1, 100), poisons=POISONS) == []


def test_audit_every_cut_of_a_warm_day_finds_nothing_in_the_registry():
    whole = walk_bars(130)
    assert audit(whole[80:], whole[:80], cuts=range(1, 50), poisons=POISONS) == []


@pytest.mark.parametrize("height", [0, 1, 2])
def test_audit_hardly_any_bars_is_clean(height: int):
    assert audit(walk_bars(height + 1).head(height)) == []


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
@settings(max_examples=8, deadline=None)
@given(bars=random_bars(), cuts=st.sets(st.floats(0.01, 0.99), min_size=1, max_size=4))
def test_audit_random_bars_every_feature_is_clean(
    feature: Feature, bars: pl.DataFrame, cuts: set[float]
):
    rows = sorted({math.ceil(cut * (bars.height - 1)) for cut in cuts})
    assert audit(bars, None, [feature], cuts=rows, poisons=POISONS) == []


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
def test_audit_a_feature_seen_one_bar_early_is_found(feature: Feature):
    early = planted(feature.expr.shift(-1), feature.look_back)
    found = {leak.found_by for leak in audit(walk_bars(200), None, [early], cuts=[100])}
    # The hour of the next bar is known beforehand: only that there is a next bar is not.
    of_the_clock = feature.name.startswith("time_of_day")
    assert found == ({"prefix"} if of_the_clock else {"prefix", "mixed"})


@pytest.mark.parametrize("kind", POISONS)
def test_poison_changes_every_bar_after_the_cut_and_none_before(kind: str):
    bars = walk_bars(120)
    poisoned = poison(bars, 50, kind)
    assert poisoned.schema == bars.schema
    assert poisoned.head(50).equals(bars.head(50))
    assert poisoned.select("ts_open", "ts_close").equals(bars.select("ts_open", "ts_close"))
    for name in ("open", "high", "low", "close", "vwap"):
        changed = poisoned[name].ne_missing(bars[name])
        assert changed.to_numpy().nonzero()[0].tolist() == list(range(50, 120)), name


@pytest.mark.parametrize("kind", ["missing", "huge"])
def test_poison_spoils_what_is_computed_from_it(kind: str):
    bars = walk_bars(120, start=MIDNIGHT)
    with np.errstate(all="ignore"):
        values = feature_values(poison(bars, 80, kind))
    truth = feature_values(bars)
    for name in set(NAMES) - {"time_of_day_sin", "time_of_day_cos"}:
        assert not values[name][80:].equals(truth[name][80:]), name
