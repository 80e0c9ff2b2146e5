"""Asking again for a part of a day: ranges of ids, a day that is stored in part, and its klines."""

import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trader_pipelines.core.errors import (
    DayNotOverError,
    MissingDataError,
    UnknownSymbolError,
    VenueUnreachableError,
)
from trader_pipelines.core.trades import TRADES
from trader_pipelines.venues.archive import BinanceArchive
from trader_pipelines.venues.base import Completing, RangeSource
from trader_pipelines.venues.binance_day import Gathered, windows
from trader_pipelines.venues.binance_rows import Print
from trader_pipelines_tests import tapes
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.venues import made_up, server, test_ccxt_kraken
from trader_pipelines_tests.venues import rest_exchange as rest
from trader_pipelines_tests.venues.kraken_server import Kraken, serving
from trader_pipelines_tests.venues.test_binance import AGG, ONCE

TRUTH = rest.truth(rest.MADE_UP, rest.SYMBOL)
FIRST, LAST = int(TRUTH["id"][0]), int(TRUTH["id"][-1])
KLINES = "binance.klines"


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running_exchange([rest.MADE_UP], weight_limit=10**9) as running:
        yield running


@pytest.fixture
def asked(exchange: Running) -> Any:
    """Sets the exchange's faults and forgets what it counted."""

    def reset(*faults: dict[str, Any]) -> rest.Asked:
        exchange.tell("reset", limits=True, faults=list(faults))
        return rest.Asked(exchange)

    reset()
    return reset


def without(*ranges: tuple[int, int]) -> pl.DataFrame:
    """The tape without some of its trades, counted from 0."""
    gone = [pl.col("id").is_between(FIRST + a, FIRST + b) for a, b in ranges]
    return TRUTH.filter(~pl.any_horizontal(gone))


# Binance: ranges


def test_fetch_range_gives_what_there_is_of_it(exchange: Running, asked: Any) -> None:
    counted = asked()
    venue = rest.binance(exchange)
    assert isinstance(venue, RangeSource)
    got = venue.fetch_range(rest.SYMBOL, rest.DAY, FIRST + 10, FIRST + 1_509)
    assert got.trades.equals(TRUTH[10:1_510])
    assert got.void_ids == ()
    assert got.source == f"aggTrades over REST, SYN000USDT ids {FIRST + 10} to {FIRST + 1_509}"
    assert (counted.of(AGG), counted.of(KLINES), counted.of("binance.time")) == (2, 0, 0)


def test_fetch_range_that_the_venue_lacks_is_empty_after_two_questions(
    exchange: Running, asked: Any
) -> None:
    hole = {"kind": "hole", "first": FIRST + 500, "last": FIRST + 520, "where": ["rest"]}
    counted = asked(hole)
    got = rest.binance(exchange).fetch_range(rest.SYMBOL, rest.DAY, FIRST + 500, FIRST + 520)
    assert got.trades.equals(TRADES.to_frame())
    assert counted.of(AGG) == 2


def test_fetch_range_beyond_two_holes_ends(exchange: Running, asked: Any) -> None:
    # The page that answers for the first hole has the second one in its middle.
    asked({"kind": "hole", "first": FIRST + 500, "last": FIRST + 520, "where": ["rest"]},
          {"kind": "hole", "first": FIRST + 525, "last": FIRST + 530, "where": ["rest"]})  # fmt: skip
    got = rest.binance(exchange).fetch_range(rest.SYMBOL, rest.DAY, FIRST + 500, FIRST + 520)
    assert got.trades.height == 0
    got = rest.binance(exchange).fetch_range(rest.SYMBOL, rest.DAY, FIRST + 498, FIRST + 532)
    assert [i - FIRST for i in got.trades["id"]] == [498, 499, 521, 522, 523, 524, 531, 532]


def test_fetch_range_of_another_day_is_empty(exchange: Running, asked: Any) -> None:
    tomorrow = rest.DAY + timedelta(days=1)
    got = rest.binance(exchange).fetch_range(rest.SYMBOL, tomorrow, LAST - 9, LAST + 9)
    assert got.trades.height == 0


@pytest.mark.parametrize("fault", ONCE, ids=lambda f: "-".join(map(str, f.values())))
@pytest.mark.parametrize("number", [1, 2], ids=["first page", "last page"])
def test_fetch_range_one_fault_leaves_it_whole(
    exchange: Running, asked: Any, fault: dict[str, Any], number: int
) -> None:
    asked({**fault, "on": AGG, "at": [number]})
    got = rest.binance(exchange).fetch_range(rest.SYMBOL, rest.DAY, FIRST + 10, FIRST + 1_509)
    assert got.trades.equals(TRUTH[10:1_510])
    assert exchange.ask("state")["faults"][0]["fired"] == 1


def test_fetch_range_of_a_venue_that_is_down_is_typed(exchange: Running, asked: Any) -> None:
    asked({"kind": "status", "status": 503, "on": AGG})
    with pytest.raises(VenueUnreachableError):
        rest.binance(exchange).fetch_range(rest.SYMBOL, rest.DAY, FIRST, FIRST)


# Binance: a day that is stored in part


def completed(exchange: Running, have: pl.DataFrame, **more: Any) -> pl.DataFrame:
    """The day out of what is stored; it must be told as if it had been fetched whole."""
    venue = rest.binance(exchange, **more)
    assert isinstance(venue, Completing)
    got = venue.complete_day(rest.SYMBOL, rest.DAY, have)
    whole = rest.binance(exchange).fetch_day(rest.SYMBOL, rest.DAY)
    assert (got.source, dict(got.reconciled)) == (whole.source, dict(whole.reconciled))
    assert got.void_ids == whole.void_ids
    return got.trades


#: Ids that are not stored, counted from the first of the tape, and the pages that this costs; the
#: page after the last id, which proves the end, is one of them.
PARTS: dict[str, tuple[list[tuple[int, int]], int]] = {
    "nothing lacks": ([], 1),
    "one in the middle": ([(1_700, 1_700)], 2),
    "many holes within one page": ([(100 + 9 * n, 101 + 9 * n) for n in range(100)], 2),
    "holes on two pages": ([(100, 100), (1_099, 1_100)], 3),
    "a hole of two pages": ([(500, 1_900)], 3),
    "the tail": ([(3_000, 3_499)], 1),
    "the head": ([(0, 999)], 2),
    "the head, more than a page": ([(0, 1_499)], 3),
    "everything but one trade": ([(0, 1_999), (2_001, 3_499)], 4),
}


@pytest.mark.parametrize("name", PARTS)
def test_complete_day_asks_only_for_what_lacks(exchange: Running, asked: Any, name: str) -> None:
    lacking, pages = PARTS[name]
    have = without(*lacking) if lacking else TRUTH
    counted = asked()
    got = rest.binance(exchange).complete_day(rest.SYMBOL, rest.DAY, have)
    assert got.trades.equals(TRUTH)
    assert (counted.of(AGG), counted.of(KLINES), counted.of("binance.time")) == (pages, 2, 0)
    assert completed(exchange, have).equals(TRUTH)


def test_complete_day_without_anything_is_fetch_day(exchange: Running, asked: Any) -> None:
    assert completed(exchange, TRADES.to_frame()).equals(TRUTH)


def test_complete_day_holes_of_the_venue_stay_named(exchange: Running, asked: Any) -> None:
    asked({"kind": "hole", "first": FIRST + 1_500, "last": FIRST + 1_600, "where": ["rest"]})
    have = without((0, 99), (1_400, 1_650))
    got = completed(exchange, have)
    assert got.equals(without((1_500, 1_600)))
    # What only we have is kept: the klines count it.
    assert rest.binance(exchange).complete_day(rest.SYMBOL, rest.DAY, TRUTH).trades.equals(TRUTH)


@pytest.mark.parametrize("at", [0, 1_700, 3_499], ids=["first", "middle", "last"])
@pytest.mark.parametrize(
    "wrong",
    [{"size": 1}, {"fills": 5}, {"side": -1}, {"ts_event": 120_000_000_000}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_complete_day_stored_row_that_the_klines_tell_otherwise_is_fetched_again(
    exchange: Running, asked: Any, at: int, wrong: dict[str, int]
) -> None:
    ((name, by),) = wrong.items()
    old = pl.col(name).to_physical()
    new = old * by if name == "side" else old + by
    here = pl.col("id") == FIRST + at
    have = TRUTH.with_columns(pl.when(here).then(new).otherwise(old).alias(name)).cast(TRADES)
    assert not have.equals(TRUTH)
    counted = asked()
    got = rest.binance(exchange).complete_day(rest.SYMBOL, rest.DAY, have)
    assert got.trades.equals(TRUTH)
    assert counted.of(AGG) <= 3
    assert got.reconciled["klines_minutes_differing"] == 0


def test_complete_day_rows_that_were_never_printed_are_dropped(
    exchange: Running, asked: Any
) -> None:
    hole = (FIRST + 1_500, FIRST + 1_504)
    asked({"kind": "hole", "first": hole[0], "last": hole[1], "where": ["rest", "klines"]})
    real = without((1_500, 1_504))
    got = rest.binance(exchange).complete_day(rest.SYMBOL, rest.DAY, TRUTH)
    assert got.trades.equals(real)
    assert got.reconciled["klines_minutes_differing"] == 0


def test_complete_day_trades_of_other_days_are_not_taken(exchange: Running, asked: Any) -> None:
    later = TRUTH.tail(1).with_columns(
        id=pl.col("id") + 1, ts_event=(pl.col("ts_event").to_physical() + 86_400 * 10**9)
    ).cast(TRADES)  # fmt: skip
    assert completed(exchange, pl.concat([TRUTH, later])).equals(TRUTH)


@pytest.mark.parametrize(("day", "stray"), [(1, -700), (0, 40_000_000_000)])
def test_complete_day_stored_id_of_another_space_is_dropped(day: int, stray: int) -> None:
    # Of two days the one is stored, with an id on whose way to the others lie trades of the other.
    with running_exchange(["synthetic:1:0.02:172800:2024-01-01"], weight_limit=10**9) as running:
        told = rest.DAY - timedelta(days=1 - day)
        whole = rest.binance(running).fetch_day(rest.SYMBOL, told)
        odd = whole.trades[500:501].with_columns(id=whole.trades["id"][0] + stray).cast(TRADES)
        have = pl.concat([whole.trades[200:1_000], odd]).sort("id")
        counted = rest.Asked(running)
        before = counted.of(AGG)
        got = rest.binance(running).complete_day(rest.SYMBOL, told, have)
        assert counted.of(AGG) - before <= 5
    assert got.trades.equals(whole.trades)
    assert dict(got.reconciled) == dict(whole.reconciled)


@pytest.mark.parametrize("fault", ONCE, ids=lambda f: "-".join(map(str, f.values())))
@pytest.mark.parametrize("number", [1, 3], ids=["a hole", "the end"])
def test_complete_day_one_fault_leaves_it_whole(
    exchange: Running, asked: Any, fault: dict[str, Any], number: int
) -> None:
    asked({**fault, "on": AGG, "at": [number]})
    have = without((700, 900), (2_200, 2_210), (3_450, 3_499))
    got = rest.binance(exchange).complete_day(rest.SYMBOL, rest.DAY, have)
    assert got.trades.equals(TRUTH)
    assert exchange.ask("state")["faults"][0]["fired"] == 1


def test_complete_day_that_is_not_over_is_refused(exchange: Running, asked: Any) -> None:
    counted = asked()
    with pytest.raises(DayNotOverError):
        rest.binance(exchange, today=lambda: rest.DAY).complete_day(rest.SYMBOL, rest.DAY, TRUTH)
    assert counted.of(AGG) + counted.of(KLINES) == 0


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_windows_hold_every_id_in_the_fewest_pages(size: int) -> None:
    rng = random.Random(size)
    for _ in range(200):
        ids = sorted(rng.sample(range(3 * size + 40), rng.randint(1, 30)))
        ranges = [(i, i) for i in ids]
        pages = list(windows(ranges, size))
        assert all(last - first < size for first, last in pages)
        assert all(any(a <= i <= b for a, b in pages) for i in ids)
        assert all(a <= b < c for (a, b), (c, _) in pairwise(pages))
        # Every page begins with an id that lacks and that no page before it could reach.
        assert {first for first, _ in pages} <= set(ids)
        assert all(c - a >= size for (a, _), (c, _) in pairwise(pages))


def printed(number: int, *, void: bool = False) -> Print:
    raw = (-1, -1) if void else (number, number)
    return Print(number, 1_704_153_600_000_000_000 + number, 5, 7, 1, 1, *raw)


def test_void_ids_are_told_and_do_not_lack() -> None:
    got = Gathered(TRADES.to_frame())
    assert got.take([[printed(1), printed(2, void=True), printed(3)], [printed(7)]])
    assert list(got.trades()["id"]) == [1, 3, 7]
    assert (got.void_ids, got.lacking(), got.edges()) == ((2,), ((4, 6),), (1, 7))


def test_stored_trade_that_the_venue_declares_void_is_dropped() -> None:
    before = Gathered(TRADES.to_frame())
    before.take([[printed(1), printed(2), printed(3)]])
    got = Gathered(before.trades())
    assert got.take([[printed(2, void=True)]])
    assert list(got.trades()["id"]) == [1, 3]
    assert got.lacking() == ()
    # What came in this call is no news the second time.
    assert not got.take([[printed(2, void=True)]])


# Binance: what the venue says now


def test_recheck_is_true_when_the_klines_say_otherwise(exchange: Running, asked: Any) -> None:
    counted = asked()
    venue = rest.binance(exchange)
    assert venue.recheck(rest.SYMBOL, rest.DAY, TRUTH) is False
    assert (counted.of(KLINES), counted.of(AGG)) == (2, 0)
    assert venue.recheck(rest.SYMBOL, rest.DAY, without((1_700, 1_700))) is True
    asked({"kind": "wrong_kline", "on": KLINES})
    assert venue.recheck(rest.SYMBOL, rest.DAY, TRUTH) is True


# The archive


def test_archive_fetch_range_reads_the_day_once(tmp_path: Path) -> None:
    tapes.write_csv(tmp_path, "BTCUSDT", made_up.DAY, tapes.to_csv(made_up.TRADES_OF_DAY))
    tapes.write_csv(tmp_path, "BTCUSDT", made_up.NEXT_DAY, tapes.to_csv(made_up.TRADES_OF_NEXT_DAY))
    btc = tapes.INSTRUMENTS["BTCUSDT"]
    with server.serving(tmp_path) as served:
        archive = BinanceArchive(served.url, patience=made_up.QUICK)
        assert isinstance(archive, RangeSource)
        whole = archive.fetch_day(btc, made_up.DAY)
        served.asked.clear()
        for first, last in ((102, 103), (101, 101), (90, 100), (104, 900)):
            got = archive.fetch_range(btc, made_up.DAY, first, last)
            assert got.trades.equals(whole.trades.filter(pl.col("id").is_between(first, last)))
            assert got.source == whole.source
        assert len(served.asked) == 2
        assert archive.fetch_range(btc, made_up.NEXT_DAY, 105, 105).trades.height == 1
        assert len(served.asked) == 4


def test_archive_fetch_range_names_the_void_ids_of_the_range(tmp_path: Path) -> None:
    rows = tapes.to_csv(made_up.TRADES_OF_DAY).decode().splitlines()
    stamp = rows[-1].split(",")[5]
    void = f"105,0.00000000,0.00000000,-1,-1,{stamp},false,true"
    content = "".join(f"{row}\n" for row in (*rows, void)).encode()
    tapes.write_csv(tmp_path, "BTCUSDT", made_up.DAY, content)
    archive = BinanceArchive(str(tmp_path))
    btc = tapes.INSTRUMENTS["BTCUSDT"]
    assert archive.fetch_range(btc, made_up.DAY, 104, 105).void_ids == (105,)
    assert archive.fetch_range(btc, made_up.DAY, 101, 104).void_ids == ()


def test_archive_fetch_range_of_a_day_without_a_file_is_typed(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError):
        BinanceArchive(str(tmp_path)).fetch_range(
            tapes.INSTRUMENTS["BTCUSDT"], made_up.DAY, 101, 102
        )


# Kraken


@pytest.fixture
def kraken() -> Iterator[Kraken]:
    with serving(Kraken(test_ccxt_kraken.made_up(10_000))) as running:
        yield running


KRAKEN_DAY, BTC = test_ccxt_kraken.DAY, test_ccxt_kraken.BTC


@pytest.mark.parametrize(
    ("first", "count"),
    [(0, 5), (99, 8), (2_345, 1), (1_990, 1_500), (4_000, 900)],
)
def test_kraken_fetch_range_reads_from_before_it(kraken: Kraken, first: int, count: int) -> None:
    whole = test_ccxt_kraken.truth(kraken)
    wanted = whole[first : first + count]
    venue = test_ccxt_kraken.venue(kraken)
    assert isinstance(venue, RangeSource)
    first_id, last_id = int(wanted["id"][0]), int(wanted["id"][-1])
    got = venue.fetch_range(BTC, KRAKEN_DAY, first_id, last_id)
    assert got.trades.equals(wanted)
    # The range itself is on three pages at most; the day is on five.
    assert len(kraken.asked) <= 2 + 3


def test_kraken_fetch_range_that_it_lacks_is_empty(kraken: Kraken) -> None:
    gone = kraken.trades[2_000:2_010]
    del kraken.trades[2_000:2_010]
    got = test_ccxt_kraken.venue(kraken).fetch_range(BTC, KRAKEN_DAY, gone[0][4], gone[-1][4])
    assert got.trades.height == 0
    got = test_ccxt_kraken.venue(kraken).fetch_range(BTC, KRAKEN_DAY, gone[0][4] - 2, gone[-1][4])
    assert list(got.trades["id"]) == [gone[0][4] - 2, gone[0][4] - 1]


@pytest.mark.parametrize("how", ["missing", "empty", "truncate", "limit", "down", "html"])
@pytest.mark.parametrize("number", range(1, 9))
def test_kraken_fetch_range_one_bad_answer_leaves_it_whole(
    kraken: Kraken, how: str, number: int
) -> None:
    kraken.spoil[number] = how
    wanted = test_ccxt_kraken.truth(kraken)[1_990:3_000]
    got = test_ccxt_kraken.venue(kraken).fetch_range(
        BTC, KRAKEN_DAY, int(wanted["id"][0]), int(wanted["id"][-1])
    )
    assert got.trades.equals(wanted)


def test_fetch_range_of_another_venues_instrument_is_refused(
    exchange: Running, kraken: Kraken, asked: Any
) -> None:
    for venue, instrument in (
        (rest.binance(exchange), BTC),
        (test_ccxt_kraken.venue(kraken), rest.SYMBOL),
    ):
        with pytest.raises(UnknownSymbolError):
            venue.fetch_range(instrument, rest.DAY, 1, 2)
