"""Triple-barrier labels equal a plain loop, know no up from down, and never look past the frame."""

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.bars import NS_PER_MINUTE
from trader_pipelines.core.labels import LABELS, triple_barrier
from trader_pipelines_tests.core.made_bars import MIDNIGHT, at, random_bars, walk_bars

PRICES = ("open", "high", "low", "close")
HORIZONS = st.integers(1, 20)
WIDTHS = st.sampled_from([0.25, 0.5, 1.0, 2.0])


def bars_of(*rows: tuple[int, int, int, int], minutes: list[int] | None = None) -> pl.DataFrame:
    """Bars of (open, high, low, close), one a minute or at the given minutes."""
    opens = [MIDNIGHT + m * NS_PER_MINUTE for m in minutes or range(len(rows))]
    stamps = pl.Series(opens, dtype=pl.Int64)
    return pl.DataFrame(rows, schema=dict.fromkeys(PRICES, pl.Int64), orient="row").with_columns(
        ts_open=stamps.cast(pl.Datetime("ns", "UTC")),
        ts_close=(stamps + NS_PER_MINUTE).cast(pl.Datetime("ns", "UTC")),
    )


def flat(price: int) -> tuple[int, int, int, int]:
    return price, price, price, price


def plain_loop(
    bars: pl.DataFrame, horizon: int, width: float, vol_look_back: int
) -> list[tuple[object, ...]]:
    """The definition, one position and one bar after the other."""
    rows = bars.select("ts_close", *PRICES).rows()
    closes = [row[4] for row in rows]
    labels: list[tuple[object, ...]] = []
    for i in range(vol_look_back, len(rows)):
        ts, entry = rows[i][0], closes[i]
        deadline = ts + timedelta(minutes=horizon)
        returns = [math.log(closes[k] / closes[k - 1]) for k in range(i - vol_look_back + 1, i + 1)]
        barrier = width * math.sqrt(horizon) * math.sqrt(sum(r * r for r in returns) / len(returns))
        if deadline > rows[-1][0] or barrier == 0:
            continue
        touched, at_exit, ts_exit = "time", 0.0, deadline
        for known, opened, high, low, close in rows[i + 1 :]:
            if known > deadline:
                break
            at_open, top, bottom, at_exit = (
                math.log(price / entry) for price in (opened, high, low, close)
            )
            if abs(at_open) >= barrier:
                touched, at_exit = "upper" if at_open > 0 else "lower", at_open
            elif top >= barrier and bottom <= -barrier:
                touched = "both"
            elif top >= barrier:
                touched, at_exit = "upper", barrier
            elif bottom <= -barrier:
                touched, at_exit = "lower", -barrier
            if touched != "time":
                ts_exit = known
                break
        labels.append((ts, (at_exit > 0) - (at_exit < 0), touched, at_exit, ts_exit))
    return labels


# Entry at 1000 after one return of ln(1000 / 990): at horizon 1 and width 1 the barriers lie at
# 1010.10 and 990.
WARM = (flat(990), flat(1000))


@pytest.mark.parametrize(
    ("bar", "label", "touched", "exit_return"),
    [
        ((1000, 1011, 995, 1005), 1, "upper", math.log(1000 / 990)),
        ((1000, 1005, 989, 1005), -1, "lower", -math.log(1000 / 990)),
        ((1000, 1005, 995, 1002), 1, "time", math.log(1.002)),
        ((1000, 1005, 995, 998), -1, "time", math.log(0.998)),
        ((1000, 1005, 995, 1000), 0, "time", 0.0),
        ((1000, 1011, 989, 1005), 1, "both", math.log(1.005)),
        ((1000, 1011, 989, 995), -1, "both", math.log(0.995)),
        ((1000, 1011, 989, 1000), 0, "both", 0.0),
        ((1020, 1030, 1015, 1015), 1, "upper", math.log(1.02)),
        ((980, 985, 970, 985), -1, "lower", math.log(0.98)),
        ((1020, 1030, 900, 900), 1, "upper", math.log(1.02)),
    ],
)
def test_triple_barrier_one_bar_ahead_follows_the_rules(
    bar: tuple[int, int, int, int], label: int, touched: str, exit_return: float
):
    labels = triple_barrier(bars_of(*WARM, bar), horizon=1, width=1.0, vol_look_back=1)
    assert labels.schema == LABELS
    assert labels.drop("exit_return").rows() == [(at(0, 2), label, touched, at(0, 3))]
    assert labels["exit_return"][0] == pytest.approx(exit_return, abs=1e-15)


def test_triple_barrier_label_is_known_when_the_first_barrier_is_met():
    bars = bars_of(*WARM, flat(1001), (1001, 1050, 1001, 1002), flat(900), flat(900), flat(900))
    labels = triple_barrier(bars, horizon=4, width=1.0, vol_look_back=1)
    assert labels.drop("exit_return").rows()[0] == (at(0, 2), 1, "upper", at(0, 4))


def test_triple_barrier_horizon_is_minutes_of_time_across_a_gap():
    # Minutes 3 to 6 are missing: three minutes after 00:02 the last price known is 1002.
    bars = bars_of(*WARM, flat(1002), flat(2000), minutes=[0, 1, 2, 7])
    labels = triple_barrier(bars, horizon=3, width=1.0, vol_look_back=1)
    assert labels.drop("exit_return").rows() == [
        (at(0, 2), 1, "time", at(0, 5)),
        (at(0, 3), 0, "time", at(0, 6)),
    ]
    assert labels["exit_return"].to_list() == [pytest.approx(math.log(1.002), abs=1e-15), 0.0]


def test_triple_barrier_rows_whose_horizon_passes_the_last_bar_are_dropped():
    bars = walk_bars(100)
    labels = triple_barrier(bars, horizon=15, width=1.0, vol_look_back=20)
    assert labels["ts"].equals(bars["ts_close"][20:85], check_names=False)
    assert (labels["ts_exit"] <= bars["ts_close"][-1]).all()


def test_triple_barrier_flat_past_has_no_barrier_and_is_dropped():
    bars = bars_of(*[flat(1000)] * 5, flat(1001), flat(1001), flat(1001), flat(1001))
    labels = triple_barrier(bars, horizon=1, width=1.0, vol_look_back=2)
    assert labels["ts"].to_list() == [at(0, 6), at(0, 7)]


@pytest.mark.parametrize("height", [0, 1, 2, 20])
def test_triple_barrier_too_few_bars_are_an_empty_frame_of_the_schema(height: int):
    labels = triple_barrier(walk_bars(20).head(height), horizon=1, width=1.0, vol_look_back=20)
    assert labels.height == 0
    assert labels.schema == LABELS


@pytest.mark.parametrize(
    ("horizon", "width", "vol_look_back"),
    [(0, 1.0, 5), (5, 0.0, 5), (5, -1.0, 5), (5, float("nan"), 5), (5, 1.0, 0)],
)
def test_triple_barrier_parameter_out_of_range_raises(
    horizon: int, width: float, vol_look_back: int
):
    with pytest.raises(ValueError, match="horizon >= 1, width > 0 and vol_look_back >= 1"):
        triple_barrier(walk_bars(50), horizon, width, vol_look_back)


@settings(deadline=None)
@given(random_bars(), HORIZONS, WIDTHS, st.integers(1, 30), st.data())
def test_triple_barrier_random_bars_equal_a_plain_loop(
    bars: pl.DataFrame, horizon: int, width: float, vol_look_back: int, data: st.DataObject
):
    holes = data.draw(st.sets(st.integers(1, bars.height - 1), max_size=20))
    bars = bars.filter(~pl.int_range(pl.len()).is_in(holes))
    labels = triple_barrier(bars, horizon, width, vol_look_back)
    expected = plain_loop(bars, horizon, width, vol_look_back)
    assert labels.drop("exit_return").rows() == [(*row[:3], row[4]) for row in expected]
    returns = np.array([row[3] for row in expected], dtype=np.float64)
    np.testing.assert_allclose(labels["exit_return"].to_numpy(), returns, rtol=1e-13, atol=0)


@st.composite
def powers_of_two(draw: st.DrawFn) -> np.ndarray:
    """Exponents of open, high, low and close, so that a price and its inverse are both exact."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height = draw(st.integers(5, 80))
    close = np.clip(20 + np.cumsum(rng.integers(-1, 2, height)), 5, 35)
    opened = np.clip(close + rng.integers(-1, 2, height), 5, 35)
    high = np.maximum(opened, close) + rng.integers(0, 3, height)
    low = np.minimum(opened, close) - rng.integers(0, 3, height)
    return np.stack([opened, high, low, close])


@settings(deadline=None)
@given(powers_of_two(), HORIZONS, WIDTHS, st.integers(1, 10))
def test_triple_barrier_of_inverted_prices_is_the_inverted_label(
    exponents: np.ndarray, horizon: int, width: float, vol_look_back: int
):
    opened, high, low, close = exponents
    bars = bars_of(*(2**exponents.T).tolist())
    mirrored = bars_of(*(2 ** (40 - np.stack([opened, low, high, close]).T)).tolist())
    labels = triple_barrier(bars, horizon, width, vol_look_back)
    opposite = triple_barrier(mirrored, horizon, width, vol_look_back)
    assert opposite["label"].to_list() == [-label for label in labels["label"]]
    assert opposite["exit_return"].to_list() == [-value for value in labels["exit_return"]]
    swap = {"upper": "lower", "lower": "upper", "time": "time", "both": "both"}
    assert opposite["touched"].to_list() == [swap[touched] for touched in labels["touched"]]
    assert opposite.select("ts", "ts_exit").equals(labels.select("ts", "ts_exit"))


@settings(deadline=None)
@given(random_bars(), HORIZONS, WIDTHS, st.integers(1, 30), st.floats(0.3, 0.95))
def test_triple_barrier_labels_known_at_a_cut_do_not_depend_on_what_follows(
    bars: pl.DataFrame, horizon: int, width: float, vol_look_back: int, share: float
):
    known = bars.head(int(bars.height * share))
    cut = known["ts_close"][-1]
    settled = triple_barrier(bars, horizon, width, vol_look_back).filter(
        pl.col("ts").dt.offset_by(f"{horizon}m") <= cut
    )
    assert triple_barrier(known, horizon, width, vol_look_back).equals(settled)


@settings(deadline=None)
@given(random_bars(), HORIZONS, WIDTHS, st.integers(1, 30))
def test_triple_barrier_label_is_the_sign_of_its_return_and_comes_later(
    bars: pl.DataFrame, horizon: int, width: float, vol_look_back: int
):
    labels = triple_barrier(bars, horizon, width, vol_look_back)
    assert labels["label"].equals(labels["exit_return"].sign().cast(pl.Int8), check_names=False)
    assert (labels["ts_exit"] > labels["ts"]).all()
    assert (labels["ts_exit"] <= labels["ts"].dt.offset_by(f"{horizon}m")).all()
    assert labels["ts"].is_sorted()
