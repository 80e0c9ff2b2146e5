"""The synthetic market: reproducible, continuous, shaped like a market, predictable on demand."""

import math
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.errors import SettingsError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import content_hash, utc_day_bounds
from trader_pipelines.venues import synthetic_market
from trader_pipelines.venues.synthetic import Synthetic
from trader_pipelines.venues.synthetic_market import Market, minute_noise, place_ups, plan_day

SINCE = date(2024, 1, 1)
DAY = date(2024, 3, 15)
COIN = Instrument("synthetic", "COINUSD", Decimal("0.01"), Decimal("0.00001"), SINCE)
#: Of the trades of COIN on DAY for seed 7, effect 0.3 and 2,000 trades a day.
PINNED = "4e58b3362501118fd803dacae634970d4f3f54ca6c8cd24c122f07476b8b3b59"


def fetch(
    day: date = DAY,
    *,
    seed: int = 7,
    effect: float = 0.3,
    trades: int = 2_000,
    instrument: Instrument = COIN,
) -> pl.DataFrame:
    return Synthetic(seed, effect, trades).fetch_day(instrument, day).trades


def days_of(count: int, **options: float) -> list[pl.DataFrame]:
    return [fetch(SINCE + timedelta(days=n), **options) for n in range(count)]  # type: ignore[arg-type]


def test_fetch_day_content_is_what_it_always_was() -> None:
    assert content_hash(fetch()) == PINNED


def test_fetch_day_in_another_process_gives_equal_trades() -> None:
    program = (
        "from trader_pipelines_tests.venues.test_synthetic import *;print(content_hash(fetch()))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == content_hash(fetch())


@pytest.mark.parametrize(
    "other",
    [{"seed": 8}, {"effect": 0.4}, {"trades": 2_001}, {"instrument": replace(COIN, symbol="X")}],
    ids=lambda other: next(iter(other)),
)
def test_fetch_day_another_seed_effect_size_or_symbol_gives_other_trades(other) -> None:
    assert content_hash(fetch(**other)) != content_hash(fetch())


def test_fetch_day_source_tells_seed_and_effect_and_ids_are_reconciled() -> None:
    fetched = Synthetic(7, 0.3, 2_000).fetch_day(COIN, DAY)
    assert fetched.source == "synthetic market, seed 7, effect 0.3, 2000 trades a day"
    assert fetched.reconciled == {
        "expected_first_id": fetched.trades["id"][0],
        "expected_trades": fetched.trades.height,
    }


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ((-1, 0.3, 100), "seed"),
        ((1, -0.1, 100), "effect"),
        ((1, 1.1, 100), "effect"),
        ((1, math.nan, 100), "effect"),
        ((1, 0.3, 0), "trades_per_day"),
        ((1, 0.3, 20_000_001), "trades_per_day"),
    ],
)
def test_synthetic_setting_out_of_range_is_named(options, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Synthetic(*options)
    assert caught.value.what.startswith(f"{key} is ")
    assert caught.value.where == f"settings of the synthetic venue, {key}"


seeds = st.integers(0, 2**63)
effects = st.sampled_from([0.0, 0.3, 1.0])


@settings(max_examples=25, deadline=None)
@given(seeds, effects, st.sampled_from([1, 2, 3, 50, 1_000]), st.integers(1, 800))
def test_days_of_any_market_join_without_a_seam(
    seed: int, effect: float, trades: int, index: int
) -> None:
    day = SINCE + timedelta(days=index)
    before, after = (
        fetch(d, seed=seed, effect=effect, trades=trades) for d in (day - timedelta(days=1), day)
    )
    assert after["id"][0] == before["id"][-1] + 1
    step = Market(seed, effect, trades).step
    last, first = before["price"][-1], after["price"][0]
    assert abs(first - last) <= last * step + 1


@settings(max_examples=25, deadline=None)
@given(seeds, effects, st.sampled_from([1, 2, 3, 50, 1_000]))
def test_day_of_any_market_lies_on_its_grids(seed: int, effect: float, trades: int) -> None:
    instrument = replace(COIN, tick_size=Decimal("0.05"), lot_size=Decimal("0.002"))
    day = fetch(seed=seed, effect=effect, trades=trades, instrument=instrument)
    start, end = utc_day_bounds(DAY)
    stamps = day["ts_event"].to_physical()
    assert day["id"].diff().drop_nulls().eq(1).all()
    assert stamps.is_sorted()
    assert stamps.is_between(start, end, closed="left").all()
    assert (day["price"] > 0).all()
    assert (day["price"] % 5 == 0).all()
    assert (day["size"] > 0).all()
    assert (day["size"] % 2 == 0).all()
    assert day["side"].is_in([1, -1]).all()
    assert day["fills"].eq(1).all()


def test_first_day_starts_at_id_one() -> None:
    assert fetch(SINCE)["id"][0] == 1


def test_plan_day_ids_of_ten_years_add_up() -> None:
    market = Market(3, 0.0, 500)
    plans = [plan_day(market, "X", index) for index in range(3_640, 3_651)]
    for earlier, later in pairwise(plans):
        assert later.first_id == earlier.first_id + earlier.trades
        assert later.ups_before == earlier.ups_before + earlier.ups
        assert later.downs_before == earlier.downs_before + earlier.moves - earlier.ups


def test_minute_noise_is_one_series_through_midnight() -> None:
    market = Market(7, 0.3, 2_000)
    today, tomorrow = (
        minute_noise(market, "X", DAY + timedelta(days=n), "flow", 5) for n in (0, 1)
    )
    assert today.shape == (1_441,)
    assert tomorrow[0] == pytest.approx(today[-1], abs=1e-12)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32))
def test_place_ups_any_tilt_places_exactly_that_many(ups: int, downs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise, tilt = rng.logistic(size=(2, ups + downs))
    signs = place_ups(noise, tilt, ups)
    assert np.count_nonzero(signs == 1) == ups
    assert np.count_nonzero(signs == -1) == downs


def test_place_ups_without_tilt_every_order_is_equally_likely() -> None:
    rng = np.random.default_rng(1)
    seen = [tuple(place_ups(rng.logistic(size=4), np.zeros(4), 2)) for _ in range(6_000)]
    counts = np.unique(np.array(seen), axis=0, return_counts=True)[1]
    # Six orders, each Binomial(6000, 1/6): mean 1000, standard deviation 28.9.
    assert counts.size == 6
    assert np.abs(counts - 1_000).max() < 4 * 28.9


def draw_with_flow_reversed(monkeypatch: pytest.MonkeyPatch, effect: float) -> pl.DataFrame:
    def reversed_flow(
        market: Market, symbol: str, day: date, name: str, half_life: int
    ) -> np.ndarray:
        series = minute_noise(market, symbol, day, name, half_life)
        return -series if name == "flow" else series

    with monkeypatch.context() as patch:
        patch.setattr(synthetic_market, "minute_noise", reversed_flow)
        return fetch(effect=effect)


def test_effect_zero_prices_do_not_depend_on_the_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, reversed_ = fetch(effect=0.0), draw_with_flow_reversed(monkeypatch, effect=0.0)
    assert not plain["side"].equals(reversed_["side"])
    assert plain.drop("side").equals(reversed_.drop("side"))


def test_effect_on_prices_depend_on_the_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, reversed_ = fetch(effect=0.3), draw_with_flow_reversed(monkeypatch, effect=0.3)
    assert not plain["price"].equals(reversed_["price"])


def test_effect_changes_nothing_but_the_order_of_moves_and_sides() -> None:
    without, with_ = fetch(effect=0.0), fetch(effect=0.3)
    unmoved = ["id", "ts_event", "size", "fills"]
    assert without.select(unmoved).equals(with_.select(unmoved))
    assert without["price"][-1] == with_["price"][-1]


def minute_series(days: list[pl.DataFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Log price at each minute's end, and signed trades over trades of the last five minutes."""
    trades = pl.concat(days)
    minute = trades["ts_event"].to_physical().to_numpy() // 60_000_000_000
    minute = minute - minute[0]
    size = 1_440 * len(days)
    signed = np.bincount(minute, trades["side"].to_numpy(), size)
    count = np.bincount(minute, minlength=size)
    last = np.zeros(size, np.int64)
    last[minute] = np.arange(trades.height)
    price = np.log(trades["price"].to_numpy()[np.maximum.accumulate(last)])
    five = np.ones(5)
    flow = np.convolve(signed, five)[:size] / np.maximum(1, np.convolve(count, five)[:size])
    return price, flow


def correlation_of_flow_and_next(days: list[pl.DataFrame], horizon: int) -> tuple[float, float]:
    """Correlation with the next return over windows that do not overlap, and its t-statistic."""
    price, flow = minute_series(days)
    ahead = price[horizon:] - price[:-horizon]
    pick = slice(10, None, horizon)
    c = float(np.corrcoef(flow[:-horizon][pick], ahead[pick])[0, 1])
    return c, c * math.sqrt(ahead[pick].size)


@pytest.mark.parametrize("seed", [1, 7, 20])
def test_effect_zero_flow_tells_nothing_of_the_next_return(seed: int) -> None:
    days = days_of(30, seed=seed, effect=0.0, trades=20_000)
    for horizon in (5, 10, 15):
        _, t = correlation_of_flow_and_next(days, horizon)
        assert abs(t) < 3


def test_effect_zero_signs_of_moves_are_fair_coins() -> None:
    days = pl.concat(days_of(30, effect=0.0, trades=20_000))
    moves = np.sign(np.diff(days["price"].to_numpy()))
    # What was known before the move: the aggressor of the trade before, and the move before.
    side_before = days["side"].to_numpy()[:-1][moves != 0]
    signs = moves[moves != 0]
    n = signs.size
    assert n > 200_000
    for told in (np.ones(n), side_before, np.concatenate(([0], signs[:-1]))):
        assert abs(float(np.dot(signs, told))) / math.sqrt(n) < 3


@pytest.mark.parametrize(("effect", "low", "high"), [(0.3, 0.1, 0.2), (1.0, 0.25, 0.45)])
def test_effect_on_flow_tells_something_of_the_next_return(
    effect: float, low: float, high: float
) -> None:
    days = days_of(30, effect=effect, trades=20_000)
    for horizon in (5, 10, 15):
        c, t = correlation_of_flow_and_next(days, horizon)
        assert low < c < high
        assert t > 5


def test_day_looks_like_a_market() -> None:
    days = days_of(10, effect=0.0, trades=20_000)
    trades = pl.concat(days)
    price, _ = minute_series(days)
    minute_volatility = float(np.diff(price).std())
    assert 3e-4 < minute_volatility < 8e-4
    assert 10_000_00 <= trades["price"].min() <= trades["price"].max() <= 120_000_00  # type: ignore[operator]
    assert 150_000 < trades.height < 250_000

    stamps = trades["ts_event"].to_physical().to_numpy()
    gaps = np.diff(stamps)
    assert 0.1 < np.mean(gaps == 0) < 0.4
    # A Poisson process of the same mean has a variation of 1; bursts make it larger.
    assert gaps.std() / gaps.mean() > 1.5

    hour = stamps // 3_600_000_000_000 % 24
    by_hour = np.bincount(hour, minlength=24)
    night, morning, noon, afternoon = by_hour[1], by_hour[8], by_hour[12], by_hour[15]
    assert afternoon > noon > 0
    assert morning > 1.5 * night
    assert afternoon > 2 * night

    size = np.sort(trades["size"].to_numpy())[::-1]
    assert size[: size.size // 100].sum() > 0.1 * size.sum()
    assert abs(trades["side"].mean()) < 0.1  # type: ignore[arg-type, operator]


def test_move_tells_its_aggressor_more_often_than_not() -> None:
    days = pl.concat(days_of(3, trades=20_000))
    moves = np.sign(np.diff(days["price"].to_numpy()))
    sides = days["side"].to_numpy()[1:]
    agreement = float(np.mean(sides[moves != 0] == moves[moves != 0]))
    assert 0.7 < agreement < 0.8


@pytest.mark.parametrize("tick", ["0.01", "0.00000001", "10"])
def test_first_price_suits_the_tick(tick: str) -> None:
    first = fetch(SINCE, instrument=replace(COIN, tick_size=Decimal(tick)))["price"][0]
    unit = int(Decimal(tick).scaleb(replace(COIN, tick_size=Decimal(tick)).price_scale))
    assert 900_000 < first // unit < 6_100_000
