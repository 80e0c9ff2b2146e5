"""A day of Binance that fails or is killed half-way goes on where it was."""

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trader_pipelines.core.errors import TraderError, VenueUnreachableError
from trader_pipelines.venues.binance_rows import PRINTS
from trader_pipelines.venues.spool import Spool
from trader_pipelines_tests.exchange.running import ROOT, Running, running_exchange
from trader_pipelines_tests.venues import rest_exchange as rest
from trader_pipelines_tests.venues.test_binance import AGG

#: 44,880 trades, some more than 44 pages.
LONG = "synthetic:1:6:7480:2024-01-02T10:00"
TRUTH = rest.truth(LONG, rest.SYMBOL)
PAGES = math.ceil(TRUTH.height / 1_000)
FETCH = """
import json, sys
from pathlib import Path
from trader_pipelines_tests.venues import rest_exchange as rest
from trader_pipelines.venues.binance import Binance
url, spool = json.loads(sys.argv[1])
Binance(url=url, spool=Path(spool)).fetch_day(rest.SYMBOL, rest.DAY)
"""


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running_exchange([LONG], weight_limit=10**9) as running:
        yield running


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def reset(exchange: Running, *faults: dict[str, Any]) -> rest.Asked:
    exchange.tell("reset", limits=True, faults=list(faults))
    return rest.Asked(exchange)


def pages_in(spool: Path) -> int:
    return len(list(spool.rglob("*.parquet")))


def test_day_killed_on_page_40_goes_on_after_39(exchange: Running, spool: Path) -> None:
    counted = reset(exchange, {"kind": "hang", "on": AGG, "at": [40], "seconds": 3_600})
    told = json.dumps([exchange.urls["binance_rest"], str(spool)])
    child = subprocess.Popen([sys.executable, "-c", FETCH, told], cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while pages_in(spool) < 39 and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        assert child.wait(30) == -signal.SIGKILL
    assert pages_in(spool) == 39
    fetched = rest.binance(exchange, spool=spool).fetch_day(rest.SYMBOL, rest.DAY)
    assert fetched.trades.equals(TRUTH)
    assert fetched.reconciled["klines_minutes_differing"] == 0
    # Of both tries together; the page that hung is asked for twice.
    assert counted.of(AGG) <= PAGES + 1
    assert counted.of(AGG) + counted.of("binance.klines") <= (PAGES + 2) + 2
    assert pages_in(spool) == 0


def test_day_that_fails_goes_on_after_its_last_page(exchange: Running, spool: Path) -> None:
    reset(exchange, {"kind": "status", "status": 503, "on": AGG, "at": list(range(31, 100))})
    quick = replace(rest.QUICK, attempts=2)
    with pytest.raises(VenueUnreachableError):
        rest.binance(exchange, spool=spool, patience=quick).fetch_day(rest.SYMBOL, rest.DAY)
    assert pages_in(spool) == 30
    counted = reset(exchange)
    fetched = rest.binance(exchange, spool=spool).fetch_day(rest.SYMBOL, rest.DAY)
    whole = rest.binance(exchange).fetch_day(rest.SYMBOL, rest.DAY)
    assert fetched.trades.equals(TRUTH)
    assert (fetched.source, dict(fetched.reconciled)) == (whole.source, dict(whole.reconciled))
    assert counted.of(AGG) == PAGES - 30 + PAGES


def test_pages_kept_of_a_wrong_row_are_found_by_the_klines(exchange: Running, spool: Path) -> None:
    reset(exchange, {"kind": "status", "status": 503, "on": AGG, "at": list(range(5, 100))})
    quick = replace(rest.QUICK, attempts=1)
    with pytest.raises(VenueUnreachableError):
        rest.binance(exchange, spool=spool, patience=quick).fetch_day(rest.SYMBOL, rest.DAY)
    page = sorted(spool.rglob("*.parquet"))[2]
    grown = pl.when(pl.int_range(pl.len()) == 500).then(1).otherwise(0)
    pl.read_parquet(page).with_columns(pl.col("size") + grown).cast(PRINTS).write_parquet(page)
    reset(exchange)
    fetched = rest.binance(exchange, spool=spool).fetch_day(rest.SYMBOL, rest.DAY)
    assert fetched.trades.equals(TRUTH)


def test_pages_kept_on_another_grid_are_not_used(exchange: Running, spool: Path) -> None:
    reset(exchange, {"kind": "status", "status": 503, "on": AGG, "at": list(range(5, 100))})
    quick = replace(rest.QUICK, attempts=1)
    with pytest.raises(VenueUnreachableError):
        rest.binance(exchange, spool=spool, patience=quick).fetch_day(rest.SYMBOL, rest.DAY)
    counted = reset(exchange)
    finer = replace(rest.SYMBOL, tick_size=Decimal("0.001"))
    fetched = rest.binance(exchange, spool=spool).fetch_day(finer, rest.DAY)
    assert fetched.trades.equals(TRUTH.with_columns(pl.col("price") * 10))
    assert counted.of(AGG) == PAGES


def page(first: int, count: int = 3) -> pl.DataFrame:
    return pl.DataFrame(dict.fromkeys(PRINTS, range(first, first + count)), schema=PRINTS)


def test_spool_page_written_twice_is_there_once(spool: Path) -> None:
    kept = Spool(spool)
    assert kept.kept(PRINTS).equals(PRINTS.to_frame())
    for first in (10, 1_000, 10):
        kept.keep(first, page(first))
    assert kept.kept(PRINTS).equals(pl.concat([page(10), page(1_000)]))
    kept.forget()
    assert kept.kept(PRINTS).is_empty()


def test_spool_damaged_page_is_as_if_nothing_had_been_kept(spool: Path) -> None:
    kept = Spool(spool)
    for first in (10, 20):
        kept.keep(first, page(first))
    file = sorted(spool.iterdir())[1]
    file.write_bytes(file.read_bytes()[:-20])
    assert kept.kept(PRINTS).is_empty()
    assert not spool.exists()


def test_spool_page_of_another_schema_is_as_if_nothing_had_been_kept(spool: Path) -> None:
    kept = Spool(spool)
    kept.keep(10, page(10))
    kept.keep(20, page(20).drop("last"))
    assert kept.kept(PRINTS).equals(PRINTS.to_frame())
    assert not spool.exists()


def test_spool_torn_page_of_a_killed_process_is_not_read(spool: Path) -> None:
    Spool(spool).keep(10, page(10))
    (spool / "00000000000000000013.77.1.part").write_bytes(b"PAR1 half")
    assert Spool(spool).kept(PRINTS).equals(page(10))


def test_spool_that_cannot_be_written_is_typed(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file where a folder belongs")
    with pytest.raises(TraderError, match="pages of a day cannot be kept") as caught:
        Spool(tmp_path / "spool" / "binance").keep(1, page(1))
    assert str(tmp_path) in caught.value.where
