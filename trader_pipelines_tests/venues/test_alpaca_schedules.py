"""Alpaca over REST under seeded mixtures of faults: whole, or named missing, or refused."""

from collections import Counter
from collections.abc import Iterator

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.errors import TraderError
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.venues import alpaca_exchange as made
from trader_pipelines_tests.venues.rest_exchange import schedule

TRUTH: pl.DataFrame = made.truth(made.MADE_UP, made.STOCK, made.DAY)


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running_exchange([made.MADE_UP], request_limit=10**9) as running:
        yield running


def outcome(exchange: Running, seed: int) -> str:
    """Fetch a day under the faults of a seed and say how that ended."""
    exchange.tell("reset", limits=True, faults=schedule(seed))
    try:
        fetched = made.alpaca(exchange, page=500).fetch_day(made.STOCK, made.DAY)
    except TraderError as error:
        return "refused" if error.retry else f"seed {seed}: {error}"
    if fetched.trades.equals(TRUTH):
        return "whole"
    fakes = fetched.trades.join(TRUTH, on=TRUTH.columns, how="anti").height
    if fakes or not fetched.reconciled["bars_minutes_differing"]:
        return f"seed {seed}: {fetched.trades.height} trades, {fakes} of them fakes"
    return "named"


def run(exchange: Running, examples: int) -> None:
    counted: Counter[str] = Counter()

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(seed=st.integers(0, 10**9))
    def each(seed: int) -> None:
        result = outcome(exchange, seed)
        assert result in ("whole", "refused", "named")
        counted[result] += 1

    each()
    # A venue that only refuses would not pass.
    assert counted["whole"] >= 0.9 * counted.total()
    assert counted.total() >= examples


def test_fetch_day_under_any_mixture_is_whole_named_or_refused(exchange: Running) -> None:
    run(exchange, 80)


@pytest.mark.long
def test_fetch_day_under_many_mixtures_is_whole_named_or_refused(exchange: Running) -> None:
    run(exchange, 400)
