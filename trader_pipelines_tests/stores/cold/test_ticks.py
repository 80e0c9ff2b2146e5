"""One reader: whole days from cold and hot, while they are compacted, replaced and dropped."""

import threading
from datetime import timedelta
from pathlib import Path

import polars as pl
import psycopg
import pytest

from trader_pipelines.core.errors import DamagedFileError, MissingDataError
from trader_pipelines.core.trades import TRADES
from trader_pipelines.stores import database
from trader_pipelines.stores.cold import encoding
from trader_pipelines.stores.cold.ticks import ticks
from trader_pipelines_tests.stores.cold.made import (
    BTC,
    DAYS,
    END,
    ETH,
    START,
    freeze,
    ingest,
    thaw,
    trades,
)

EVERYTHING = pl.concat([trades(day) for day in DAYS])


def fill(auto: psycopg.Connection, root: Path) -> None:
    """First day cold only, second in both tiers, third hot only."""
    for day in DAYS:
        ingest(auto, BTC, day, trades(day))
    for day in DAYS[:2]:
        freeze(auto, root, BTC, day, trades(day))
    thaw(auto, DAYS[0])


def test_ticks_join_cold_and_hot_without_gap_or_double(auto: psycopg.Connection, tmp_path: Path):
    fill(auto, tmp_path)
    ingest(auto, ETH, DAYS[1], trades(DAYS[1], 10))
    found = ticks(auto, tmp_path, [ETH, BTC], START, END)
    assert found.filter(symbol="BTCUSDT").drop("symbol").equals(EVERYTHING)
    assert found.filter(symbol="ETHUSDT").drop("symbol").equals(trades(DAYS[1], 10))
    assert found["symbol"].is_sorted()
    assert found.drop("symbol").schema == TRADES


@pytest.mark.parametrize("shift", [0, 1, 43_200_000_000, 86_399_999_999])
def test_ticks_of_a_slice_are_half_open(auto: psycopg.Connection, tmp_path: Path, shift: int):
    fill(auto, tmp_path)
    start, end = START + timedelta(microseconds=shift), END - timedelta(days=1, microseconds=shift)
    expected = EVERYTHING.filter(pl.col("ts_event") >= start, pl.col("ts_event") < end)
    found = ticks(auto, tmp_path, [BTC], start, end, columns=["price"])
    assert found.columns == ["symbol", "price"]
    assert found["price"].equals(expected["price"])


def test_ticks_by_id_range_include_both_ends(auto: psycopg.Connection, tmp_path: Path):
    fill(auto, tmp_path)
    ids = (EVERYTHING["id"][990], EVERYTHING["id"][2_010])
    found = ticks(auto, tmp_path, [BTC], START, END, ids=ids)
    assert found.drop("symbol").equals(EVERYTHING[990:2_011])


def test_ticks_certified_anew_come_from_hot_until_frozen(auto: psycopg.Connection, tmp_path: Path):
    fill(auto, tmp_path)
    corrected = trades(DAYS[1], 1_200, price=5_000_000)
    ingest(auto, BTC, DAYS[1], corrected)
    whole = pl.concat([trades(DAYS[0]), corrected, trades(DAYS[2])])
    assert ticks(auto, tmp_path, [BTC], START, END).drop("symbol").equals(whole)
    freeze(auto, tmp_path, BTC, DAYS[1], corrected)
    thaw(auto, DAYS[1])
    assert ticks(auto, tmp_path, [BTC], START, END).drop("symbol").equals(whole)


def test_ticks_in_neither_tier_are_named(auto: psycopg.Connection, tmp_path: Path):
    fill(auto, tmp_path)
    thaw(auto, DAYS[2])
    with pytest.raises(MissingDataError, match=r"BTCUSDT\.BINANCE on 2024-01-03"):
        ticks(auto, tmp_path, [BTC], START, END)


def test_ticks_of_a_lost_or_truncated_file_are_named(auto: psycopg.Connection, tmp_path: Path):
    fill(auto, tmp_path)
    file = next(tmp_path.rglob("*day=2024-01-01/*.parquet"))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedFileError, match=file.name):
        ticks(auto, tmp_path, [BTC], START, END)
    file.unlink()
    with pytest.raises(MissingDataError, match=file.name):
        ticks(auto, tmp_path, [BTC], START, END)


@pytest.mark.parametrize(
    "foreign",
    [
        pl.DataFrame({"close": [1.5]}),
        trades(DAYS[0]).with_columns(pl.col("ts_event").dt.cast_time_unit("us")),
        trades(DAYS[0]).cast({"price": pl.Float64}),
    ],
    ids=["bars", "microseconds", "floats"],
)
def test_ticks_of_a_foreign_file_are_refused(
    auto: psycopg.Connection, tmp_path: Path, foreign: pl.DataFrame
):
    ingest(auto, BTC, DAYS[0], trades(DAYS[0]))
    entry = freeze(auto, tmp_path, BTC, DAYS[0], trades(DAYS[0]))
    (tmp_path / entry.path).write_bytes(encoding.encode(foreign, {}))
    with pytest.raises(DamagedFileError, match=r"not a file of trades"):
        ticks(auto, tmp_path, [BTC], START, END)


def test_ticks_refuse_naive_stamps_and_unknown_columns(auto: psycopg.Connection, tmp_path: Path):
    with pytest.raises(ValueError, match="time zone"):
        ticks(auto, tmp_path, [BTC], START.replace(tzinfo=None), END)
    with pytest.raises(ValueError, match="no such column: close"):
        ticks(auto, tmp_path, [BTC], START, END, columns=["close"])


def test_readers_see_whole_days_while_days_are_frozen_swept_and_dropped(
    database_url: str, auto: psycopg.Connection, tmp_path: Path
):
    for day in DAYS:
        ingest(auto, BTC, day, trades(day))
    over = threading.Event()
    wrong: list[str] = []
    reads = [0] * 3

    def read(number: int) -> None:
        with database.connect(database_url) as connection:
            connection.autocommit = True
            while not over.is_set():
                try:
                    found = ticks(connection, tmp_path, [BTC], START, END).drop("symbol")
                    if not found.equals(EVERYTHING):
                        wrong.append(f"{found.height} rows")
                except Exception as error:  # noqa: BLE001
                    wrong.append(repr(error))
                reads[number] += 1

    readers = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(15):
        for day in DAYS:
            freeze(auto, tmp_path, BTC, day, trades(day))
            thaw(auto, day)
            # Another file of the same trades: the one before is swept under the readers.
            freeze(auto, tmp_path, BTC, day, trades(day), turn=str(turn))
            ingest(auto, BTC, day, trades(day))
    over.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert min(reads) > 0
