"""An exchange that is only stated: Kraken, through the real ccxt client, from a local server."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trader_pipelines.core.certificates import missing_ranges
from trader_pipelines.core.errors import (
    BadAnswerError,
    MissingDataError,
    SettingsError,
    UnknownSymbolError,
    VenueUnreachableError,
)
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES, utc_day_bounds
from trader_pipelines.venues.ccxt_capabilities import KNOWN, KRAKEN, Capabilities
from trader_pipelines.venues.ccxt_venue import CcxtVenue
from trader_pipelines.venues.days import Today
from trader_pipelines_tests.venues.conformance import Case, VenueConformance
from trader_pipelines_tests.venues.kraken_server import Kraken, serving
from trader_pipelines_tests.venues.rest_exchange import QUICK, open_budget

DAY = date(2024, 3, 9)
BTC = Instrument("kraken", "BTCUSD", Decimal("0.1"), Decimal("0.00000001"), date(2020, 1, 1))


def made_up(count: int = 3_700) -> list[tuple[str, str, int, str, int]]:
    """Two days of trades; many share a millisecond, ids pass from 5 to 6 digits, some stamps tie."""
    rng = random.Random(3)
    start = utc_day_bounds(DAY)[0]
    stamps = sorted(rng.randrange(2 * 86_400 * 10**6) * 1_000 for _ in range(count))
    stamps[100:105] = [stamps[100]] * 5
    return [
        (
            f"{40_000 + n % 700}.{n % 10}",
            f"0.{rng.randrange(1, 10**8):08d}",
            start + ns,
            "bs"[n % 2],
            99_000 + n,
        )
        for n, ns in enumerate(stamps)
    ]


def truth(kraken: Kraken, day: date = DAY) -> pl.DataFrame:
    start, end = utc_day_bounds(day)
    rows = [
        (number, ns, int(price.replace(".", "")), int(volume.replace(".", "")), side, 1)
        for price, volume, ns, side, number in kraken.trades
        if start <= ns < end
    ]
    columns: dict[str, Any] = dict(zip(TRADES, zip(*rows, strict=True), strict=True))
    columns["side"] = [1 if side == "b" else -1 for side in columns["side"]]
    return pl.DataFrame(columns).cast(TRADES)


@pytest.fixture
def kraken() -> Iterator[Kraken]:
    with serving(Kraken(made_up())) as running:
        yield running


def venue(running: Kraken, today: Today = lambda: date(2030, 1, 1), **more: Any) -> CcxtVenue:
    can: Capabilities = more.pop("can", KRAKEN)
    return CcxtVenue(
        can,
        "kraken",
        {"urls": {"api": {"public": running.url}}},
        today,
        patience=more.pop("patience", QUICK),
        budget=open_budget(),
        **more,
    )


class TestKraken(VenueConformance):
    @pytest.fixture
    def case(self, kraken: Kraken) -> Case:
        return Case(
            build=lambda today: venue(kraken, today),
            instrument=BTC,
            days=(DAY, DAY + timedelta(days=1)),
            synthetic=False,
        )


def test_kraken_is_stated() -> None:
    assert KNOWN["kraken"] == KRAKEN
    assert (KRAKEN.sequential_ids, KRAKEN.largest_page) == (True, 1000)


def test_fetch_day_is_the_tape_to_the_nanosecond(kraken: Kraken) -> None:
    fetched = venue(kraken).fetch_day(BTC, DAY)
    assert fetched.trades.equals(truth(kraken))
    # Each page but the first holds one known trade again.
    assert len(kraken.asked) == -(-(truth(kraken).height + 1) // 999)


@pytest.mark.parametrize(
    ("how", "request_number"),
    [
        *((how, n) for how in ("empty", "truncate", "limit", "down", "html") for n in (1, 2)),
        ("missing", 2),
        ("lossy", 1),
        ("lossy", 2),
    ],
)
def test_fetch_day_one_bad_answer_is_asked_again(
    kraken: Kraken, how: str, request_number: int
) -> None:
    kraken.spoil[request_number] = how
    assert venue(kraken).fetch_day(BTC, DAY).trades.equals(truth(kraken))


@pytest.mark.parametrize("how", ["missing", "lossy"])
@pytest.mark.parametrize("request_number", [1, 2, 3])
def test_fetch_day_page_that_lost_rows_beside_midnight_is_asked_again(
    kraken: Kraken, how: str, request_number: int
) -> None:
    # The day before has 1,837 trades; its last ones are read to see that none lies between.
    kraken.spoil[request_number] = how
    next_day = DAY + timedelta(days=1)
    assert venue(kraken).fetch_day(BTC, next_day).trades.equals(truth(kraken, next_day))


def test_fetch_day_ids_that_kraken_lacks_are_left_out(kraken: Kraken) -> None:
    del kraken.trades[300:310]
    trades = venue(kraken).fetch_day(BTC, DAY).trades
    assert trades.equals(truth(kraken))
    assert missing_ranges(trades["id"].to_numpy()) == ((99_300, 99_309),)


HOW = ("missing", "lossy", "empty", "truncate", "limit", "down", "html")


@pytest.mark.parametrize("seed", range(60))
def test_any_mixture_of_bad_answers_leaves_day_and_range_whole(kraken: Kraken, seed: int) -> None:
    rng = random.Random(seed)
    kraken.spoil |= {n: rng.choice(HOW) for n in range(1, 60) if rng.random() < 0.15}
    day = DAY + timedelta(days=seed % 2)
    wanted = truth(kraken, day)
    if seed % 2:
        fetched = venue(kraken).fetch_day(BTC, day).trades
    else:
        first, count = rng.randrange(wanted.height - 1), rng.randint(1, 1_200)
        wanted = wanted[first : first + count]
        ids = int(wanted["id"][0]), int(wanted["id"][-1])
        fetched = venue(kraken).fetch_range(BTC, day, *ids).trades
    assert fetched.equals(wanted)


@pytest.mark.parametrize("sequential", [True, False])
def test_day_that_fails_goes_on_after_its_last_page(tmp_path: Path, sequential: bool) -> None:
    can = replace(KRAKEN, sequential_ids=sequential)
    with serving(Kraken(made_up(12_000))) as kraken:
        whole = venue(kraken, can=can).fetch_day(BTC, DAY)
        pages = len(kraken.asked)
        kraken.asked.clear()
        kraken.spoil |= dict.fromkeys(range(5, 100), "down")
        quick = replace(QUICK, attempts=1)
        with pytest.raises(VenueUnreachableError):
            venue(kraken, can=can, patience=quick, spool=tmp_path).fetch_day(BTC, DAY)
        assert len(list(tmp_path.rglob("*.parquet"))) == 4
        kraken.spoil.clear()
        fetched = venue(kraken, can=can, spool=tmp_path).fetch_day(BTC, DAY)
        # The page that failed is the only one asked for twice.
        assert len(kraken.asked) == pages + 1
    assert fetched.trades.equals(whole.trades)
    assert dict(fetched.reconciled) == dict(whole.reconciled)
    assert list(tmp_path.rglob("*.parquet")) == []


def test_fetch_day_truncated_json_each_time_is_refused(kraken: Kraken) -> None:
    kraken.spoil |= dict.fromkeys(range(2, 100), "truncate")
    with pytest.raises(BadAnswerError, match="12 times: the body is no JSON"):
        venue(kraken).fetch_day(BTC, DAY)


def test_fetch_day_one_id_for_two_trades_is_refused(kraken: Kraken) -> None:
    kraken.trades[50] = (*kraken.trades[50][:4], kraken.trades[49][4])
    with pytest.raises(BadAnswerError, match="one id stands for two different trades"):
        venue(kraken).fetch_day(BTC, DAY)


def test_fetch_day_more_trades_of_one_stamp_than_a_page_is_refused(kraken: Kraken) -> None:
    stamp = kraken.trades[10][2]
    kraken.trades[10:1_100] = [(*trade[:2], stamp, *trade[3:]) for trade in kraken.trades[10:1_100]]
    with pytest.raises(BadAnswerError, match="more than 1000 trades have one stamp"):
        venue(kraken).fetch_day(BTC, DAY)


def test_fetch_day_finer_price_than_the_tick_names_the_setting(kraken: Kraken) -> None:
    coarse = replace(BTC, tick_size=Decimal(1))
    with pytest.raises(SettingsError, match=r"price '40001\.1' .* than its tick_size 1 keeps"):
        venue(kraken).fetch_day(coarse, DAY)


def test_fetch_day_unknown_symbol_is_typed(kraken: Kraken) -> None:
    with pytest.raises(UnknownSymbolError, match="knows no symbol 'NOSUCH'"):
        venue(kraken).fetch_day(replace(BTC, symbol="NOSUCH"), DAY)


def test_fetch_day_beyond_the_history_is_missing(kraken: Kraken) -> None:
    short = replace(KRAKEN, history=timedelta(days=30))
    with pytest.raises(MissingDataError, match="of the last 30 days only"):
        venue(kraken, can=short).fetch_day(BTC, DAY)


def test_fetch_day_without_sequential_ids_numbers_by_stamp(kraken: Kraken) -> None:
    loose = replace(KRAKEN, sequential_ids=False)
    trades = venue(kraken, can=loose).fetch_day(BTC, DAY).trades
    wanted = truth(kraken)
    assert trades.drop("id").equals(wanted.drop("id"))
    ids, stamps = trades["id"], wanted["ts_event"].to_physical()
    assert (ids.diff().drop_nulls() > 0).all()
    assert (ids - stamps).max() == 4
    assert ids[0] == stamps[0]
