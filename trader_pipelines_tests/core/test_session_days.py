"""Bars, features, labels and folds of exchange sessions: past midnight UTC, half days, clocks."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from math import pi, sin

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.bars import NS_PER_MINUTE, minute_bars, reconcile
from trader_pipelines.core.dollar_bars import dollar_bars
from trader_pipelines.core.features import audit, compute_features, feature_values
from trader_pipelines.core.instruments import UTC_DAYS, Instrument
from trader_pipelines.core.labels import triple_barrier
from trader_pipelines.core.learning.gate import daily_gains
from trader_pipelines.core.learning.scores import score
from trader_pipelines.core.learning.splits import nanoseconds, walk_forward
from trader_pipelines.core.sessions import day_bounds, days_of, previous_day, sessions
from trader_pipelines.core.trades import NS_PER_DAY, TRADES

XNYS = "XNYS"
SPY = Instrument(
    "alpaca", "SPY", Decimal("0.000001"), Decimal("0.000001"), date(2016, 1, 4),
    dollar_bar=Decimal(10_000_000),
)  # fmt: skip

#: Ends at 01:00 UTC of the day after.
WINTER = date(2024, 1, 3)
#: The extended session ends at 17:00 in New York.
HALF_DAYS = (date(2024, 7, 3), date(2024, 11, 29))
#: The last session before and the first after each change of New York's clocks.
CLOCKS = (date(2024, 3, 8), date(2024, 3, 11), date(2024, 11, 1), date(2024, 11, 4))
DAYS = (WINTER, *HALF_DAYS, *CLOCKS)


def trades_within(first: int, last: int, rng: np.random.Generator, count: int) -> pl.DataFrame:
    """Trades in random nanoseconds of a span, its first and its last one among them."""
    stamps = np.sort(rng.integers(first, last, count))
    stamps[0], stamps[-1] = first, last - 1
    price = 500_000_000 + np.cumsum(rng.integers(-20_000, 20_001, count))
    columns = {
        "id": np.maximum.accumulate(stamps - np.arange(count)) + np.arange(count),
        "ts_event": stamps,
        "price": price,
        "size": rng.integers(1, 10**9, count),
        "side": rng.integers(-1, 2, count),
        "fills": np.ones(count, np.int64),
    }
    return pl.DataFrame(columns).cast(TRADES)


def a_session(day: date, seed: int = 1, count: int = 4_000) -> pl.DataFrame:
    return trades_within(*day_bounds(XNYS, day), np.random.default_rng(seed), count)


def bars_of(day: date, seed: int = 1) -> pl.DataFrame:
    return minute_bars(a_session(day, seed), SPY)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@settings(deadline=None)
@given(day=st.sampled_from(DAYS), seed=st.integers(0, 2**32 - 1), count=st.integers(2, 300))
def test_minute_bars_of_a_session_are_one_grid_from_first_to_last_trade(
    day: date, seed: int, count: int
) -> None:
    low, high = day_bounds(XNYS, day)
    trades = a_session(day, seed, count)
    assert set(days_of(XNYS, trades["ts_event"].to_physical().to_numpy())) == {
        (day - date(1970, 1, 1)).days
    }
    bars = minute_bars(trades, SPY)
    opens, closes = (bars[name].to_physical().to_list() for name in ("ts_open", "ts_close"))
    assert (opens[0], closes[-1]) == (low, high)
    assert all(b - a == NS_PER_MINUTE for a, b in pairwise(opens))
    assert bars["volume"].sum() == trades["size"].sum()
    assert reconcile(bars, trades) == []


@pytest.mark.parametrize(
    ("day", "minutes", "last"),
    [
        (WINTER, 960, "2024-01-04 01:00"),
        (date(2024, 7, 3), 780, "2024-07-03 21:00"),
        (date(2024, 11, 29), 780, "2024-11-29 22:00"),
        (date(2024, 3, 8), 960, "2024-03-09 01:00"),
        (date(2024, 3, 11), 960, "2024-03-12 00:00"),
        (date(2024, 11, 1), 960, "2024-11-02 00:00"),
        (date(2024, 11, 4), 960, "2024-11-05 01:00"),
    ],
)
def test_minute_bars_of_a_full_session_are_as_many_as_its_minutes(
    day: date, minutes: int, last: str
) -> None:
    bars = bars_of(day)
    assert bars.height == minutes
    assert bars["ts_close"][-1] == moment(last)


def test_dollar_bars_go_on_over_midnight_utc() -> None:
    trades = a_session(WINTER)
    bars = dollar_bars(trades, SPY)
    midnight = moment("2024-01-04 00:00")
    over = bars.filter((pl.col("ts_open") < midnight) & (pl.col("ts_close") >= midnight))
    assert over.height == 1
    assert over["complete"].all()
    assert bars["notional"].sum() == minute_bars(trades, SPY)["notional"].sum()


@pytest.mark.parametrize(("before", "after"), [CLOCKS[:2], CLOCKS[2:]])
def test_time_of_day_is_that_of_new_york_on_both_sides_of_a_clock_change(
    before: date, after: date
) -> None:
    shown = []
    for day in (before, after):
        opened, _ = day_bounds(XNYS, day)
        half_past_nine = opened + (5 * 60 + 30) * NS_PER_MINUTE
        values = feature_values(bars_of(day), calendar=XNYS).filter(
            pl.col("ts").dt.epoch("ns") == half_past_nine
        )
        shown.append(values["time_of_day_sin"].item())
        assert values["time_of_day_sin"].item() == pytest.approx(sin(2 * pi * 9.5 / 24), abs=1e-12)
    assert shown[0] == shown[1]


def test_time_of_day_of_a_market_that_never_closes_is_utc() -> None:
    bars = bars_of(WINTER)
    ours = feature_values(bars)["time_of_day_sin"].to_numpy()
    share = bars["ts_close"].dt.epoch("ns").to_numpy() % NS_PER_DAY / NS_PER_DAY
    assert np.allclose(ours, np.sin(2 * pi * share), rtol=0, atol=1e-12)


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_features_of_a_session_are_warm_from_the_session_before_and_know_nothing_early(
    day: date,
) -> None:
    warm_up, bars = bars_of(previous_day(XNYS, day), seed=2), bars_of(day)
    features = compute_features(bars, warm_up, calendar=XNYS)
    assert features.height == bars.height
    assert features["ts"].equals(bars["ts_close"].alias("ts"))
    assert audit(bars, warm_up, calendar=XNYS, poisons=("mixed",)) == []


@pytest.mark.parametrize("day", DAYS)
def test_labels_never_look_past_a_sessions_end(day: date) -> None:
    horizon = 30
    _, end = day_bounds(XNYS, day)
    labels = triple_barrier(bars_of(day), horizon=horizon, width=1.0, vol_look_back=20)
    last = datetime.fromtimestamp(end // 10**9, UTC)
    assert nanoseconds(labels["ts_exit"]).max() <= end
    assert labels["ts"].max() == last - timedelta(minutes=horizon)
    # And nothing of the session is left out before: one label a minute, over midnight as well.
    assert labels.height == bars_of(day).height - 20 - horizon


def rows_of(days: tuple[date, ...], minutes: int = 40) -> pl.DataFrame:
    """Rows from each session's first hour and from its last, which in winter is the next day's."""
    stamps = []
    for day in days:
        low, high = day_bounds(XNYS, day)
        stamps += [low + n * NS_PER_MINUTE for n in range(1, minutes)]
        stamps += [high - n * NS_PER_MINUTE for n in range(minutes, 0, -1)]
    ts = pl.Series("ts", stamps, dtype=pl.Int64).cast(pl.Datetime("ns", "UTC"))
    return pl.DataFrame({"ts": ts, "ts_exit": ts.dt.offset_by("1m")})


def test_folds_of_winter_sessions_are_whole_sessions() -> None:
    days = sessions(XNYS, date(2024, 1, 2), date(2024, 1, 12))
    frame = rows_of(days)
    ts, ts_exit = frame["ts"], frame["ts_exit"]
    of_row = days_of(XNYS, nanoseconds(ts))
    folds = walk_forward(ts, ts_exit, 3, timedelta(minutes=30), 3, XNYS)
    tested = [set(of_row[fold.test].tolist()) for fold in folds]
    assert [len(block) for block in tested] == [2, 2, 2]
    assert set.union(*tested) == set(np.unique(of_row)[3:].tolist())
    for fold, block in zip(folds, tested, strict=True):
        # A session is in its block with both its hours, and none of it was trained on.
        assert np.isin(of_row, list(block)).sum() == fold.test.size
        assert of_row[fold.train].max() < min(block)
    # Midnight UTC would have cut each of them in two.
    assert np.unique(days_of(UTC_DAYS, nanoseconds(ts))).size > len(days)


def test_scores_and_gate_count_sessions_not_utc_days() -> None:
    days = sessions(XNYS, date(2024, 1, 2), date(2024, 1, 12))
    frame = rows_of(days).select(
        "ts",
        pl.lit("SPY").alias("symbol"),
        pl.int_range(pl.len()).mod(2).cast(pl.Int8).alias("up"),
        pl.lit(0.6).alias("p"),
        pl.lit(0.5).alias("base"),
    )
    assert len(days) == 9
    assert score(frame, calendar=XNYS).days == 9
    assert daily_gains(frame, XNYS).size == 9
    # Fridays' last hours would have been days of their own, as if they were independent.
    assert daily_gains(frame).size == 11
