"""Binance over REST through the real ccxt client: conformance, each fault alone, refusals, limits."""

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trader_pipelines.core.certificates import Status, certify
from trader_pipelines.core.errors import (
    BadAnswerError,
    ClockError,
    KeyRefusedError,
    MissingDataError,
    SettingsError,
    UnknownSymbolError,
    VenueBannedError,
    VenueUnreachableError,
)
from trader_pipelines.core.reconciliation import reconcile_sources
from trader_pipelines.venues.archive import BinanceArchive
from trader_pipelines.venues.binance import Binance
from trader_pipelines.venues.binance_rows import frame, read_prints
from trader_pipelines.venues.budget import Budget
from trader_pipelines.venues.ccxt_client import _clocks
from trader_pipelines_tests import tapes
from trader_pipelines_tests.exchange.running import ROOT, Running, running_exchange
from trader_pipelines_tests.venues import rest_exchange as rest
from trader_pipelines_tests.venues.conformance import Case, VenueConformance

TRUTH = rest.truth(rest.MADE_UP, rest.SYMBOL)
FIRST, LAST = int(TRUTH["id"][0]), int(TRUTH["id"][-1])
AGG = "binance.aggTrades"


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


@pytest.fixture(scope="module")
def two_days() -> Iterator[Running]:
    with running_exchange(["synthetic:1:0.03:172800:2024-01-02"], weight_limit=10**9) as running:
        yield running


class TestBinanceRest(VenueConformance):
    @pytest.fixture
    def case(self, two_days: Running) -> Case:
        return Case(
            build=lambda today: rest.binance(two_days, today=today),
            instrument=rest.SYMBOL,
            days=(rest.DAY, rest.DAY + timedelta(days=1)),
            synthetic=False,
        )


def test_fetch_day_is_the_tape_and_agrees_with_the_klines(exchange: Running, asked: Any) -> None:
    fetched = rest.binance(exchange).fetch_day(rest.SYMBOL, rest.DAY)
    assert fetched.trades.equals(TRUTH)
    assert dict(fetched.reconciled) == {
        "rest_rows": 3_500,
        "klines_minutes": 117,
        "klines_fills": 3_500,
        "klines_minutes_differing": 0,
    }


def test_fetch_day_sends_the_least_number_of_requests_for_trades(
    exchange: Running, asked: Any
) -> None:
    counted = asked()
    venue = rest.binance(exchange)
    venue.fetch_day(rest.SYMBOL, rest.DAY)
    assert counted.of(AGG) == math.ceil(3_500 / 1_000)
    # The clock is read from the answers that come anyway.
    assert (counted.of("binance.klines"), counted.of("binance.time")) == (2, 0)
    assert counted.of("binance.exchangeInfo") == 0


def test_fetch_day_real_tape_is_equal_to_the_archive(market_data: Path, tmp_path: Path) -> None:
    day = date(2020, 11, 1)
    tapes.write_archive(tmp_path, market_data, {"BTCUSDT": (day,)})
    archived = BinanceArchive(str(tmp_path)).fetch_day(tapes.INSTRUMENTS["BTCUSDT"], day).trades
    folder = market_data / "trades" / "binance_spot_aggtrade_frames_20201101"
    with running_exchange(sorted(folder.glob("BTCUSDT_*.json.gz")), weight_limit=10**9) as running:
        counted = rest.Asked(running)
        fetched = rest.binance(running).fetch_day(tapes.INSTRUMENTS["BTCUSDT"], day)
        sent = counted.of(AGG)
    agreed = reconcile_sources(fetched.trades, archived)
    assert agreed.agrees
    assert agreed.common == archived.height
    assert agreed.common > 18_000
    assert fetched.reconciled["klines_minutes_differing"] == 0
    assert sent == math.ceil(archived.height / 1_000)


ONCE = [
    {"kind": "too_many"},
    {"kind": "too_many", "retry_after": 1},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 502},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 504},
    {"kind": "slow", "seconds": 0.1},
    {"kind": "hang", "seconds": 3},
    {"kind": "refuse"},
    {"kind": "cut"},
    {"kind": "truncate"},
    {"kind": "mixed_ids"},
    {"kind": "microseconds"},
    {"kind": "missing_rows"},
    {"kind": "repeated_rows"},
    {"kind": "disordered_rows"},
    {"kind": "empty_page"},
]


@pytest.mark.parametrize("fault", ONCE, ids=lambda f: "-".join(map(str, f.values())))
@pytest.mark.parametrize("number", [1, 4], ids=["first page", "last page"])
def test_fetch_day_one_fault_leaves_it_whole(
    exchange: Running, asked: Any, fault: dict[str, Any], number: int
) -> None:
    asked({**fault, "on": AGG, "at": [number]})
    assert rest.binance(exchange).fetch_day(rest.SYMBOL, rest.DAY).trades.equals(TRUTH)
    assert exchange.ask("state")["faults"][0]["fired"] == 1


@pytest.mark.parametrize("fault", ONCE[:11], ids=lambda f: "-".join(map(str, f.values())))
@pytest.mark.parametrize("number", [1, 2], ids=["first half", "second half"])
def test_fetch_day_one_fault_of_the_klines_leaves_it_whole(
    exchange: Running, asked: Any, fault: dict[str, Any], number: int
) -> None:
    asked({**fault, "on": "binance.klines", "at": [number]})
    fetched = rest.binance(exchange).fetch_day(rest.SYMBOL, rest.DAY)
    assert fetched.trades.equals(TRUTH)
    assert fetched.reconciled["klines_minutes_differing"] == 0
    assert exchange.ask("state")["faults"][0]["fired"] == 1


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("truncate", "the body is no JSON"),
        ("mixed_ids", "aggregate and raw trade ids are mixed"),
    ],
)
def test_fetch_day_a_lie_each_time_is_refused(
    exchange: Running, asked: Any, kind: str, said: str
) -> None:
    asked({"kind": kind, "on": AGG})
    with pytest.raises(BadAnswerError, match=said) as caught:
        rest.binance(exchange).fetch_day(rest.SYMBOL, rest.DAY)
    assert caught.value.retry


def test_fetch_day_pages_that_ended_too_early_go_on_from_the_last_id(
    exchange: Running, asked: Any
) -> None:
    counted = asked({"kind": "empty_page", "on": AGG, "at": [3]})
    assert rest.binance(exchange).fetch_day(rest.SYMBOL, rest.DAY).trades.equals(TRUTH)
    # Two that came, the empty one, and the rest; the klines of the first look proved it.
    assert (counted.of(AGG), counted.of("binance.klines")) == (5, 2)


def test_fetch_day_ids_that_rest_has_lost_are_named_missing(exchange: Running, asked: Any) -> None:
    asked({"kind": "hole", "first": FIRST + 1_500, "last": FIRST + 1_600, "where": ["rest"]})
    fetched = rest.binance(exchange).fetch_day(rest.SYMBOL, rest.DAY)
    lost = pl.col("id").is_between(FIRST + 1_500, FIRST + 1_600)
    assert fetched.trades.equals(TRUTH.filter(~lost))
    certificate = certify(
        fetched.trades,
        venue="binance",
        symbol=rest.SYMBOL.symbol,
        day=rest.DAY,
        source=fetched.source,
        synthetic=False,
        reconciled=fetched.reconciled,
    )
    assert certificate.status is Status.INCOMPLETE
    assert certificate.missing == ((FIRST + 1_500, FIRST + 1_600),)
    assert fetched.reconciled["klines_fills_difference"] == 101
    lacking = TRUTH.filter(lost)["ts_event"].dt.strftime("%H:%M").unique(maintain_order=True)
    assert fetched.reconciled["klines_lacking"] == " ".join(lacking)


def test_fetch_day_hole_at_its_end_is_refused_and_never_called_whole(
    exchange: Running, asked: Any
) -> None:
    asked({"kind": "hole", "first": LAST - 9, "last": LAST, "where": ["rest"]})
    quick = replace(rest.QUICK, attempts=2)
    with pytest.raises(BadAnswerError, match="count trades before the first or after the last"):
        rest.binance(exchange, patience=quick).fetch_day(rest.SYMBOL, rest.DAY)


def test_fetch_day_wrong_kline_is_told_and_the_trades_are_kept(
    exchange: Running, asked: Any
) -> None:
    asked({"kind": "wrong_kline", "on": "binance.klines"})
    fetched = rest.binance(exchange).fetch_day(rest.SYMBOL, rest.DAY)
    assert fetched.trades.equals(TRUTH)
    assert fetched.reconciled["klines_minutes_differing"] == 1
    assert fetched.reconciled["klines_fills_difference"] == 1


def test_fetch_ids_gives_the_range_and_nothing_else(exchange: Running, asked: Any) -> None:
    counted = asked()
    pages = list(rest.binance(exchange).fetch_ids(rest.SYMBOL, FIRST + 10, FIRST + 1_509))
    assert [page.height for page in pages] == [1_000, 500]
    assert pl.concat(pages).equals(TRUTH[10:1_510])
    assert counted.of(AGG) == 2


def test_fetch_ids_that_do_not_exist_gives_nothing(exchange: Running, asked: Any) -> None:
    assert list(rest.binance(exchange).fetch_ids(rest.SYMBOL, LAST + 1, LAST + 50)) == []


def test_fetch_from_goes_on_to_the_latest(exchange: Running, asked: Any) -> None:
    pages = list(rest.binance(exchange).fetch_from(rest.SYMBOL, FIRST + 400))
    assert pl.concat(pages).equals(TRUTH[400:])


def test_fetch_from_failure_keeps_the_pages_before_it(exchange: Running, asked: Any) -> None:
    asked({"kind": "status", "status": 503, "on": AGG, "at": list(range(3, 100))})
    pages = rest.binance(exchange).fetch_from(rest.SYMBOL, FIRST)
    kept = [next(pages), next(pages)]
    with pytest.raises(VenueUnreachableError, match="12 times: it answers 503"):
        next(pages)
    assert pl.concat(kept).equals(TRUTH[:2_000])
    asked()
    rest_of_it = rest.binance(exchange).fetch_from(rest.SYMBOL, int(kept[-1]["id"][-1]) + 1)
    assert pl.concat([*kept, *rest_of_it]).equals(TRUTH)


def test_unknown_symbol_is_typed_and_not_asked_again(exchange: Running, asked: Any) -> None:
    counted = asked()
    with pytest.raises(UnknownSymbolError, match="venue binance knows no symbol 'NOSUCHUSDT'"):
        rest.binance(exchange).fetch_day(replace(rest.SYMBOL, symbol="NOSUCHUSDT"), rest.DAY)
    assert counted.of(AGG) == 1


def test_day_before_the_first_trade_is_missing(exchange: Running, asked: Any) -> None:
    with pytest.raises(MissingDataError, match=r"first trade is of 2024-01-02 10:00 UTC") as caught:
        rest.binance(exchange).fetch_day(rest.SYMBOL, date(2024, 1, 1))
    assert "since: 2024-01-02" in caught.value.remedy


def test_day_after_the_delisting_is_an_unknown_symbol(exchange: Running, asked: Any) -> None:
    now = datetime.now(UTC) - timedelta(hours=1)
    asked({"kind": "halt", "start": f"{now:%Y-%m-%dT%H:%M:%S}", "seconds": 86_400})
    with pytest.raises(UnknownSymbolError, match="the venue lists it as HALT"):
        rest.binance(exchange).fetch_day(rest.SYMBOL, date(2024, 1, 3))


def test_day_without_trades_of_a_listed_symbol_is_empty(exchange: Running, asked: Any) -> None:
    assert rest.binance(exchange).fetch_day(rest.SYMBOL, date(2024, 1, 3)).trades.height == 0


@pytest.mark.parametrize("status", [403, 451])
def test_address_refused_is_one_typed_error_without_retry(
    exchange: Running, asked: Any, status: int
) -> None:
    counted = asked({"kind": "status", "status": status, "on": "binance.*"})
    with pytest.raises(KeyRefusedError, match=f"it answers {status}") as caught:
        rest.binance(exchange).fetch_day(rest.SYMBOL, rest.DAY)
    assert not caught.value.retry
    assert counted.of(AGG) == 1


@pytest.mark.parametrize(("ms", "said"), [(300_000, "behind it"), (-300_000, "ahead of it")])
def test_clock_off_by_minutes_is_typed(exchange: Running, asked: Any, ms: int, said: str) -> None:
    asked({"kind": "clock_skew", "ms": ms})
    with pytest.raises(ClockError, match=rf"this one is (300|299) s {said}"):
        rest.binance(exchange).fetch_day(rest.SYMBOL, rest.DAY)


def test_clock_is_read_from_answers_and_asked_for_only_without_one(
    exchange: Running, asked: Any
) -> None:
    counted = asked()
    venue = rest.binance(exchange)
    venue.check_clock()
    assert counted.of("binance.time") == 1
    venue.check_clock()
    venue.fetch_range(rest.SYMBOL, rest.DAY, FIRST, FIRST)
    venue.check_clock()
    assert counted.of("binance.time") == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Date": "Tue, 02 Jan 2024 10:00:00 GMT"}, 1_704_189_600.5),
        ({"Date": "Tue, 02 Jan 2024 10:00:00 GMT", "Age": "30"}, 1_704_189_630.5),
        ({"Date": "yesterday"}, None),
        ({}, None),
    ],
)
def test_clock_of_an_answer_counts_the_age_of_a_cached_one(
    headers: dict[str, str], seconds: float | None
) -> None:
    clocks = _clocks(headers, sent=7)
    assert (clocks and (clocks.server / 1e9, clocks.sent)) == (seconds and (seconds, 7))


def test_venue_down_is_typed_and_may_be_tried_again() -> None:
    quick = replace(rest.QUICK, attempts=2)
    venue = Binance(url="http://127.0.0.1:9/api/v3", patience=quick, budget=rest.open_budget())
    with pytest.raises(VenueUnreachableError, match="2 times: no answer") as caught:
        venue.fetch_day(rest.SYMBOL, rest.DAY)
    assert caught.value.retry


def test_price_finer_than_the_tick_names_the_setting(exchange: Running, asked: Any) -> None:
    coarse = replace(rest.SYMBOL, tick_size=Decimal(1))
    with pytest.raises(SettingsError, match="more decimals than its tick_size 1 keeps"):
        rest.binance(exchange).fetch_day(coarse, rest.DAY)


def test_instruments_have_the_grid_that_the_venue_lists(exchange: Running, asked: Any) -> None:
    (found,) = rest.binance(exchange).instruments([rest.SYMBOL.symbol])
    # Its first trade is of the day after the one that the tests' universe begins with.
    assert found == replace(rest.SYMBOL, since=rest.DAY)


def test_ban_stops_everything_until_it_ends(exchange: Running, asked: Any) -> None:
    counted = asked({"kind": "ban", "on": AGG, "seconds": 2, "times": 1})
    budget = rest.open_budget()
    with pytest.raises(VenueBannedError, match="has banned this address until 20") as caught:
        rest.binance(exchange, budget=budget).fetch_day(rest.SYMBOL, rest.DAY)
    assert caught.value.retry
    # Another venue object of the same process does not ask either.
    before = counted.of(AGG) + counted.of("binance.klines")
    with pytest.raises(VenueBannedError):
        list(rest.binance(exchange, budget=budget).fetch_from(rest.SYMBOL, FIRST))
    assert counted.of(AGG) + counted.of("binance.klines") == before
    time.sleep(2.1)
    fetched = rest.binance(exchange, budget=budget).fetch_day(rest.SYMBOL, rest.DAY)
    assert fetched.trades.equals(TRUTH)


def test_weight_limit_is_never_exceeded() -> None:
    # A minute of this exchange's clock lasts a second: 30 of weight are seven pages.
    with running_exchange([rest.MADE_UP], weight_limit=30, pace=60) as running:
        budget = Budget("binance", 30, window=1.1)
        venue = rest.binance(running, budget=budget, longest_skew=10**9)
        for _ in range(3):
            assert venue.fetch_day(rest.SYMBOL, rest.DAY).trades.equals(TRUTH)
        limits = running.ask("state")["binance_limits"]
    assert (limits["refused_429"], limits["refused_418"], limits["bans"]) == (0, 0, [])
    assert 0 < limits["peak_weight_1m"] <= 30


FETCH_DAYS = """
import sys
from trader_pipelines.venues.binance import Binance
from trader_pipelines.venues.budget import Budget
from trader_pipelines_tests.venues import rest_exchange as rest
budget = Budget("binance", 120, window=1.1, reserve=30)
venue = Binance(url=sys.argv[1], budget=budget, longest_skew=10**9)
print("ready", flush=True)
sys.stdin.readline()
print(*(venue.fetch_day(rest.SYMBOL, rest.DAY).trades.height for _ in range(6)))
"""


def test_weight_limit_is_shared_by_two_processes_of_one_address() -> None:
    # Twice 120 of weight, where a minute of this exchange's clock, a second of ours, allows 120.
    with running_exchange([rest.MADE_UP], weight_limit=120, pace=60) as running:
        command = [sys.executable, "-c", FETCH_DAYS, running.urls["binance_rest"]]
        both = [
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        assert [child.stdout.readline() for child in both if child.stdout] == [b"ready\n"] * 2
        for child in both:
            assert child.stdin
            child.stdin.write(b"go\n")
            child.stdin.flush()
        told = [child.communicate(timeout=60)[0].split() for child in both]
        limits = running.ask("state")["binance_limits"]
        weight = sum(running.ask("state")["weights"].values())
    assert told == [[b"3500"] * 6] * 2
    assert (limits["refused_429"], limits["refused_418"], limits["bans"]) == (0, 0, [])
    assert 0 < limits["peak_weight_1m"] <= 120
    assert weight == 2 * 6 * (4 * 4 + 2 * 2)


def test_hole_within_the_first_minute_is_named_and_not_refused(
    exchange: Running, asked: Any
) -> None:
    asked({"kind": "hole", "first": FIRST + 3, "last": FIRST + 4, "where": ["rest"]})
    quick = replace(rest.QUICK, attempts=2)
    fetched = rest.binance(exchange, patience=quick).fetch_day(rest.SYMBOL, rest.DAY)
    assert fetched.trades.equals(TRUTH.filter(~pl.col("id").is_in([FIRST + 3, FIRST + 4])))
    assert fetched.reconciled["klines_fills_difference"] == 2


def test_void_ids_are_no_trades_and_not_missing() -> None:
    page = [
        {"a": "1", "p": "1.00", "q": "2.0", "f": "1", "l": "1", "T": "1600000000000", "m": True},
        {"a": "2", "p": "0.00", "q": "0.0", "f": "-1", "l": "-1", "T": "1600000000000", "m": True},
        {"a": "3", "p": "1.00", "q": "2.0", "f": "2", "l": "4", "T": "1600000000001", "m": False},
    ]
    prints = read_prints(page, rest.SYMBOL, from_id=1, limit=1_000, where="here")
    assert [trade.id for trade in prints if trade.first < 0] == [2]
    assert frame(prints).select("id", "side", "fills").rows() == [(1, -1, 1), (3, 1, 3)]
