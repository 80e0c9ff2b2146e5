"""The collector under any mixture of faults, restarts and lost databases: whole, or named missing."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from trader_pipelines.collector.status import Status
from trader_pipelines_tests.collector import tape
from trader_pipelines_tests.exchange.faults import mixture
from trader_pipelines_tests.exchange.running import Running, running_exchange

REST = "binance.aggTrades"
CONNECT = "binance.connect"


@dataclass(frozen=True)
class Schedule:
    """What goes wrong while a tape of 600 prints goes by.

    Parameters
    ----------
    faults : dict
        Of the exchange: of the stream, of REST, and of the handshake.
    rate : str
        Prints a second; ``max`` waits while nobody listens.
    stops : list of int
        The collector is stopped after so many milliseconds, and started again.
    cuts : list of int
        After so many milliseconds every session of the database is ended.
    """

    faults: dict[str, Any]
    rate: str
    stops: list[int]
    cuts: list[int]


def rates(most: float) -> st.SearchStrategy[float]:
    return st.integers(1, 100).map(lambda n: round(n / 100 * most, 5))


def entry(kind: str, **drawn: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"kind": st.just(kind), **drawn})


def stream_faults() -> st.SearchStrategy[dict[str, Any]]:
    some = {"rate": rates(0.1)}
    places = st.lists(st.integers(1, 600), min_size=1, max_size=3, unique=True)
    return st.one_of(
        *(entry(kind, **some) for kind in ("drop", "duplicate", "garble")),
        *(entry(f"stream_{kind}", **some) for kind in ("mixed_ids", "microseconds")),
        entry("reorder", by=st.integers(1, 50), **some),
        entry("drop", at=places),
        entry("disconnect", at=places, lose=st.integers(0, 80), code=st.sampled_from([1006, 1001])),
        entry("stall", at=places, seconds=st.integers(1, 30).map(lambda n: n / 100)),
    )


def rest_faults() -> st.SearchStrategy[dict[str, Any]]:
    some = {"on": st.just(REST), "rate": rates(0.5)}
    brief = st.integers(1, 10).map(lambda n: n / 100)
    plain = (
        "too_many",
        "refuse",
        "cut",
        "truncate",
        "mixed_ids",
        "microseconds",
        "missing_rows",
        "repeated_rows",
        "disordered_rows",
        "empty_page",
    )
    return st.one_of(
        *(entry(kind, **some) for kind in plain),
        *(entry(kind, seconds=brief, **some) for kind in ("slow", "hang")),
        entry("status", status=st.sampled_from([500, 502, 503, 504]), **some),
    )


def handshake_faults() -> st.SearchStrategy[dict[str, Any]]:
    some = {"on": st.just(CONNECT), "times": st.integers(1, 3)}
    return st.one_of(
        entry("refuse", **some),
        entry("status", status=st.sampled_from([500, 502, 503]), **some),
        entry("too_many", **some),
    )


def holes() -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda first, more, where: {
            "kind": "hole",
            "first": tape.BASE + first,
            "last": tape.BASE + first + more,
            "where": where,
        },
        st.integers(0, 250),
        st.integers(0, 40),
        st.sampled_from([["rest", "stream"], ["stream"], ["rest"]]),
    )


MOMENTS = st.lists(st.integers(0, 400), max_size=2)
SCHEDULES = st.builds(
    lambda seed, stream, rest, handshake, hole, rate, stops, cuts: Schedule(
        {"seed": seed, "faults": stream + rest + handshake + hole}, rate, stops, cuts
    ),
    st.integers(0, 10**6),
    st.lists(stream_faults(), min_size=1, max_size=4),
    st.lists(rest_faults(), max_size=2),
    st.lists(handshake_faults(), max_size=1),
    st.lists(holes(), max_size=1),
    st.sampled_from(["max", "1500"]),
    MOMENTS,
    MOMENTS,
)


@pytest.fixture(scope="module")
def venue() -> Iterator[Running]:
    with running_exchange(
        ["synthetic:2:600:1"], live_from="start", start_symbols=2, weight_limit=10_000_000
    ) as running:
        yield running


async def lived_through(running: Running, url: str, schedule: Schedule) -> Status:
    cutting = asyncio.create_task(asyncio.to_thread(cut, url, schedule.cuts))
    try:
        for ms in schedule.stops:
            await tape.for_a_while(running, url, ms / 1e3)
        return await tape.until_told(running, url, seconds=60)
    finally:
        await cutting


def cut(url: str, after: list[int]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for ms in after:
            time.sleep(ms / 1e3)
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where pid <> "
                "pg_backend_pid() and datname = current_database()"
            )


def outcome(running: Running, url: str, schedule: Schedule) -> str:
    """Collect a tape under a schedule and say how it ended: ``whole``, ``named`` or what is wrong.

    ``named``: what is not in the store is missing by name, and nothing else is.
    """
    with psycopg.connect(url) as connection:
        connection.execute("truncate hot_ticks cascade")
    running.tell("reset", replay=True, limits=True, faults=schedule.faults)
    running.tell("replay", rate=schedule.rate)
    status = asyncio.run(lived_through(running, url, schedule))
    lost: set[int] = set()
    for fault in schedule.faults["faults"]:
        if fault["kind"] == "hole" and "rest" in fault["where"]:
            lost = set(range(fault["first"], fault["last"] + 1))
    lies = any(fault.get("on") == REST for fault in schedule.faults["faults"])
    named = 0
    with psycopg.connect(url) as connection:
        for symbol in tape.SYMBOLS:
            told = {i for a, b in status.symbols[symbol].missing for i in range(a, b + 1)}
            named += len(told)
            expected = [row for row in tape.truth(running, symbol) if row[0] not in told]
            if tape.stored(connection, symbol) != expected:
                return f"{symbol}: the store is not the tape without {sorted(told)}"
            if not lies and not told <= lost:
                return f"{symbol}: {sorted(told - lost)} missing though REST has them"
        row = connection.execute("select count(*) from hot_ticks").fetchone()
    if row != (600 - named,):
        return f"{row} rows, {named} named missing"
    return "named" if named else "whole"


def run(running: Running, url: str, examples: int) -> Counter[str]:
    counted: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        # A schedule takes seconds and depends on the clock: shrinking one would take hours.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(schedule=SCHEDULES)
    def each(schedule: Schedule) -> None:
        result = outcome(running, url, schedule)
        assert result in ("whole", "named"), result
        counted[result] += 1

    each()
    assert counted.total() >= examples
    # Naming everything missing would pass each schedule; the collector has to bring the trades.
    assert counted["whole"] >= 0.6 * counted.total()
    return counted


def test_collect_under_any_mixture_every_trade_once_or_named(
    venue: Running, database_url: str
) -> None:
    run(venue, database_url, 10)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_collect_under_many_mixtures_every_trade_once_or_named(
    venue: Running, database_url: str
) -> None:
    run(venue, database_url, 250)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_collect_under_two_hundred_seeds_of_the_exchange_every_trade_once(
    venue: Running, database_url: str
) -> None:
    for seed in range(200):
        faults = mixture(seed, ["stream"], rate=0.9)
        result = outcome(venue, database_url, Schedule(faults, "max", [], []))
        assert result == "whole", f"seed {seed}: {result}"
