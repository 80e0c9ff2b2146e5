"""Alpaca's sessions through the whole chain: real tapes and made-up ones, over the real client."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from trader_pipelines import demo
from trader_pipelines.core.certificates import Certificate, Status
from trader_pipelines.core.errors import DayNotOverError, MissingDataError
from trader_pipelines.core.instruments import Instrument, VenueSpec
from trader_pipelines.core.sessions import day_bounds
from trader_pipelines.platform import Platform
from trader_pipelines.steps import models as models_step
from trader_pipelines.stores import datasets, hot, manifest
from trader_pipelines.stores.datasets import Key
from trader_pipelines.venues.alpaca import Alpaca
from trader_pipelines.venues.patience import Patience
from trader_pipelines_tests.end_to_end import worlds
from trader_pipelines_tests.end_to_end.tasks import open_gate
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.venues.alpaca_exchange import truth

STAGES = ("hot_ticks", "cold_ticks", "bars", "features", "labels")
KEY, SECRET = "test-key", "test-secret"

#: The grid of the packaged universe: as fine as the consolidated tape can print.
UNIVERSE = """\
  alpaca:
    source: alpaca
    symbols:
      IBM: {since: 2013-10-01, tick_size: "0.000001", lot_size: "0.000001", dollar_bar: 5000000}
      SYAA: {since: 2024-01-02, tick_size: "0.000001", lot_size: "0.000001", dollar_bar: 5000}
      BRK.B: {since: 2024-01-02, tick_size: "0.000001", lot_size: "0.000001", dollar_bar: 50000000}
      GONE: {since: 2013-10-01, until: 2013-10-31, tick_size: "0.01", lot_size: "1"}
      ZZZZ: {since: 2024-01-02, tick_size: "0.01", lot_size: "1"}
"""

#: A trade every 100 seconds from a Wednesday on, nights and a weekend through, for a fortnight.
#: In winter: every extended session ends at 01:00 UTC of the day after. Monday 15 is a holiday.
MADE_UP = "alpaca=synthetic:1:0.01:1209600:2024-01-03T06:00"
WEDNESDAY, FRIDAY, MONDAY = date(2024, 1, 3), date(2024, 1, 5), date(2024, 1, 8)
HOLIDAY, AFTER_IT = date(2024, 1, 15), date(2024, 1, 16)

IBM_DAYS = (date(2013, 10, 7), date(2013, 10, 8), date(2013, 10, 9))

#: Recorded minutes whose volume is not that of the tape: the opening and the closing auction,
#: which the recorder stamped otherwise, and what followed them.
OTHER_VOLUME = {
    IBM_DAYS[0]: {"09:30", "15:59", "16:00", "16:01"},
    IBM_DAYS[1]: {"09:30", "09:31", "15:59", "16:00"},
    IBM_DAYS[2]: {"09:30", "15:59", "16:00"},
}


@pytest.fixture(scope="module")
def ibm(market_data: Path) -> Path:
    return market_data / "trades" / "lean_us_equity_tick" / "IBM_trades_20131007_09.parquet"


#: What a tape of six decimals can hold: seconds after 14:30 UTC, price, size. Fractions of a
#: share, prices below a cent, equal rows, and a block whose money exceeds 64 bits of that grid.
FINE = (
    (1, "5000.000001", "5000000.000001"),
    (2, "5000.000002", "0.000001"),
    (2, "5000.000002", "0.000001"),
    (61, "4999.999999", "12.5"),
    (3_900, "5000.5", "1"),
)


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tape of a class of shares on the Wednesday."""
    path = tmp_path_factory.mktemp("tapes") / "fine.parquet"
    opened = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
    columns = {
        "symbol": ["BRK.B"] * len(FINE),
        "ts": [opened + timedelta(seconds=second) for second, _, _ in FINE],
        "price": [price for _, price, _ in FINE],
        "size": [size for _, _, size in FINE],
        "exchange": ["V"] * len(FINE),
    }
    pl.DataFrame(columns).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def exchange(ibm: Path, fine: Path) -> Iterator[Running]:
    """The test exchange; its clock starts five minutes after the Wednesday's session."""
    tapes: list[str | Path] = [ibm, MADE_UP, f"alpaca={fine}"]
    with running_exchange(tapes, request_limit=10**9, clock="2024-01-04T01:05") as running:
        yield running


@pytest.fixture
def parts(
    exchange: Running, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Platform:
    """A platform as a user has it: keys and address in the environment, everything forgotten."""
    exchange.tell("reset", limits=True, replay=True, faults=[])
    for name, value in environment(exchange).items():
        monkeypatch.setenv(name, value)
    return worlds.platform(tmp_path / "home", database_url, UNIVERSE)


def environment(exchange: Running, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    return {
        "ALPACA_API_KEY": key,
        "ALPACA_API_SECRET": secret,
        "ALPACA_BASE_URL": exchange.urls["alpaca"],
        "TRADER_ALPACA_REQUESTS": "10000",
    }


def run(parts: Platform, first: date, last: date | None = None, **more: Any) -> worlds.Ran:
    options = {"venue": "alpaca", "symbols": ["SYAA"], **more}
    return worlds.run(parts, options.pop("stages", STAGES), first, last, **options)


def instrument(parts: Platform, symbol: str = "SYAA") -> Instrument:
    return parts.universe.venue("alpaca").instrument(symbol)


def stored(parts: Platform, dataset: str, day: date, symbol: str = "SYAA") -> pl.DataFrame:
    with parts.connect() as connection:
        key = Key(dataset, "alpaca", symbol, day)
        return datasets.get(connection, parts.settings.cold_root, key)[0]


def certificate(parts: Platform, day: date, symbol: str = "SYAA") -> Certificate:
    with parts.connect() as connection:
        found = manifest.get_certificate(connection, "alpaca", symbol, day)
    assert found is not None
    return found


def hot_trades(parts: Platform, day: date, symbol: str = "SYAA") -> pl.DataFrame:
    with parts.connect() as connection:
        return hot.read_day(connection, instrument(parts, symbol), day)


def ns(stamps: pl.Series) -> np.ndarray:
    return stamps.dt.epoch("ns").to_numpy()


def told(ran: worlds.Ran) -> str:
    """The one failure of a run, as its page shows it: readable, and without the keys."""
    assert not ran.success
    (failure,) = ran.failures.values()
    description = str(failure.description)
    assert "Traceback" not in description
    everything = ran.everything_told()
    for secret in (SECRET, "basic-secret", "wr0ng-s3cret", "wr0ng-key"):
        assert secret not in everything
    return description


def test_real_sessions_are_certified_and_their_bars_are_the_venues_own(
    parts: Platform, ibm: Path, market_data: Path
) -> None:
    ran = run(parts, IBM_DAYS[0], IBM_DAYS[-1], symbols=["IBM"])
    assert ran.success
    assert all(check.passed for check in ran.checks.values())
    assert {
        "certificates_are_complete",
        "cold_equals_hot",
        "bars_reconcile_with_ticks",
        "finite_and_known_in_time",
    } <= set(ran.checks)
    share = instrument(parts, "IBM")
    venue = parts.venue(parts.universe.venue("alpaca"))
    for day in IBM_DAYS:
        # Every trade of the tape once, in order, to the nanosecond; equal rows are all kept.
        wanted = truth(ibm, share, day)
        assert hot_trades(parts, day, "IBM").equals(wanted)
        assert stored(parts, "cold_ticks", day, "IBM").equals(wanted)
        assert wanted.select("ts_event", "price", "size").is_duplicated().any()
        issued = certificate(parts, day, "IBM")
        assert (issued.status, issued.count) == (Status.COMPLETE, wanted.height)
        assert issued.reconciled["bars_fills"] == wanted.height
        assert issued.reconciled["bars_minutes_differing"] == 0
        bars = stored(parts, "minute_bars", day, "IBM")
        assert as_the_venue_tells(bars, share) == venues_own(venue, share, day)
        compare_with_recorded(bars, share, market_data, day)


def as_the_venue_tells(bars: pl.DataFrame, share: Instrument) -> list[tuple[Any, ...]]:
    """Minutes with trades as Alpaca's bars have them: start, prices, volume, count."""

    def whole(name: str, scale: int) -> list[Decimal]:
        return [Decimal(value).scaleb(-scale) for value in traded[name].to_list()]

    traded = bars.filter(pl.col("trades") > 0)
    prices = [whole(name, share.price_scale) for name in ("open", "high", "low", "close")]
    return list(
        zip(
            traded["ts_open"].dt.epoch("ns").to_list(),
            *prices,
            whole("volume", share.size_scale),
            traded["trades"].to_list(),
            strict=True,
        )
    )


def venues_own(venue: Any, share: Instrument, day: date) -> list[tuple[Any, ...]]:
    told = venue.bars(share, *day_bounds("XNYS", day))
    return [(b["ns"], *(Decimal(str(b[k])) for k in "ohlcv"), b["n"]) for b in told]


def compare_with_recorded(
    bars: pl.DataFrame, share: Instrument, market_data: Path, day: date
) -> None:
    """Hold bars against those that a data vendor made of the same prints.

    It leaves odd lots out of its prices, so its range lies within ours; it counts their volume.
    """
    folder = market_data / "bars" / "lean_us_equity_minute_orig" / share.symbol.lower()
    file = zipfile.ZipFile(folder / f"{day:%Y%m%d}_trade.zip")
    columns = ["ms", "open", "high", "low", "close", "volume"]
    recorded = pl.read_csv(file.read(file.namelist()[0]), has_header=False, new_columns=columns)
    minute = pl.col("ts_open").dt.convert_time_zone("America/New_York").dt.strftime("%H:%M")
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    theirs = recorded.with_columns(
        (pl.lit(midnight) + pl.duration(milliseconds="ms")).dt.strftime("%H:%M").alias("minute"),
        pl.col("high", "low") * 100,
        pl.col("volume") * 10**share.size_scale,
    )
    ours = bars.filter(pl.col("trades") > 0).with_columns(minute.alias("minute"))
    assert set(theirs["minute"]) == set(ours["minute"])
    both = theirs.join(ours, on="minute", suffix="_ours")
    assert both.height > 400
    differing = both.filter(pl.col("volume") != pl.col("volume_ours"))
    assert set(differing["minute"]) == OTHER_VOLUME[day]
    same = both.filter(pl.col("volume") == pl.col("volume_ours"))
    assert (same["high"] <= same["high_ours"]).all()
    assert (same["low"] >= same["low_ours"]).all()


def test_winter_sessions_cross_midnight_utc_and_mondays_are_warm_from_fridays(
    parts: Platform, exchange: Running
) -> None:
    ran = run(parts, WEDNESDAY, MONDAY)
    assert ran.success
    # A range over a weekend is its four sessions.
    days = [WEDNESDAY, WEDNESDAY + timedelta(days=1), FRIDAY, MONDAY]
    assert [key for stage, key in ran.materialized if stage == "bars"] == [
        day.isoformat() for day in days
    ]
    for day in days:
        trades = hot_trades(parts, day)
        assert trades.equals(truth(MADE_UP, instrument(parts), day))
        low, high = day_bounds("XNYS", day)
        midnight = high - 3_600 * 10**9
        stamps = ns(trades["ts_event"])
        assert stamps.min() >= low
        assert midnight < stamps.max() < high
        bars = stored(parts, "minute_bars", day)
        opens = ns(bars["ts_open"])
        assert (np.diff(opens) == 60 * 10**9).all()
        assert (opens >= midnight).sum() > 50
        labels = stored(parts, "labels", day)
        assert ns(labels["ts_exit"]).max() <= ns(bars["ts_close"]).max()
        assert (ns(labels["ts"]) >= midnight).any()
    state = worlds.rows(parts.database_url())["datasets"]
    inputs = {row["day"]: set(row["inputs"]) for row in state if row["dataset"] == "features"}
    assert inputs[MONDAY] == {"minute_bars 2024-01-05", "minute_bars 2024-01-08"}
    assert inputs[WEDNESDAY] == {"minute_bars 2024-01-03"}
    # From its first bar on everything is known.
    monday = stored(parts, "features", MONDAY)
    assert monday["ts"][0] == stored(parts, "minute_bars", MONDAY)["ts_close"][0]


def test_six_decimals_of_price_and_size_go_through_the_chain_exactly(parts: Platform) -> None:
    ran = run(parts, WEDNESDAY, symbols=["BRK.B"])
    assert ran.success
    assert all(check.passed for check in ran.checks.values())
    trades = stored(parts, "cold_ticks", WEDNESDAY, "BRK.B")
    kept = trades.select("price", "size").rows()
    exact = [(Decimal(price), Decimal(size)) for _, price, size in FINE]
    assert [(Decimal(p).scaleb(-6), Decimal(s).scaleb(-6)) for p, s in kept] == exact
    bars = stored(parts, "minute_bars", WEDNESDAY, "BRK.B")
    money = [price * size for price, size in exact]
    assert bars.height == 66
    traded = bars.filter(pl.col("trades") > 0)
    assert traded["notional"].to_list() == [sum(money[:3]), money[3], money[4]]
    assert int(traded["notional"][0] * 10**12) > 2**64
    assert traded["trades"].to_list() == [3, 1, 1]
    by_dollar = stored(parts, "dollar_bars", WEDNESDAY, "BRK.B")
    assert by_dollar["notional"].to_list() == [money[0], sum(money[1:])]
    assert by_dollar["complete"].to_list() == [True, False]


def test_cancelled_and_corrected_trades_restate_the_bars(
    parts: Platform, exchange: Running
) -> None:
    assert run(parts, WEDNESDAY).success
    before, bars = hot_trades(parts, WEDNESDAY), stored(parts, "minute_bars", WEDNESDAY)
    # Rows of the tape are numbered by twos; the session begins with the one of 09:00.
    first = 2 * 3 * 36
    cancelled, corrected = 10, 20
    exchange.tell("revise", venue="alpaca", symbol="SYAA", id=first + 2 * cancelled, kind="cancel")
    exchange.tell("revise", venue="alpaca", symbol="SYAA", id=first + 2 * corrected, kind="correct")
    ran = run(parts, WEDNESDAY)
    assert ran.success
    after = hot_trades(parts, WEDNESDAY)
    gone = {before["id"][cancelled], before["id"][corrected]}
    assert set(before["id"]) - set(after["id"]) == gone
    (came,) = set(after["id"]) - set(before["id"])
    # One cent more, and the same in all else.
    mended = after.filter(pl.col("id") == came)
    assert mended["price"].item() == before["price"][corrected] + 10_000
    assert mended["size"].item() == before["size"][corrected]
    issued = certificate(parts, WEDNESDAY)
    assert issued.status is Status.COMPLETE
    assert (issued.reconciled["canceled"], issued.reconciled["corrected"]) == (1, 1)
    # The bars are those of the trades that stand, and differ in those two minutes only.
    restated = stored(parts, "minute_bars", WEDNESDAY)
    assert restated["volume"].sum() == bars["volume"].sum() - before["size"][cancelled]
    changed = {
        stamp
        for column in ("open", "high", "low", "close", "volume", "trades", "notional")
        for stamp in restated.filter(restated[column] != bars[column])["ts_open"]
    }
    minutes = before["ts_event"].dt.truncate("1m")
    assert {minutes[cancelled], minutes[corrected]} <= changed
    # A minute without trades repeats the close before it, so those after them change as well.
    quiet = set(restated.filter(pl.col("trades") == 0)["ts_open"])
    assert changed - {minutes[cancelled], minutes[corrected]} <= quiet


def test_minutes_that_the_venues_bars_count_and_nobody_gives_are_named(
    parts: Platform, exchange: Running
) -> None:
    exchange.tell("faults", [{"kind": "wrong_kline", "on": "alpaca.stocks.bars"}])
    ran = run(parts, WEDNESDAY)
    assert ran.success
    issued = certificate(parts, WEDNESDAY)
    assert (issued.status, issued.missing) == (Status.INCOMPLETE, ())
    minute = str(issued.reconciled["bars_lacking"])
    assert datetime.strptime(minute, "%H:%M")  # noqa: DTZ007
    check = ran.checks["certificates_are_complete"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == f"SYAA on 2024-01-03 lacks trades of {minute}"
    assert (
        f"| incomplete | trades of {minute} |" in ran.metadata("hot_ticks", WEDNESDAY)["by symbol"]
    )
    state = worlds.rows(parts.database_url())["datasets"]
    assert {row["status"] for row in state} == {"incomplete"}
    # Asked again when the venue agrees with itself, the day is whole, and so is all built on it;
    # that it had not been at first stays to be seen.
    exchange.tell("faults", [])
    assert run(parts, WEDNESDAY).checks["certificates_are_complete"].passed
    state = worlds.rows(parts.database_url())["datasets"]
    assert {row["status"] for row in state} == {"healed"}


def nothing_new(parts: Platform, before: dict[str, Any]) -> None:
    """What is stored is what was stored, and still certified."""
    now = worlds.kept(parts.settings.home, parts.database_url())
    assert worlds.differences(before, now) == []
    assert certificate(parts, WEDNESDAY).status is Status.COMPLETE


@pytest.fixture
def good(parts: Platform) -> tuple[Platform, dict[str, Any]]:
    """A platform on which the Wednesday went through, and all it keeps."""
    assert run(parts, WEDNESDAY, stages=STAGES[:3]).success
    return parts, worlds.kept(parts.settings.home, parts.database_url())


THURSDAY = WEDNESDAY + timedelta(days=1)


@pytest.mark.parametrize(
    ("key", "day", "said"),
    [
        (("wr0ng-key", "wr0ng-s3cret"), THURSDAY, "KeyRefusedError: venue alpaca refuses this key"),
        # The venue's clock shows five minutes after the session.
        (
            ("basic-key", "basic-secret"),
            WEDNESDAY,
            "EntitlementError: the key has no subscription for what venue alpaca was asked",
        ),
        (None, THURSDAY, "SettingsError: ALPACA_API_KEY is not set"),
    ],
    ids=["refused", "not entitled", "none"],
)
def test_key_that_is_no_good_fails_the_run_typed_and_leaves_what_is_stored(
    good: tuple[Platform, dict[str, Any]],
    exchange: Running,
    monkeypatch: pytest.MonkeyPatch,
    key: tuple[str, str] | None,
    day: date,
    said: str,
) -> None:
    parts, before = good
    for name, value in zip(("ALPACA_API_KEY", "ALPACA_API_SECRET"), key or ("", ""), strict=True):
        monkeypatch.setenv(name, value) if key else monkeypatch.delenv(name)
    again = worlds.platform(parts.settings.home, parts.database_url(), UNIVERSE)
    failure = told(run(again, day))
    assert failure.startswith(said)
    assert "ALPACA" in failure or "feed" in failure or "key" in failure
    nothing_new(parts, before)


@pytest.mark.parametrize(
    ("symbol", "day", "said"),
    [
        ("NOPE", THURSDAY, "UnknownSymbolError: symbol 'NOPE' is not in the universe of venue"),
        # In the universe, and unknown to the venue.
        ("ZZZZ", THURSDAY, "MissingDataError: venue alpaca has neither trades nor bars of ZZZZ"),
        ("GONE", THURSDAY, "UnknownSymbolError: GONE.ALPACA is not in the universe on 2024-01-04"),
        ("SYAA", date(2013, 10, 8), "UnknownSymbolError: SYAA.ALPACA is not in the universe on"),
        # Before its first trade, by a universe that has it too early.
        ("SYAA", date(2024, 1, 2), "MissingDataError: venue alpaca has neither trades nor bars of"),
    ],
    ids=["unknown", "unknown to the venue", "delisted", "before its listing", "before its trades"],
)
def test_symbol_without_such_a_day_fails_the_run_typed_and_leaves_what_is_stored(
    good: tuple[Platform, dict[str, Any]], symbol: str, day: date, said: str
) -> None:
    parts, before = good
    failure = told(run(parts, day, symbols=[symbol]))
    assert failure.startswith(said)
    nothing_new(parts, before)


def test_day_without_a_session_is_no_partition_and_fails_typed_when_forced(
    good: tuple[Platform, dict[str, Any]],
) -> None:
    parts, before = good
    for day in (HOLIDAY, date(2024, 1, 6)):
        failure = told(run(parts, day))
        assert failure.startswith(f"MissingDataError: there is no session on {day}, a {day:%A}")
    # A range that ends there would have run to the session after it.
    failure = told(run(parts, WEDNESDAY, date(2024, 1, 6)))
    assert failure.startswith("MissingDataError: there is no session on 2024-01-06, a Saturday")
    nothing_new(parts, before)


def test_day_in_the_future_fails_typed_and_leaves_what_is_stored(
    good: tuple[Platform, dict[str, Any]],
) -> None:
    parts, before = good
    day = datetime.now(UTC).date() + timedelta(days=1)
    while day.weekday() >= 5:
        day += timedelta(days=1)
    failure = told(run(parts, day))
    assert failure.startswith(("DayNotOverError", "MissingDataError: XNYS has no session"))
    nothing_new(parts, before)
    with pytest.raises(DayNotOverError, match="is not over yet"):
        demo.plan(parts, "alpaca", ("SYAA",), WEDNESDAY, day)


def hurry(monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    """Let the venue ask twice and give up."""
    inner = Platform.venue
    hasty = Patience(attempts=2, longest_wait=0.01, timeout=1.0)

    def venue(self: Platform, spec: VenueSpec) -> Alpaca:
        found = inner(self, spec)
        assert isinstance(found, Alpaca)
        return replace(found, patience=hasty, **more)

    monkeypatch.setattr(Platform, "venue", venue)


def test_venue_that_is_down_fails_the_run_typed_and_may_be_retried(
    good: tuple[Platform, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, before = good
    monkeypatch.setenv("ALPACA_BASE_URL", "http://127.0.0.1:9")
    hurry(monkeypatch)
    down = worlds.platform(parts.settings.home, parts.database_url(), UNIVERSE)
    ran = run(down, THURSDAY)
    assert told(ran).startswith("VenueUnreachableError: venue alpaca does not answer")
    nothing_new(parts, before)


def test_venue_that_goes_down_in_the_middle_keeps_the_days_before_and_goes_on_later(
    parts: Platform, exchange: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pages of a hundred rows: six requests a day.
    hurry(monkeypatch, page=100)
    down = {"kind": "status", "status": 503, "on": "alpaca.stocks.trades"}
    exchange.tell("faults", [{**down, "at": list(range(10, 200))}])
    ran = run(parts, WEDNESDAY, FRIDAY)
    assert "VenueUnreachableError" in told(ran)
    state = worlds.rows(parts.database_url())
    assert {row["day"] for row in state["certificates"]} == {WEDNESDAY}
    assert {row["day"] for row in state["hot_ticks"]} == {WEDNESDAY}
    assert state["datasets"] == []
    exchange.tell("faults", [])
    assert run(parts, WEDNESDAY, FRIDAY).success
    for day in (WEDNESDAY, THURSDAY, FRIDAY):
        assert hot_trades(parts, day).equals(truth(MADE_UP, instrument(parts), day))
    # No page of an unfinished day is left over.
    assert list((parts.settings.home / "spool").rglob("*.parquet")) == []


def test_demo_of_a_week_of_sessions_learns_from_five_days_and_speaks_after_the_holiday(
    parts: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_step, "decide", open_gate())
    monkeypatch.setattr(demo, "open_instance", lambda _: dg.DagsterInstance.ephemeral())
    what = demo.plan(parts, "alpaca", ("SYAA",), MONDAY, AFTER_IT)
    assert what.skipped == (date(2024, 1, 13), date(2024, 1, 14), HOLIDAY)
    assert (what.weeks, what.signal_days) == ((MONDAY,), (AFTER_IT,))
    assert what.stages() == (
        dict.fromkeys(demo.BY_DAY, 6) | dict.fromkeys(demo.BY_WEEK, 1) | {"signals": 1}
    )
    row = demo.run(parts, what)["symbols"]["SYAA"]
    assert (row["days"], row["certificate"], row["synthetic"]) == (6, "complete", False)
    assert row["model"]["week"] == "2024-01-08"
    training = stored_week(parts, MONDAY)
    assert training["ts"].dt.convert_time_zone("America/New_York").dt.date().n_unique() == 5
    # A session of winter is one day to the walk-forward, not two.
    assert row["model"]["scores"]["days"] <= 3
    signals = stored(parts, "signals", AFTER_IT)
    assert signals.height == row["signals"] > 600
    _, end = day_bounds("XNYS", AFTER_IT)
    # No model has learned what comes after a session's end, so none speaks of it.
    assert ns(signals["ts_expiry"]).max() <= end
    assert ns(stored(parts, "features", AFTER_IT)["ts"]).max() > end - 15 * 60 * 10**9


def stored_week(parts: Platform, week: date) -> pl.DataFrame:
    with parts.connect() as connection:
        key = Key("training_set", "alpaca", datasets.POOL, week)
        return datasets.get(connection, parts.settings.cold_root, key)[0]


def test_demo_of_days_without_a_session_says_so(parts: Platform) -> None:
    with pytest.raises(MissingDataError, match="XNYS has no session between 2024-01-13"):
        demo.plan(parts, "alpaca", ("SYAA",), date(2024, 1, 13), HOLIDAY)


def test_demo_command_against_the_exchange_skips_days_without_a_session_with_a_word(
    exchange: Running, tmp_path: Path, database_url: str
) -> None:
    file = worlds.universe(tmp_path, UNIVERSE)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TRADER_", "ALPACA_"))}
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("trader")),
            *("demo", "--venue", "alpaca", "--symbols", "SYAA"),
            *("--days", "2024-01-05..2024-01-08", "--json"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            **clean,
            **environment(exchange),
            "TRADER_UNIVERSE": str(file),
            "TRADER_DATABASE_URL": database_url,
        },
    )
    assert done.returncode == 0, done.stderr
    assert "without a session: 2024-01-06, 2024-01-07" in done.stderr
    row = json.loads(done.stdout)["symbols"]["SYAA"]
    assert (row["days"], row["certificate"], row["missing"], row["lacking"]) == (
        2,
        "complete",
        {},
        {},
    )
