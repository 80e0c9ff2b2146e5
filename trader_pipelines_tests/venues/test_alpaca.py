"""Alpaca through the real alpaca-py client: conformance, revisions, each fault alone, refusals."""

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trader_pipelines.core.errors import (
    BadAnswerError,
    DayNotOverError,
    EntitlementError,
    KeyRefusedError,
    MissingDataError,
    SettingsError,
    UnknownSymbolError,
    VenueUnreachableError,
)
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.sessions import session_bounds
from trader_pipelines.core.trades import utc_day_bounds
from trader_pipelines.venues.alpaca import Alpaca
from trader_pipelines.venues.alpaca_api import rfc3339
from trader_pipelines.venues.alpaca_reference import TradingDay, calendar, news
from trader_pipelines.venues.budget import Budget
from trader_pipelines_tests.exchange import tapes
from trader_pipelines_tests.exchange.formats import load
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.venues import alpaca_exchange as made
from trader_pipelines_tests.venues.conformance import Case, VenueConformance
from trader_pipelines_tests.venues.rest_exchange import QUICK, Asked, open_budget

TRUTH: pl.DataFrame = made.truth(made.MADE_UP, made.STOCK, made.DAY)
TRADES, BARS = "alpaca.stocks.trades", "alpaca.stocks.bars"
SECRETS = ("test-key", "test-secret")


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running_exchange([made.MADE_UP], request_limit=10**9) as running:
        yield running


@pytest.fixture
def asked(exchange: Running) -> Any:
    """Sets the exchange's faults and forgets what it counted."""

    def reset(*faults: dict[str, Any]) -> Asked:
        exchange.tell("reset", limits=True, replay=True, faults=list(faults))
        return Asked(exchange)

    reset()
    return reset


@pytest.fixture(scope="module")
def ibm(market_data: Path) -> Path:
    return market_data / "trades" / "lean_us_equity_tick" / "IBM_trades_20131007_09.parquet"


IBM = Instrument("alpaca", "IBM", Decimal("0.0001"), Decimal(1), date(2010, 1, 1))


@pytest.fixture(scope="module")
def real(ibm: Path, market_data: Path) -> Iterator[Running]:
    frames = market_data / "trades" / "binance_spot_aggtrade_frames_20201101"
    btc = frames / "BTCUSDT_2020-11-01T09-00-00_trades.json.gz"
    items = market_data / "news" / "alpaca_news_items.json"
    with running_exchange([ibm, f"crypto={btc}"], request_limit=10**9, news=items) as running:
        yield running


class TestAlpacaEquities(VenueConformance):
    @pytest.fixture
    def case(self, real: Running) -> Case:
        return Case(
            build=lambda today: made.alpaca(real, today=today, page=10_000),
            instrument=IBM,
            days=(date(2013, 10, 7), date(2013, 10, 8), date(2013, 10, 9)),
            synthetic=False,
            secrets=SECRETS,
        )


@pytest.fixture(scope="module")
def crypto() -> Iterator[Running]:
    tape = "crypto=synthetic:1:0.05:172800:2024-07-09"
    with running_exchange([tape], request_limit=10**9) as running:
        yield running


class TestAlpacaCrypto(VenueConformance):
    @pytest.fixture
    def case(self, crypto: Running) -> Case:
        coin = Instrument("coins", "SYN000USDT", Decimal("0.01"), Decimal("0.0001"), made.DAY)
        return Case(
            build=lambda today: made.alpaca(
                crypto, today=today, crypto=True, name="coins", key="", secret=""
            ),
            instrument=coin,
            days=(made.DAY, made.DAY + timedelta(days=1)),
            synthetic=False,
            secrets=SECRETS,
        )


@pytest.mark.parametrize("day", [7, 8, 9])
def test_fetch_day_real_tape_keeps_duplicates_and_reconciles(
    real: Running, ibm: Path, day: int
) -> None:
    real.tell("reset")
    fetched = made.alpaca(real, page=10_000).fetch_day(IBM, date(2013, 10, day))
    wanted = made.truth(ibm, IBM, date(2013, 10, day))
    assert fetched.trades.equals(wanted)
    values = ["ts_event", "price", "size"]
    assert fetched.trades.select(values).is_duplicated().any()
    assert fetched.reconciled["bars_minutes_differing"] == 0
    assert fetched.reconciled["bars_fills"] == wanted.height
    assert Asked(real).of(TRADES) == math.ceil(wanted.height / 10_000)
    assert Asked(real).of(BARS) == 1


def test_fetch_day_crypto_keeps_side_and_nanoseconds_without_a_key(
    real: Running, market_data: Path
) -> None:
    day = date(2020, 11, 1)
    coin = Instrument("alpaca", "BTCUSDT", Decimal("0.01"), Decimal("0.000001"), day)
    fetched = made.alpaca(real, crypto=True, key="", secret="").fetch_day(coin, day)
    frames = market_data / "trades" / "binance_spot_aggtrade_frames_20201101"
    btc = frames / "BTCUSDT_2020-11-01T09-00-00_trades.json.gz"
    assert fetched.trades.equals(made.truth(f"crypto={btc}", coin, day, crypto=True))
    assert set(fetched.trades["side"]) == {1, -1}
    assert (fetched.trades["ts_event"].to_physical() % 1_000).max() != 0


def test_fetch_day_cancelled_and_corrected_trades_are_revised(
    exchange: Running, asked: Any
) -> None:
    asked({"kind": "cancel", "ids": [0, 40]}, {"kind": "correct", "ids": [4]})
    fetched = made.alpaca(exchange).fetch_day(made.STOCK, made.DAY)
    (tape,) = load(made.MADE_UP)
    revised = tapes.revised(tape, [(0, "cancel"), (4, "correct"), (40, "cancel")])
    wanted = made.as_trades(revised, made.STOCK, made.DAY, crypto=False)
    assert fetched.trades.equals(wanted)
    assert fetched.trades.height == TRUTH.height - 2
    assert (fetched.reconciled["canceled"], fetched.reconciled["corrected"]) == (2, 1)
    assert fetched.reconciled["bars_minutes_differing"] == 0
    assert fetched.void_ids == (TRUTH["id"][0], TRUTH["id"][2], TRUTH["id"][20])


def test_fetch_day_late_cancellation_takes_out_one_trade_and_moves_no_other(
    exchange: Running, asked: Any
) -> None:
    before = made.alpaca(exchange).fetch_day(made.STOCK, made.DAY).trades
    exchange.tell("revise", venue="alpaca", symbol="SYAA", id=2_000, kind="cancel")
    after = made.alpaca(exchange).fetch_day(made.STOCK, made.DAY)
    assert after.trades.equals(before.filter(pl.col("id") != before["id"][1_000]))
    assert after.void_ids == (before["id"][1_000],)


ONCE = [
    {"kind": "too_many"},
    {"kind": "too_many", "retry_after": 1},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 504},
    {"kind": "slow", "seconds": 0.1},
    {"kind": "hang", "seconds": 3},
    {"kind": "refuse"},
    {"kind": "expired_token"},
    {"kind": "cut"},
    {"kind": "truncate"},
    {"kind": "missing_rows"},
    {"kind": "repeated_rows"},
    {"kind": "disordered_rows"},
    {"kind": "empty_page"},
]


@pytest.mark.parametrize("fault", ONCE, ids=lambda f: "-".join(map(str, f.values())))
@pytest.mark.parametrize("number", [1, 3], ids=["first page", "last page"])
def test_fetch_day_one_fault_leaves_it_whole(
    exchange: Running, asked: Any, fault: dict[str, Any], number: int
) -> None:
    at = 1 if fault["kind"] == "expired_token" else number  # counts pages with a token only
    asked({**fault, "on": TRADES, "at": [at]})
    fetched = made.alpaca(exchange).fetch_day(made.STOCK, made.DAY)
    assert fetched.trades.equals(TRUTH)
    assert fetched.reconciled["bars_minutes_differing"] == 0
    assert exchange.ask("state")["faults"][0]["fired"] == 1


def test_fetch_day_every_page_lacks_a_row_is_completed_by_the_bars(
    exchange: Running, asked: Any
) -> None:
    counted = asked({"kind": "missing_rows", "on": TRADES})
    fetched = made.alpaca(exchange).fetch_day(made.STOCK, made.DAY)
    assert fetched.trades.equals(TRUTH)
    assert fetched.reconciled["bars_minutes_differing"] == 0
    assert counted.of(BARS) > 1


def test_fetch_day_trade_that_bars_count_and_nobody_gives_is_named(
    exchange: Running, asked: Any
) -> None:
    asked({"kind": "wrong_kline", "on": BARS})
    fetched = made.alpaca(exchange).fetch_day(made.STOCK, made.DAY)
    assert fetched.trades.equals(TRUTH)
    assert fetched.reconciled["bars_minutes_differing"] == 1
    assert fetched.reconciled["bars_fills_difference"] == 1
    minutes = TRUTH["ts_event"].dt.truncate("1m").unique(maintain_order=True)
    middle = minutes[minutes.len() // 2]
    assert fetched.reconciled["bars_lacking"] == f"{middle:%H:%M}"


def test_fetch_day_no_trades_at_all_where_bars_count_some_is_refused(
    exchange: Running, asked: Any
) -> None:
    asked({"kind": "empty_page", "on": TRADES})
    with pytest.raises(BadAnswerError, match=r"gives no trades of SYAA .* its bars count 2500"):
        made.alpaca(exchange).fetch_day(made.STOCK, made.DAY)


def test_fetch_day_failure_keeps_its_pages_on_disk(
    exchange: Running, asked: Any, tmp_path: Path
) -> None:
    asked({"kind": "status", "status": 503, "on": TRADES, "at": list(range(3, 99))})
    with pytest.raises(VenueUnreachableError, match="12 times: it answers 503"):
        made.alpaca(exchange, spool=tmp_path).fetch_day(made.STOCK, made.DAY)
    pages = sorted(tmp_path.rglob("*.parquet"))
    assert [pl.read_parquet(page).height for page in pages] == [1_000, 1_000]
    counted = asked()
    fetched = made.alpaca(exchange, spool=tmp_path).fetch_day(made.STOCK, made.DAY)
    assert fetched.trades.equals(TRUTH)
    assert counted.of(TRADES) == 1
    assert list(tmp_path.rglob("*.parquet")) == []


def test_fetch_day_trade_cancelled_since_its_page_was_kept_is_taken_out(
    exchange: Running, asked: Any, tmp_path: Path
) -> None:
    asked({"kind": "status", "status": 503, "on": TRADES, "at": list(range(3, 99))})
    with pytest.raises(VenueUnreachableError):
        made.alpaca(exchange, spool=tmp_path).fetch_day(made.STOCK, made.DAY)
    asked({"kind": "cancel", "ids": [100]})
    fetched = made.alpaca(exchange, spool=tmp_path).fetch_day(made.STOCK, made.DAY)
    assert fetched.trades.equals(TRUTH.filter(pl.col("id") != TRUTH["id"][50]))
    assert fetched.void_ids == (TRUTH["id"][50],)
    assert fetched.reconciled["bars_minutes_differing"] == 0


def test_bars_are_the_venues_own_with_exact_text(exchange: Running, asked: Any) -> None:
    low, high = session_bounds("XNYS", made.DAY)
    bars = made.alpaca(exchange).bars(made.STOCK, low, high)
    assert sum(bar["n"] for bar in bars) == TRUTH.height
    assert rfc3339(bars[0]["ns"]) == "2024-07-09T14:00:00.000000000Z"


def test_key_missing_is_one_error_and_no_request(exchange: Running, asked: Any) -> None:
    counted = asked()
    with pytest.raises(KeyRefusedError, match="gives nothing of stocks without a key") as caught:
        made.alpaca(exchange, key="", secret="").fetch_day(made.STOCK, made.DAY)
    assert "ALPACA_API_KEY" in caught.value.remedy
    assert counted.of(TRADES) == 0


def test_key_refused_is_one_error_without_retry_or_secret(exchange: Running, asked: Any) -> None:
    counted = asked()
    with pytest.raises(KeyRefusedError, match="it answers 403") as caught:
        made.alpaca(exchange, key="wr0ng", secret="s3cr3t").fetch_day(made.STOCK, made.DAY)
    assert not caught.value.retry
    assert counted.of(TRADES) == 1
    told = str(caught.value) + repr(made.alpaca(exchange, key="wr0ng", secret="s3cr3t"))
    assert "wr0ng" not in told
    assert "s3cr3t" not in told
    assert caught.value.__cause__ is None


def test_feed_without_entitlement_is_typed(exchange: Running, asked: Any) -> None:
    recent = datetime.now(UTC).date() - timedelta(days=1)
    venue = made.alpaca(exchange, key="basic-key", secret="basic-secret")
    start = utc_day_bounds(recent)[0]
    with pytest.raises(EntitlementError, match="no subscription") as caught:
        list(venue.pages(made.STOCK, start, start + 10**9 * 86_400 * 30))
    assert not caught.value.retry


def test_feed_is_asked_for(exchange: Running, asked: Any) -> None:
    start = utc_day_bounds(made.DAY)[0]
    # None of the made-up trades was on IEX.
    assert list(made.alpaca(exchange, feed="iex").pages(made.STOCK, start, start + 10**15)) == []
    assert exchange.ask("requests")[-1]["query"]["feed"] == "iex"


def test_unknown_symbol_is_typed(exchange: Running, asked: Any) -> None:
    with pytest.raises(MissingDataError, match="neither trades nor bars of ZZZZ"):
        made.alpaca(exchange).fetch_day(replace(made.STOCK, symbol="ZZZZ"), made.DAY)
    with pytest.raises(UnknownSymbolError, match="knows no symbol 'Z1'"):
        made.alpaca(exchange).fetch_day(replace(made.STOCK, symbol="Z1"), made.DAY)


@pytest.mark.parametrize("day", [date(2024, 7, 4), date(2024, 7, 6)])
def test_day_without_a_session_is_typed(exchange: Running, asked: Any, day: date) -> None:
    with pytest.raises(MissingDataError, match="XNYS has no session on 2024-07-0"):
        made.alpaca(exchange).fetch_day(made.STOCK, day)


def test_session_that_goes_on_is_not_over(exchange: Running, asked: Any) -> None:
    # In winter the extended session ends at 01:00 UTC of the next day.
    half_past = utc_day_bounds(date(2024, 1, 10))[0] + 30 * 60 * 10**9
    venue = made.alpaca(exchange, today=lambda: date(2024, 1, 10), now=lambda: half_past)
    with pytest.raises(DayNotOverError, match="session of 2024-01-09 is still going on"):
        venue.fetch_day(made.STOCK, date(2024, 1, 9))


def test_price_finer_than_the_tick_names_the_setting(real: Running) -> None:
    with pytest.raises(SettingsError, match="more decimals than its tick_size 1 keeps"):
        made.alpaca(real).fetch_day(replace(IBM, tick_size=Decimal(1)), date(2013, 10, 7))


def test_truncated_json_each_time_is_refused(exchange: Running, asked: Any) -> None:
    asked({"kind": "truncate", "on": TRADES})
    with pytest.raises(BadAnswerError, match="the body is no JSON"):
        made.alpaca(exchange).fetch_day(made.STOCK, made.DAY)


def test_venue_down_is_typed() -> None:
    quick = replace(QUICK, attempts=2)
    venue = Alpaca(url="http://127.0.0.1:9", patience=quick, budget=open_budget(), **made.KEYS)
    with pytest.raises(VenueUnreachableError, match="2 times: no answer") as caught:
        venue.fetch_day(made.STOCK, made.DAY)
    assert caught.value.retry


def test_request_limit_is_never_exceeded() -> None:
    # A minute of this exchange's clock lasts a second.
    with running_exchange([made.MADE_UP], request_limit=6, pace=60) as running:
        budget = Budget("alpaca", 6, window=1.1)
        for _ in range(4):
            fetched = made.alpaca(running, budget=budget).fetch_day(made.STOCK, made.DAY)
            assert fetched.trades.equals(TRUTH)
        limits = running.ask("state")["alpaca_limits"]
    assert limits["refused_429"] == 0
    assert 0 < limits["peak_1m"] <= 6


def test_calendar_is_that_of_the_sessions(real: Running) -> None:
    days = calendar(made.alpaca(real).client, date(2024, 7, 1), date(2024, 7, 5))
    assert days == (
        TradingDay(date(2024, 7, 1), time(9, 30), time(16)),
        TradingDay(date(2024, 7, 2), time(9, 30), time(16)),
        TradingDay(date(2024, 7, 3), time(9, 30), time(13)),
        TradingDay(date(2024, 7, 5), time(9, 30), time(16)),
    )


def test_news_comes_page_by_page_the_oldest_first(real: Running) -> None:
    client = made.alpaca(real).client
    first, last = utc_day_bounds(date(2010, 1, 1))[0], utc_day_bounds(date(2030, 1, 1))[0]
    items = [item for page in news(client, (), first, last) for item in page]
    assert len(items) == 7
    assert [item["updated_at"] for item in items] == sorted(item["updated_at"] for item in items)
