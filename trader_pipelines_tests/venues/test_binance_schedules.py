"""Binance over REST under seeded mixtures of faults: whole, or refused; never less, never more."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trader_pipelines.core.certificates import certify
from trader_pipelines.core.errors import TraderError
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.venues import rest_exchange as rest

TRUTH = rest.truth(rest.MADE_UP, rest.SYMBOL)
FIRST, LAST = int(TRUTH["id"][0]), int(TRUTH["id"][-1])


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running_exchange([rest.MADE_UP], weight_limit=10**9) as running:
        yield running


def outcome(exchange: Running, seed: int, hole: tuple[int, int] | None) -> str:
    """Fetch a day under the faults of a seed and say how that ended.

    ``whole``: what REST has of the tape came, and what it lacks is named in the certificate;
    ``refused``: by an error that says to try again.
    """
    faults = rest.schedule(seed)
    wanted = TRUTH
    missing: tuple[int, ...] = ()
    if hole:
        first, last = missing = (FIRST + hole[0], FIRST + hole[0] + hole[1])
        faults["faults"].append({"kind": "hole", "first": first, "last": last, "where": ["rest"]})
        wanted = TRUTH.filter(~pl.col("id").is_between(first, last))
    exchange.tell("reset", limits=True, faults=faults)
    try:
        fetched = rest.binance(exchange).fetch_day(rest.SYMBOL, rest.DAY)
    except TraderError as error:
        return "refused" if error.retry else f"seed {seed}: {error}"
    if not fetched.trades.equals(wanted):
        return f"seed {seed}: {fetched.trades.height} trades"
    certificate = certify(
        fetched.trades,
        venue="binance",
        symbol=rest.SYMBOL.symbol,
        day=rest.DAY,
        source=fetched.source,
        synthetic=False,
        reconciled=fetched.reconciled,
    )
    named = certificate.missing == ((missing,) if missing else ())
    return "whole" if named else f"seed {seed}: {certificate.missing}"


def mended(
    exchange: Running, seed: int, hole: tuple[int, int] | None, lacking: list[tuple[int, int]]
) -> str:
    """Complete a day of which a part is stored, as `outcome` fetches one.

    What the venue lacks and we do not is kept; what both lack is named in the certificate.
    """
    gone = [pl.col("id").is_between(FIRST + at, FIRST + at + more) for at, more in lacking]
    have = TRUTH.filter(~pl.any_horizontal(pl.lit(value=False), *gone))
    faults, wanted = rest.schedule(seed), TRUTH
    if hole:
        first, last = FIRST + hole[0], FIRST + hole[0] + hole[1]
        faults["faults"].append({"kind": "hole", "first": first, "last": last, "where": ["rest"]})
        known = pl.col("id").is_in(have["id"].implode())
        wanted = TRUTH.filter(~pl.col("id").is_between(first, last) | known)
    exchange.tell("reset", limits=True, faults=faults)
    try:
        fetched = rest.binance(exchange).complete_day(rest.SYMBOL, rest.DAY, have)
    except TraderError as error:
        return "refused" if error.retry else f"seed {seed}: {error}"
    return "whole" if fetched.trades.equals(wanted) else f"seed {seed}: {fetched.trades.height}"


def ranged(exchange: Running, seed: int, hole: tuple[int, int] | None, at: int, more: int) -> str:
    """Ask for a range: all that REST has of it, and nothing else."""
    faults, wanted = rest.schedule(seed), TRUTH[at : at + more + 1]
    if hole:
        first, last = FIRST + hole[0], FIRST + hole[0] + hole[1]
        faults["faults"].append({"kind": "hole", "first": first, "last": last, "where": ["rest"]})
        wanted = wanted.filter(~pl.col("id").is_between(first, last))
    exchange.tell("reset", limits=True, faults=faults)
    try:
        got = rest.binance(exchange).fetch_range(
            rest.SYMBOL, rest.DAY, FIRST + at, FIRST + at + more
        )
    except TraderError as error:
        return "refused" if error.retry else f"seed {seed}: {error}"
    return "whole" if got.trades.equals(wanted) else f"seed {seed}: {got.trades.height}"


def resumed(exchange: Running, seed: int, at: int) -> pl.DataFrame:
    """Pages that came before a failure are kept, and the next try goes on after them."""
    exchange.tell("reset", limits=True, faults=rest.schedule(seed))
    pages: list[pl.DataFrame] = [TRUTH.clear()]
    begin = FIRST + at
    for _ in range(5):
        try:
            for page in rest.binance(exchange).fetch_ids(rest.SYMBOL, begin, LAST):
                pages.append(page)
                begin = int(page["id"][-1]) + 1
        except TraderError:
            continue
    return pl.concat(pages)


SEEDS = st.integers(0, 10**9)
#: Inside the tape, away from the minutes of its first and last trade.
HOLES = st.tuples(st.integers(100, 3_000), st.integers(0, 200))
QUIETLY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


#: Parts of the tape that are not stored: one may reach over its end.
LACKING = st.lists(st.tuples(st.integers(0, 3_499), st.integers(0, 1_500)), max_size=6)


def run(exchange: Running, examples: int, each: Callable[..., str], **drawn: Any) -> None:
    counted: Counter[str] = Counter()

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(seed=SEEDS, hole=st.none() | HOLES, **drawn)
    def example(**told: Any) -> None:
        result = each(exchange, **told)
        assert result in ("whole", "refused")
        counted[result] += 1

    example()
    # Trying again is enough in nearly all of them: a venue that only refuses would not pass.
    assert counted["whole"] >= 0.95 * counted.total()
    assert counted.total() >= examples


def test_fetch_day_under_any_mixture_is_whole_or_refused(exchange: Running) -> None:
    run(exchange, 120, outcome)


def test_complete_day_under_any_mixture_is_whole_or_refused(exchange: Running) -> None:
    run(exchange, 60, mended, lacking=LACKING)


RANGE = {"at": st.integers(0, 3_499), "more": st.integers(0, 1_500)}


def test_fetch_range_under_any_mixture_is_all_that_there_is(exchange: Running) -> None:
    run(exchange, 40, ranged, **RANGE)


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=QUIETLY)
@given(seed=SEEDS, at=st.integers(0, 3_499))
def test_fetch_ids_resumed_under_any_mixture_is_whole(
    exchange: Running, seed: int, at: int
) -> None:
    assert resumed(exchange, seed, at).equals(TRUTH.filter(pl.col("id") >= FIRST + at))


@pytest.mark.long
def test_fetch_day_under_many_mixtures_is_whole_or_refused(exchange: Running) -> None:
    run(exchange, 600, outcome)


@pytest.mark.long
def test_complete_day_under_many_mixtures_is_whole_or_refused(exchange: Running) -> None:
    run(exchange, 400, mended, lacking=LACKING)


@pytest.mark.long
def test_fetch_range_under_many_mixtures_is_all_that_there_is(exchange: Running) -> None:
    run(exchange, 400, ranged, **RANGE)
