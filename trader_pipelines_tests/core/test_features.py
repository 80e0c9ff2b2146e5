"""Features mean what their formulas say, at any scale, in any market, on any length of history."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.bars import bar_schema
from trader_pipelines.core.errors import SettingsError
from trader_pipelines.core.features import (
    FEATURES,
    Feature,
    compute_features,
    feature_schema,
    feature_values,
    feature_version,
    max_look_back,
)
from trader_pipelines.core.features.windows import fold, zscore
from trader_pipelines_tests.core.made_bars import MIDNIGHT, an_instrument, random_bars, walk_bars

NAMES = [feature.name for feature in FEATURES]
each_feature = pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
Window = list[dict[str, Any]]


def bits(values: pl.Series) -> list[int]:
    return [int(value) for value in values.to_numpy().view(np.int64)]


# --- the registry -------------------------------------------------------------------------------


def test_registry_holds_about_twenty_features_of_distinct_names():
    assert len(set(NAMES)) == len(NAMES)
    assert 20 <= len(NAMES) <= 26


@each_feature
def test_registry_every_feature_says_what_it_is(feature: Feature):
    assert feature.name.isidentifier()
    assert all((feature.formula, feature.unit, feature.source))
    assert 1 <= feature.look_back <= max_look_back()


@pytest.mark.parametrize(
    ("field", "value"), [("name", "other"), ("formula", "other"), ("look_back", 99)]
)
def test_feature_version_changes_with_what_a_feature_means(field: str, value: object):
    changed = dataclasses.replace(FEATURES[3], **{field: value})  # type: ignore[arg-type]
    assert feature_version((*FEATURES[:3], changed, *FEATURES[4:])) != feature_version()
    assert feature_version(FEATURES) == feature_version()
    assert len(feature_version()) == 16


def test_feature_version_does_not_change_with_a_citation():
    changed = dataclasses.replace(FEATURES[3], source="elsewhere")
    assert feature_version((*FEATURES[:3], changed, *FEATURES[4:])) == feature_version()


def test_feature_version_changes_with_the_order_of_columns():
    assert feature_version(FEATURES[::-1]) != feature_version()


# --- the formulas, written a second time over one window of plain numbers -------------------------


def _r(w: Window, i: int = -1, step: int = 1) -> float:
    return math.log(w[i]["close"] / w[i - step]["close"])


def _rs(w: Window, n: int, lag: int = 0, step: int = 1) -> list[float]:
    return [_r(w, -1 - lag - k, step) for k in range(n)]


def _squares(values: list[float]) -> float:
    return math.fsum(value * value for value in values)


def _of(w: Window, n: int, name: str) -> list[Any]:
    return [bar[name] for bar in w[-n:]]


def _over(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _z(values: list[int]) -> float:
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / len(exact)
    if variance == 0:
        return 0.0
    square = (exact[-1] - mean) ** 2 / variance
    return math.copysign(math.sqrt(square), exact[-1] - mean)


def _imbalance(w: Window, n: int) -> float:
    bought, sold = sum(_of(w, n, "buy_volume")), sum(_of(w, n, "sell_volume"))
    return _over(bought - sold, bought + sold)


def _signed(w: Window, n: int) -> list[int]:
    return [bar["buy_volume"] - bar["sell_volume"] for bar in w[-n:]]


def _garman_klass(w: Window) -> float:
    terms = [
        0.5 * math.log(bar["high"] / bar["low"]) ** 2
        - (2 * math.log(2) - 1) * math.log(bar["close"] / bar["open"]) ** 2
        for bar in w[-30:]
    ]
    return math.sqrt(max(0.0, math.fsum(terms) / 30))


def _range_position(w: Window) -> float:
    high, low, close = max(_of(w, 30, "high")), min(_of(w, 30, "low")), w[-1]["close"]
    return _over((close - low) - (high - close), high - low)


def _strength(w: Window) -> float:
    closes = _of(w, 15, "close")
    ways = [abs(b - a) for a, b in itertools.pairwise(closes)]
    return _over(closes[-1] - closes[0], sum(ways))


def _vwap_deviation(w: Window) -> float:
    volume, notional = sum(_of(w, 30, "volume")), sum(_of(w, 30, "notional"))
    # Scaled price times scaled size, so their quotient is a scaled price.
    return (
        math.log(Fraction(w[-1]["close"]) / (Fraction(notional) * 10**5 / volume))
        if volume
        else 0.0
    )


def _size(w: Window, n: int) -> float:
    return _over(sum(_of(w, n, "volume")), sum(_of(w, n, "trades")))


def _illiquidity(w: Window, n: int) -> float:
    return math.fsum(_over(abs(_r(w, -1 - k)), float(w[-1 - k]["notional"])) for k in range(n)) / n


def _variance_ratio(w: Window) -> float:
    short = _squares(_rs(w, 60)) / 60
    return _over(_squares(_rs(w, 56, step=5)) / 56, 5 * short) - 1 if short else 0.0


def _autocorrelation(w: Window) -> float:
    now, before = _rs(w, 30), _rs(w, 30, lag=1)
    product = math.fsum(a * b for a, b in zip(now, before, strict=True))
    return _over(product, math.sqrt(_squares(now) * _squares(before)))


def _angle(w: Window) -> float:
    ts: datetime = w[-1]["ts_close"]
    midnight = ts.replace(hour=0, minute=0, second=0, microsecond=0)
    return 2 * math.pi * (ts - midnight).total_seconds() / 86_400


PLAIN: dict[str, Callable[[Window], float]] = {
    "return_1": lambda w: _r(w, step=1),
    "return_5": lambda w: _r(w, step=5),
    "return_15": lambda w: _r(w, step=15),
    "return_60": lambda w: _r(w, step=60),
    "realised_volatility_15": lambda w: math.sqrt(_squares(_rs(w, 15)) / 15),
    "volatility_ratio_15_60": lambda w: math.sqrt(
        _over(_squares(_rs(w, 15)) / 15, _squares(_rs(w, 60)) / 60)
    ),
    "parkinson_30": lambda w: math.sqrt(
        math.fsum(math.log(bar["high"] / bar["low"]) ** 2 for bar in w[-30:])
        / (30 * 4 * math.log(2))
    ),
    "garman_klass_30": _garman_klass,
    "range_position_30": _range_position,
    "strength_14": _strength,
    "bollinger_z_20": lambda w: _z(_of(w, 20, "close")),
    "autocorrelation_30": _autocorrelation,
    "variance_ratio_5_60": _variance_ratio,
    "imbalance_1": lambda w: _imbalance(w, 1),
    "imbalance_5": lambda w: _imbalance(w, 5),
    "imbalance_15": lambda w: _imbalance(w, 15),
    "imbalance_30": lambda w: _imbalance(w, 30),
    "signed_volume_z_60": lambda w: _z(_signed(w, 60)),
    "vwap_deviation_30": _vwap_deviation,
    "volume_ratio_5_60": lambda w: _over(
        sum(_of(w, 5, "volume")) / 5, sum(_of(w, 60, "volume")) / 60
    ),
    "trade_count_z_60": lambda w: _z(_of(w, 60, "trades")),
    "trade_size_ratio_5_60": lambda w: _over(_size(w, 5), _size(w, 60)),
    "illiquidity_ratio_15_60": lambda w: _over(_illiquidity(w, 15), _illiquidity(w, 60)),
    "time_of_day_sin": lambda w: math.sin(_angle(w)),
    "time_of_day_cos": lambda w: math.cos(_angle(w)),
}


@each_feature
@settings(max_examples=12, deadline=None)
@given(bars=random_bars(low=80, high=120))
def test_feature_equals_its_formula_over_plain_numbers(feature: Feature, bars: pl.DataFrame):
    values = feature_values(bars, features=[feature])[feature.name]
    rows = bars.rows(named=True)
    for i in range(feature.look_back - 1, bars.height, 3):
        plain = PLAIN[feature.name](rows[: i + 1])
        assert values[i] == pytest.approx(plain, rel=1e-9, abs=1e-13), bars["ts_close"][i]


# --- known when, and from what ------------------------------------------------------------------


@each_feature
def test_feature_is_known_from_its_look_back_on_and_not_before(feature: Feature):
    values = feature_values(walk_bars(100), features=[feature])[feature.name]
    assert values[: feature.look_back - 1].is_nan().all()
    assert values[feature.look_back - 1 :].is_finite().all()


@each_feature
def test_feature_of_a_history_that_begins_with_an_empty_minute_is_not_known_earlier(
    feature: Feature,
):
    whole = walk_bars(200)
    first_empty = int((whole["volume"] == 0).arg_max() or 0)
    assert whole["volume"][first_empty] == 0
    values = feature_values(whole[first_empty:], features=[feature])[feature.name]
    assert values[: feature.look_back - 1].is_nan().all()
    assert values[feature.look_back - 1 :].is_finite().all()


@each_feature
@settings(max_examples=10, deadline=None)
@given(bars=random_bars(low=80, high=120), share=st.floats(0, 1))
def test_feature_depends_on_its_look_back_alone_to_the_last_bit(
    feature: Feature, bars: pl.DataFrame, share: float
):
    end = feature.look_back + int(share * (bars.height - feature.look_back))
    whole = feature_values(bars, features=[feature])[feature.name]
    tail = feature_values(bars.slice(end - feature.look_back, feature.look_back), None, [feature])
    assert bits(tail[feature.name][-1:]) == bits(whole[end - 1 : end])


@settings(max_examples=40, deadline=None)
@given(bars=random_bars(low=2, high=200), before=random_bars(low=1, high=80))
def test_compute_features_all_values_are_finite_and_no_warm_row_is_lost(
    bars: pl.DataFrame, before: pl.DataFrame
):
    cold = compute_features(bars)
    assert cold["ts"].equals(bars["ts_close"][max_look_back() - 1 :], check_names=False)
    warm_up = shifted(before, bars)
    warm = compute_features(bars, warm_up)
    missing = max(0, max_look_back() - 1 - before.height)
    assert warm["ts"].equals(bars["ts_close"][missing:], check_names=False)
    assert warm.schema == feature_schema()
    assert warm.null_count().row(0) == (0,) * (len(FEATURES) + 1)


def shifted(before: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """`before`, ending where `bars` begin."""
    by = bars["ts_open"][0] - before["ts_close"][-1]
    stamps = pl.col("ts_open", "ts_close")
    return before.with_columns((stamps + by).cast(pl.Datetime("ns", "UTC")))


def test_compute_features_warm_up_equals_one_long_day():
    whole = walk_bars(300)
    warm = compute_features(whole[120:], warm_up=whole[:120])
    assert warm.height == 180
    assert warm.equals(compute_features(whole).tail(180))


def test_feature_values_have_a_row_for_each_bar_of_the_day_and_none_of_the_warm_up():
    whole = walk_bars(300)
    assert feature_values(whole[120:], whole[:120])["ts"].equals(
        whole["ts_close"][120:], check_names=False
    )
    assert feature_values(whole[120:], whole[110:120])["ts"].equals(
        whole["ts_close"][120:], check_names=False
    )


def test_compute_features_short_warm_up_is_used_as_far_as_it_goes():
    whole = walk_bars(300)
    warm = compute_features(whole[10:], warm_up=whole[:10])
    assert warm.equals(compute_features(whole))


def test_compute_features_time_is_the_close_of_the_bar():
    features = compute_features(walk_bars(61))
    assert features["ts"].to_list() == [datetime(2024, 1, 2, 1, 1, tzinfo=UTC)]
    assert features["time_of_day_sin"][0] == pytest.approx(math.sin(2 * math.pi * 61 / 1440))


@pytest.mark.parametrize("warm_up", [None, walk_bars(70, start=MIDNIGHT - 86_400 * 10**9)])
def test_compute_features_without_bars_are_an_empty_frame_of_the_schema(
    warm_up: pl.DataFrame | None,
):
    empty = bar_schema(an_instrument()).to_frame()
    features = compute_features(empty, warm_up)
    assert features.height == 0
    assert features.schema == feature_schema()


def test_compute_features_warm_up_that_overlaps_the_day_is_refused():
    whole = walk_bars(200)
    with pytest.raises(ValueError, match="warm-up ends at 2024-01-02 01:41:00"):
        compute_features(whole[100:], warm_up=whole[:101])


def test_compute_features_warm_up_on_another_grid_says_what_to_do():
    whole = walk_bars(200)
    other = bar_schema(an_instrument(tick="0.0001"))["notional"]
    warm_up = whole[:100].with_columns(pl.col("notional").cast(other))
    with pytest.raises(SettingsError, match=r"scale=7.*scale=5") as caught:
        compute_features(whole[100:], warm_up=warm_up)
    assert "tick_size and lot_size" in caught.value.where
    assert "materialize the earlier day's bars again" in caught.value.remedy


# --- numbers ------------------------------------------------------------------------------------


@each_feature
@settings(max_examples=10, deadline=None)
@given(bars=random_bars(low=80, high=120))
def test_feature_does_not_depend_on_the_scale_of_price_and_size(
    feature: Feature, bars: pl.DataFrame
):
    volumes, prices = ["volume", "buy_volume", "sell_volume"], ["open", "high", "low", "close"]
    scaled = bars.with_columns(
        pl.col(prices) * 8,
        pl.col(volumes) * 4,
        (pl.col("notional").to_physical() * 32).reinterpret(dtype=bars.schema["notional"]),
    )
    values, again = (feature_values(b, None, [feature])[feature.name] for b in (bars, scaled))
    assert bits(again) == bits(values)


FLAT_VALUES = {"time_of_day_sin", "time_of_day_cos", "volume_ratio_5_60", "trade_size_ratio_5_60"}


@each_feature
def test_feature_flat_price_and_steady_trade_give_zero(feature: Feature):
    bars = walk_bars(120).with_columns(
        **dict.fromkeys(("open", "high", "low", "close"), pl.lit(1_234_567)),
        **dict.fromkeys(("buy_volume", "sell_volume"), pl.lit(10)),
        volume=pl.lit(20),
        trades=pl.lit(3),
        notional=pl.lit(1_234_567 * 20, pl.Int128).reinterpret(dtype=pl.Decimal(38, 5)),
    )
    values = feature_values(bars, None, [feature])[feature.name][feature.look_back - 1 :]
    if feature.name in FLAT_VALUES:
        assert values.is_finite().all()
    else:
        assert values.abs().max() == 0


@each_feature
def test_feature_market_in_which_nothing_trades_gives_zero(feature: Feature):
    traded = ("volume", "buy_volume", "sell_volume", "trades", "prints", "notional")
    bars = walk_bars(120).with_columns(
        **dict.fromkeys(("open", "high", "low", "close"), pl.lit(1_234_567)),
        **{name: pl.lit(0).cast(bar_schema(an_instrument())[name]) for name in traded},
    )
    values = feature_values(bars, None, [feature])[feature.name][feature.look_back - 1 :]
    if not feature.name.startswith("time_of_day"):
        assert values.abs().max() == 0


def test_volume_ratio_after_a_huge_volume_keeps_no_trace_of_it():
    bars = walk_bars(200)
    spike = pl.when(pl.int_range(pl.len()) == 50).then(9 * 10**18).otherwise("volume")
    after = feature_values(bars.with_columns(volume=spike))["volume_ratio_5_60"]
    without = feature_values(bars)["volume_ratio_5_60"]
    assert bits(after[110:]) == bits(without[110:])
    assert after[109] != without[109]


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(0, 90))
def test_fold_sums_and_extremes_equal_a_plain_loop(n: int, seed: int, height: int):
    x = np.random.default_rng(seed).integers(-1000, 1000, height).astype(np.float64)
    for op, plain in ((np.add, sum), (np.maximum, max), (np.minimum, min)):
        result = fold(op, x, n)
        assert result.size == height
        assert np.isnan(result[: n - 1]).all()
        windows = [x[i - n + 1 : i + 1].tolist() for i in range(n - 1, height)]
        assert result[n - 1 :].tolist() == [plain(window) for window in windows]


@settings(deadline=None)
@given(
    n=st.integers(1, 60),
    level=st.sampled_from([0, 10**9, 2**52]),
    steps=st.lists(st.sampled_from([0, 0, 0, 0, 1, -1, 10**6]), min_size=1, max_size=120),
)
def test_zscore_of_near_flat_windows_equals_the_exact_two_passes(
    n: int, level: int, steps: list[int]
):
    values = [level + step for step in steps]
    result = zscore(np.array(values, dtype=np.float64), n)
    assert np.isnan(result[: n - 1]).all()
    for i in range(n - 1, len(values)):
        assert result[i] == pytest.approx(_z(values[i - n + 1 : i + 1]), rel=1e-12, abs=1e-12)
